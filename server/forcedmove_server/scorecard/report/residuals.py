"""What the rank partial correlation of released open interest is made of: residuals in equally filled bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.released import _controls, _ranks, _repeated, _standardised, _within
from forcedmove_server.scorecard.report.result import ResidualBins
from forcedmove_server.scorecard.resampling import Resampling

F64 = NDArray[np.float64]

_DAY_NS = 86_400 * 10**9
#: less of a rank's variance than this beside the controls is rounding: there is nothing to draw
_NOTHING_LEFT = 1e-9


def residual_bins(
    moves: Records, names: Sequence[str], horizon_ns: int, resampling: Resampling, bins: int = 10, least_moves: int = 50
) -> tuple[ResidualBins, ...]:
    """Bin every map's residuals; maps that are functions of the controls, as the distance prior is, are left out.

    ``moves``, ``names`` and ``least_moves`` as in :func:`~forcedmove_server.scorecard.measures.released.released`,
    whose rank form, controls and market levels these are: ``correlation`` equals its ``rank`` estimate. Intervals of
    the means are bootstraps over UTC days of the residuals as they are; the regression is not redone.
    """
    rows = _repeated(moves[np.lexsort((moves["market"], moves["at_ns"]))])
    if len(rows) < least_moves:
        return ()
    _, market = np.unique(rows["market"], return_inverse=True)
    markets, day = int(market.max()) + 1, rows["at_ns"] // _DAY_NS
    raw = np.column_stack(_controls(rows))
    controls = _standardised(_within(raw, market, markets), raw)
    columns = [rows["released"], *rows["crossed"].T]
    ranks = _within(np.column_stack([_ranks(column) for column in columns]), market, markets)
    left = ranks - controls @ np.linalg.lstsq(controls, ranks, rcond=1e-8)[0]
    kept = (left**2).sum(axis=0) > _NOTHING_LEFT * np.maximum((ranks**2).sum(axis=0), 1e-300)
    out, found = left[:, 0], []
    for k, name in enumerate(names):
        crossed = left[:, k + 1]
        if not (kept[0] and kept[k + 1]):
            continue
        shared, spread = float(out @ crossed), float(crossed @ crossed)
        correlation, slope = shared / float(np.sqrt((out @ out) * spread)), shared / spread
        parts = np.array_split(np.argsort(crossed, kind="stable"), bins)
        estimates = [resampling.ratio(out[part], np.ones(len(part)), day[part]) for part in parts]
        means = tuple(float(crossed[part].mean()) for part in parts)
        found.append(ResidualBins(name, horizon_ns, correlation, slope, means, tuple(estimates)))
    return tuple(found)
