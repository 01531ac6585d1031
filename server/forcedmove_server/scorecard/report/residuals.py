"""What the rank partial correlation of released open interest is made of: residuals in equally filled bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.released import rank_residuals
from forcedmove_server.scorecard.report.result import ResidualBins
from forcedmove_server.scorecard.resampling import Resampling


def residual_bins(
    moves: Records, names: Sequence[str], horizon_ns: int, resampling: Resampling, bins: int = 10, least_moves: int = 50
) -> tuple[ResidualBins, ...]:
    """Bin every map's residuals; maps that are functions of the controls, as the distance prior is, are left out.

    ``moves``, ``names`` and ``least_moves`` as in :func:`~forcedmove_server.scorecard.measures.released.released`,
    whose rank form this is: ``correlation`` equals its ``rank`` estimate. Intervals of the means are bootstraps over
    UTC days of the residuals as they are; the regression is not redone.
    """
    left = rank_residuals(moves, least_moves)
    if left is None or left.explained[0]:
        return ()
    out, found = left.released, []
    for k, name in enumerate(names):
        if left.explained[k + 1]:
            continue
        crossed = left.crossed[:, k]
        shared, spread = float(out @ crossed), float(crossed @ crossed)
        correlation, slope = shared / float(np.sqrt((out @ out) * spread)), shared / spread
        parts = np.array_split(np.argsort(crossed, kind="stable"), bins)
        estimates = [resampling.ratio(out[part], np.ones(len(part)), left.day[part]) for part in parts]
        means = tuple(float(crossed[part].mean()) for part in parts)
        found.append(ResidualBins(name, horizon_ns, correlation, slope, means, tuple(estimates)))
    return tuple(found)
