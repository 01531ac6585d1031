"""Inferred maps against the true one, hour by hour, on a simulated market.

Three pipelines see the same events: one with the venues' leverage priors, one that calibrates its weights as a running
server does, and one with the weights that the simulated traders really draw from. The difference between the first and
the last is what not knowing leverage costs; what is left is what inference alone costs. Baselines stand beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import CalibrationConfig, Config
from forcedmove_server.engine.evaluation_bands import band_sums
from forcedmove_server.engine.forecasts import MAPS as FORECAST_MAPS
from forcedmove_server.engine.forecasts import NAIVE, NAIVE_MAINTENANCE, Forecasts
from forcedmove_server.engine.frames import SIDES, RenderedView, ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.views import SymbolRows, render_view, usd_per_lot
from forcedmove_server.inference.calibration import tiers_of_leverage
from forcedmove_server.inference.comparison import binned, compare_maps, place, true_map, within_reach
from forcedmove_server.market.events import EventBatch, Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.scorecard.distance import DistancePrior, band_means, band_of
from forcedmove_server.scorecard.frozen import Axis
from forcedmove_server.scorecard.measures.bits import log_gain
from forcedmove_server.scorecard.scorecard import DISTANCE, Scorecard
from forcedmove_server.scorecard.study.result import (
    CALIBRATED,
    OURS,
    PRIOR,
    TRUE,
    BandScore,
    MapScore,
    StudyRun,
    WeightScore,
)
from forcedmove_server.sources.simulate import SimulatedSource

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_HOUR_NS = 3600 * 10**9


class Evaluation:
    """Runs a simulated source through all pipelines; iterate to advance, then ask for :meth:`result`.

    All use the shipped maintenance ladders, as the simulated venues do: what a user fetched does not change a score.
    Nothing that was learnt elsewhere is used.
    """

    def __init__(self, source: SimulatedSource, config: Config, level: float = 0.9) -> None:
        """``level`` is that of the credible bands whose coverage is counted."""
        self.source, self.level = source, level
        self.registry = InstrumentRegistry()
        self._opened = {key: np.array(shares) for key, shares in source.config.true_leverage_weights.items()}
        self._feed = {instrument.key: profile.liquidations for profile, instrument in source.config.markets()}
        shares = {key: np.stack([opened] * 2) for key, opened in self._opened.items()}
        self._pipelines = {
            PRIOR: Pipeline(self.registry, config.engine, config.model),
            CALIBRATED: Pipeline(self.registry, config.engine, config.model),
            TRUE: Pipeline(self.registry, config.engine, config.model, shares),
        }
        learning = dataclasses.replace(CalibrationConfig(), every_s=config.calibration.every_s)
        self._learner = Learner(self._pipelines[CALIBRATED], learning)
        scorecard = Scorecard(maps=FORECAST_MAPS, baseline=NAIVE)
        self._forecasts = Forecasts(self._pipelines[CALIBRATED], scorecard, self._learner)
        self._hour = 0
        self._maps: list[MapScore] = []
        self._weights: list[WeightScore] = []
        self._bands: list[BandScore] = []

    def __iter__(self) -> Iterator[EventBatch]:
        """Process batch after batch, scoring at every full hour."""
        for batch in self.source.batches(self.registry):
            self._pipelines[PRIOR].take(batch)
            self._pipelines[TRUE].take(batch)
            self._forecasts.take(batch)
            if batch.until_ns >= self.source.config.epoch_ns + (self._hour + 1) * _HOUR_NS:
                self._hour += 1
                self._score()
            yield batch

    def result(self) -> StudyRun:
        """Return every score so far."""
        config = self.source.config
        return StudyRun(config.regime, config.seed, tuple(self._maps), tuple(self._weights), tuple(self._bands))

    def _score(self) -> None:
        truth = self.source.truth()
        for pipeline in self._pipelines.values():
            for symbol in self.registry.symbols():
                markets = np.array(pipeline.mapped_markets(symbol), np.int64)
                pipeline.store.centre(markets, int(pipeline.inference.markets.price[markets[0]]))
            pipeline.store.refresh(pipeline.now_s)
        for symbol in self.registry.symbols():
            self._score_symbol(symbol, truth)
        markets = np.array([m for s in self.registry.symbols() for m in self._pipelines[PRIOR].mapped_markets(s)])
        if self._hour == 1:  # nothing had been learnt at the beginning
            self._weights += [
                dataclasses.replace(score, hour=0, calibrated=score.prior, live_calibrated=score.live_prior)
                for score in self._weight_scores(markets, truth)
            ]
        self._weights += self._weight_scores(markets, truth)

    def _score_symbol(self, symbol: str, truth: Records) -> None:
        rows = {name: p.symbol_rows(symbol, p.notional()) for name, p in self._pipelines.items()}
        views = {name: render_view(p.store, rows[name], ViewSpec()) for name, p in self._pipelines.items()}
        view, row = views[PRIOR], rows[PRIOR]
        inverse = np.array([i.contract_type is ContractType.INVERSE for i in self.registry])
        true = true_map(truth, inverse, view.bin_width_usd, view.first_bin, view.bin_count, row.markets)
        mine = truth[np.isin(truth["market"], row.markets)]
        placed, bins = place(mine, view.bin_width_usd, view.first_bin, view.bin_count)
        positions = binned(placed["side"], bins, np.ones(len(bins)), view.bin_count)
        maps = {name: views[name].values[:, 1:-1].astype(np.float64) for name in OURS}
        maps |= self._baselines(view, row)
        for name, levels in maps.items():
            compared = compare_maps(levels, true, view.first_bin, view.bin_width_usd, row.mark_usd)
            bits = map_bits(levels, positions, view.first_bin, view.bin_width_usd, row.mark_usd)
            for side, found in ((LONG, compared.long), (SHORT, compared.short)):
                self._maps.append(
                    MapScore(
                        hour=self._hour,
                        symbol=symbol,
                        side=SIDES[side],
                        map=name,
                        spearman=found.spearman,
                        wasserstein_bp=found.wasserstein_bp,
                        top_decile_overlap=found.top_decile_overlap,
                        top_decile_share=found.top_decile_share,
                        bits=bits[side],
                    )
                )
        learnt = self._pipelines[CALIBRATED]
        covered = band_sums(learnt, self._learner, rows[CALIBRATED], truth, inverse, self.level)
        for scope, sums in covered.items():
            self._bands.append(BandScore(self._hour, symbol, scope, *sums.tolist()))

    def _baselines(self, view: RenderedView, rows: SymbolRows) -> dict[str, F64]:
        """Return the baselines' maps in USD, float64 ``[2, B]``, on the bins of a view."""
        axis = Axis.of(rows.mark_usd, view.bin_width_usd, view.first_bin, view.bin_count)
        usd = usd_per_lot(rows.notional, np.arange(len(rows.markets)), view.first_bin, view.bin_count)[:, 1:-1]
        found = {name: np.zeros((2, view.bin_count)) for name in (NAIVE, NAIVE_MAINTENANCE, DISTANCE)}
        lots = self._pipelines[PRIOR].inference.markets.open_interest
        for k, market in enumerate(rows.markets.tolist()):
            for name in (NAIVE, NAIVE_MAINTENANCE):
                levels = self._forecasts.baselines[name].levels(market, view.first_bin, view.bin_count)
                found[name] += levels * usd[k]
            instrument = self.registry[market]
            law = DistancePrior.of_venue(instrument.venue, instrument.max_leverage)
            for side in (LONG, SHORT):
                outward = axis.outward(found[DISTANCE], side)
                outward += law.profile(axis, side, float(lots[market])) * axis.outward(usd[[k, k]], side)
        return found

    def _weight_scores(self, markets: I64, truth: Records) -> Iterator[WeightScore]:
        live = {}
        for name, pipeline in self._pipelines.items():
            grid = pipeline.store.resident.leverage_grid(markets.astype(np.int32), weighted=False)
            live[name] = _shares(grid.sum(3).astype(np.float64))
        weights = {name: p.store.weights(markets) for name, p in self._pipelines.items()}
        for k, market in enumerate(markets.tolist()):
            key, mine = self.registry[market].key, truth[truth["market"] == market]
            tier = tiers_of_leverage(LEVERAGES, mine["leverage"])
            truly = _shares(binned(mine["side"], tier, mine["quantity"], len(LEVERAGES)))
            opened = np.stack([self._opened[key]] * 2)
            yield WeightScore(
                hour=self._hour,
                market=key,
                feed=self._feed[key],
                prior=_distance(weights[PRIOR][k], opened),
                calibrated=_distance(weights[CALIBRATED][k], opened),
                live_prior=_distance(live[PRIOR][k], truly),
                live_calibrated=_distance(live[CALIBRATED][k], truly),
                live_true=_distance(live[TRUE][k], truly),
            )


