"""Whether credible bands, as they are served, hold the truth as often as they say: counted on bins of true maps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.arrays import Notional
from forcedmove_server.engine.bands import uncertainty_of
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import SymbolRows, plan_view
from forcedmove_server.inference.comparison import true_map, within_reach
from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.coverage import coverage_sums

F64 = NDArray[np.float64]


def band_sums(
    pipeline: Pipeline, learner: Learner, rows: SymbolRows, truth: Records, inverse: ArrayLike, level: float
) -> dict[str, F64]:
    """Sums of ``coverage_sums`` within reach of the mark, float64 ``[6]``: of a symbol, and over its markets.

    Once with the sizes of positions as the learner has them from liquidations, once with the true ones (``_sized``):
    what is liquidated need not be as large as what is not. The pipeline's store must be up to date; ``truth`` and
    ``inverse`` as in ``inference.comparison.true_map``.
    """
    store, lot = pipeline.store, pipeline.inference.markets.lot
    found = {scope: np.zeros(6) for scope in ("market", "symbol", "market_sized", "symbol_sized")}
    parts = [("symbol", rows)]
    for k in range(len(rows.markets)):
        one = slice(k, k + 1)
        money = Notional(rows.notional.base[one], rows.notional.slope[one])
        alone = dataclasses.replace(rows, markets=rows.markets[one], venues=rows.venues[one], notional=money)
        parts.append(("market", alone))
    for scope, part in parts:
        markets = part.markets.astype(np.int64)
        learnt = learner.certainty(markets)
        sizes = np.array([_size(truth, market) for market in markets.tolist()]) / lot[markets]
        known = dataclasses.replace(learnt, typical=sizes, phi=np.ones(len(markets)), opened=sizes)
        planned = plan_view(store, part, ViewSpec())
        view = planned.filled(store.resident.render(planned.asked))
        true = true_map(truth, inverse, view.bin_width_usd, view.first_bin, view.bin_count, markets)
        reach = within_reach(view.first_bin, view.bin_count, view.bin_width_usd, part.mark_usd)
        for name, certainty in ((scope, learnt), (f"{scope}_sized", known)):
            band = uncertainty_of(store, planned, view, certainty).band(level)
            found[name] += coverage_sums(band.low[:, 1:-1], band.high[:, 1:-1], true, reach)
    return found


def _size(truth: Records, market: int) -> float:
    """Size-biased mean quantity of a market's positions, model units; its market maker is no position of that kind."""
    quantity = truth["quantity"][(truth["market"] == market) & (truth["leverage"] > 1)]
    return float((quantity**2).sum() / quantity.sum()) if len(quantity) else 0.0
