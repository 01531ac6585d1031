"""Whether credible bands, as they are served, hold the truth as often as they say: counted on bins of true maps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.arrays import Notional
from forcedmove_server.engine.bands import uncertainty_of
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import SymbolRows, plan_view
from forcedmove_server.inference.comparison import true_map, within_reach
from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.coverage import coverage_sums

F64 = NDArray[np.float64]


def band_sums(
    store: CohortStore, learner: Learner, rows: SymbolRows, truth: Records, inverse: ArrayLike, level: float
) -> dict[str, F64]:
    """Sums of ``coverage_sums`` within reach of the mark, float64 ``[6]``: of a symbol, and over its markets.

    The store must be up to date; ``truth`` and ``inverse`` as in ``inference.comparison.true_map``.
    """
    found = {"symbol": _sums(store, learner, rows, truth, inverse, level), "market": np.zeros(6)}
    for k in range(len(rows.markets)):
        one = slice(k, k + 1)
        money = Notional(rows.notional.base[one], rows.notional.slope[one])
        alone = dataclasses.replace(rows, markets=rows.markets[one], venues=rows.venues[one], notional=money)
        found["market"] += _sums(store, learner, alone, truth, inverse, level)
    return found


def _sums(
    store: CohortStore, learner: Learner, rows: SymbolRows, truth: Records, inverse: ArrayLike, level: float
) -> F64:
    planned = plan_view(store, rows, ViewSpec())
    view = planned.filled(store.resident.render(planned.asked))
    certainty = learner.certainty(rows.markets.astype(np.int64))
    band = uncertainty_of(store, planned, view, certainty).band(level)
    true = true_map(truth, inverse, view.bin_width_usd, view.first_bin, view.bin_count, rows.markets)
    reach = within_reach(view.first_bin, view.bin_count, view.bin_width_usd, rows.mark_usd)
    return coverage_sums(band.low[:, 1:-1], band.high[:, 1:-1], true, reach)