def map_bits(levels: F64, positions: F64, first_bin: int, bin_width_usd: float, mark_usd: float) -> tuple[float, float]:
    """Bits per position of each side of a map within reach of the mark, over the same map made flat.

    ``levels`` and ``positions`` (counts) float64 ``[2, B]``; 0 for a side without positions there.
    """
    axis = Axis.of(mark_usd, bin_width_usd, first_bin, levels.shape[1])
    reach = within_reach(first_bin, levels.shape[1], bin_width_usd, mark_usd)
    found = []
    for side in (LONG, SHORT):
        n = int(reach[side].sum())
        profile, there = axis.outward(levels, side)[:n], axis.outward(positions, side)[:n]
        gain = log_gain(profile, band_means(profile, band_of(axis, side)[:n]))
        found.append(float(gain @ there / there.sum()) if there.sum() > 0 else 0.0)
    return found[0], found[1]


def _shares(values: F64) -> F64:
    """Scale the last axis to one; a side without positions stays zero."""
    shares: F64 = values / np.maximum(values.sum(-1, keepdims=True), 1e-300)
    return shares


def _distance(a: F64, b: F64) -> float:
    """Total-variation distance of two laws, the mean of both sides; both ``[2, T]``."""
    return float(np.abs(a - b).sum() / 4)
