"""The inferred map against the true one, hour by hour, on a simulated market.

Two pipelines see the same events: one with the venues' leverage priors, one with the weights that the simulated traders
really draw from. The difference is what not knowing leverage costs; what is left is what inference alone costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import Config
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import render_view
from forcedmove_server.inference.comparison import compare_maps, true_map
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.sources.simulate import SimulatedSource

F64 = NDArray[np.float64]

_HOUR_NS = 3600 * 10**9
WEIGHTS = ("prior", "true")


@dataclass(frozen=True, slots=True)
class Score:
    """One side of one symbol's map at one hour; see inference.comparison.SideComparison."""

    weights: str
    symbol: str
    side: str
    at_ns: int
    spearman: float
    wasserstein_bp: float
    top_decile_overlap: float
    top_decile_share: float


class Evaluation:
    """Runs a simulated source through both pipelines; iterate to advance, then read ``scores``.

    Both use the shipped maintenance ladders, as the simulated venues do: what a user fetched does not change a score.
    """

    def __init__(self, source: SimulatedSource, config: Config, first_hour: int = 1) -> None:
        """The first hours, in which the map still lives on its initial guess, can be left out of the scores."""
        self.source = source
        self.registry = InstrumentRegistry()
        self.scores: list[Score] = []
        shares = {key: np.stack([np.array(w)] * 2) for key, w in source.config.true_leverage_weights.items()}
        self._pipelines = {
            "prior": Pipeline(self.registry, config.engine, config.model),
            "true": Pipeline(self.registry, config.engine, config.model, shares),
        }
        self._next_ns = source.config.epoch_ns + first_hour * _HOUR_NS

    def __iter__(self) -> Iterator[EventBatch]:
        """Process batch after batch, scoring at every full hour."""
        for batch in self.source.batches(self.registry):
            for pipeline in self._pipelines.values():
                pipeline.take(batch)
            if batch.until_ns >= self._next_ns:
                self._score()
                self._next_ns += _HOUR_NS
            yield batch

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of every measure over hours, symbols and sides, by weights."""
        measures = ("spearman", "wasserstein_bp", "top_decile_overlap", "top_decile_share")
        return {
            weights: {
                measure: float(np.mean([getattr(s, measure) for s in self.scores if s.weights == weights]))
                for measure in measures
            }
            for weights in WEIGHTS
        }

    def rows(self) -> list[dict[str, object]]:
        """Every score as a plain dictionary."""
        return [asdict(score) for score in self.scores]

    def _score(self) -> None:
        truth = self.source.truth()
        inverse = np.array([i.contract_type is ContractType.INVERSE for i in self.registry])
        for weights, pipeline in self._pipelines.items():
            notional = pipeline.notional()
            for symbol in self.registry.symbols():
                markets = np.array(pipeline.mapped_markets(symbol), np.int64)
                pipeline.store.centre(markets, int(pipeline.inference.markets.price[markets[0]]))
            pipeline.store.refresh(pipeline.now_s)
            for symbol in self.registry.symbols():
                rows = pipeline.symbol_rows(symbol, notional)
                view = render_view(pipeline.store, rows, ViewSpec())
                true = true_map(truth, inverse, view.bin_width_usd, view.first_bin, view.bin_count, rows.markets)
                inferred = view.values[:, 1:-1].astype(np.float64)
                compared = compare_maps(inferred, true, view.first_bin, view.bin_width_usd, rows.mark_usd)
                for side, result in (("long", compared.long), ("short", compared.short)):
                    self.scores.append(
                        Score(
                            weights,
                            symbol,
                            side,
                            pipeline.now_ns,
                            result.spearman,
                            result.wasserstein_bp,
                            result.top_decile_overlap,
                            result.top_decile_share,
                        )
                    )
