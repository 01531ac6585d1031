"""A backtest: recorded or simulated events, our map and the baselines beside it, held against what happened then.

Weights may be learnt in a first part of the time; they are frozen before the second, which alone is reported.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import CalibrationConfig, Config
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import configured_pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.stability import StabilityWatch
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.scorecard.frozen import FrozenMap, KnownPositions
from forcedmove_server.scorecard.known import PositionSnapshots
from forcedmove_server.scorecard.report.largest import largest_moves
from forcedmove_server.scorecard.report.placements import ReportPlacements
from forcedmove_server.scorecard.report.residuals import residual_bins
from forcedmove_server.scorecard.report.result import (
    BacktestResult,
    MarketInput,
    Setting,
    VenueEvidence,
    WeightSnapshot,
)
from forcedmove_server.scorecard.report.wording import moment
from forcedmove_server.scorecard.resampling import Resampling
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.scorecard import DISTANCE, Scorecard
from forcedmove_server.scorecard.summary import Summary
from forcedmove_server.sources.batching import cut_at
from forcedmove_server.sources.simulate import SimulatedSource
from forcedmove_server.sources.source import Source
from forcedmove_server.typed_toml import keys_of

F64 = NDArray[np.float64]

_DAY_NS = 86_400 * 10**9
_HOUR_NS = 3600 * 10**9
#: simulated positions have no accounts; so many stand for them when intervals are drawn
_CLUSTERS = 64


class Backtest:
    """One pass over a source. Iterate to advance, then ask for :meth:`result`."""

    def __init__(
        self,
        source: Source,
        config: Config,
        title: str,
        fit_until_ns: int | None = None,
        positions: PositionSnapshots | None = None,
    ) -> None:
        """``fit_until_ns``: weights are learnt up to this event time and frozen then; without it nothing is learnt.

        ``positions`` are known positions to hold maps against; a simulated source knows its own.
        """
        self.source, self._config, self._title = source, config, title
        self.pipeline = configured_pipeline(InstrumentRegistry(), config)
        fitted = dataclasses.replace(CalibrationConfig(), every_s=config.calibration.every_s)
        self._learner = Learner(self.pipeline, fitted) if fit_until_ns is not None else None
        truth = _simulated_truth(source, self.pipeline.registry) if isinstance(source, SimulatedSource) else None
        if positions is not None:
            truth = self._recorded_truth(positions)
        self._placements, self._stability = self._observers()
        idle = Learner(self.pipeline, CalibrationConfig(enabled=False))  # it still checks bands
        self._forecasts = Forecasts(self.pipeline, self._scorecard(), self._learner or idle, truth)
        self._forecasts.watchers.append(self._watch)
        step = self._forecasts.scorecard.rules.step_ns
        self._fit_until_ns = fit_until_ns // step * step if fit_until_ns is not None else None
        self._fit_summary: Summary | None = None
        self._begin_ns: int | None = None
        self._counts: Counter[tuple[int, str]] = Counter()
        self._weights: list[WeightSnapshot] = []
        self._told_ns = 0

    def __iter__(self) -> Iterator[EventBatch]:
        """Process batch after batch; yields each one after it has been taken in."""
        for batch in self.source.batches(self.pipeline.registry):
            until = self._fit_until_ns
            fitting = until is not None and self._fit_summary is None
            if fitting and until is not None and batch.until_ns > until + 1:
                for part in cut_at(batch, [until + 1, batch.until_ns]):
                    self._take(part)
                    if self._fit_summary is None:
                        self._end_fit()
            else:
                self._take(batch)
            yield batch

    def result(self) -> BacktestResult:
        """Return what was found. Raises InputError where no time is left to test on, or nothing could be scored."""
        scorecard, until = self._forecasts.scorecard, self._fit_until_ns
        summary = scorecard.summary()
        if self._begin_ns is None or summary.begin_ns is None or summary.end_ns is None:
            raise InputError("input", self.source.name, "holds nothing that can be scored")
        if until is not None and (self._fit_summary is None or summary.end_ns <= until):
            raise InputError("fit-until", f"{moment(until)} UTC", "leaves no time to test on: the input ends before it")
        self._note_weights(self.pipeline.now_ns)
        resampling = Resampling(summary.rules.resamples, summary.rules.level, summary.rules.seed, 2)
        names, headline = (*MAPS, DISTANCE), summary.rules.headline_horizon_ns
        return BacktestResult(
            title=self._title,
            source=self.source.name,
            fit=(self._begin_ns, until) if until is not None else None,
            test=(summary.begin_ns, summary.end_ns + 1),
            settings=model_settings(self._config),
            markets=self._markets(),
            summary=summary,
            fit_summary=self._fit_summary,
            rows=tuple(scorecard.markets()),
            weights=tuple(self._weights),
            realised=self._placements.examples(scorecard.name_of),
            deciles=self._placements.deciles(resampling),
            stability=self._stability.result([i.key for i in self.pipeline.registry], resampling),
            evidence=self._evidence(),
            residuals=tuple(
                found
                for horizon in summary.rules.horizons_ns
                for found in residual_bins(scorecard.moves(horizon), names, horizon, resampling)
            ),
            largest=largest_moves(scorecard.moves(headline), names, headline, scorecard.name_of),
            notes=self._notes(summary),
        )

    def _scorecard(self) -> Scorecard:
        return Scorecard(maps=MAPS, baseline=NAIVE, observer=self._placements)

    def _observers(self) -> tuple[ReportPlacements, StabilityWatch]:
        headline_ns = ScoringRules().headline_horizon_ns
        return ReportPlacements((*MAPS, DISTANCE), NAIVE, headline_ns), StabilityWatch(_HOUR_NS)

    def _watch(self, frozen: FrozenMap) -> None:
        lot = float(self.pipeline.inference.markets.lot[frozen.market])
        self._stability.watch(frozen, lot, self.pipeline.store.ledger)

    def _take(self, batch: EventBatch) -> None:
        for kind, rows in batch.by_kind().items():
            if len(rows):
                self._begin_ns = self._begin_ns or int(rows["time_ns"][0])
                for market, count in zip(*np.unique(rows["market"], return_counts=True), strict=True):
                    self._counts[int(market), kind] += int(count)
        self._forecasts.take(batch)
        if self.pipeline.now_ns - self._told_ns >= _DAY_NS:
            self._told_ns = self.pipeline.now_ns
            self._note_weights(self._told_ns)

    def _end_fit(self) -> None:
        """Freeze the weights, and forget everything that was scored while they were learnt."""
        self._fit_summary = self._forecasts.scorecard.summary()
        if self._learner is not None:
            self._learner.calibration.freeze()
        self._placements, self._stability = self._observers()
        self._forecasts.restart(self._scorecard())

    def _note_weights(self, at_ns: int) -> None:
        """Keep the weights of every venue and side as they are: the means over its markets, by open interest in USD."""
        if self._learner is None:
            return
        pipeline, by_venue = self.pipeline, dict[str, list[int]]()
        known = [m for m in range(len(pipeline.registry)) if pipeline.store.has_market(m)]
        for market in known:
            by_venue.setdefault(pipeline.registry[market].venue, []).append(market)
        for venue, markets in sorted(by_venue.items()):
            now = pipeline.store.weights(np.array(markets)).mean(0)
            prior = self._learner.priors(np.array(markets)).mean(0)
            true = self._true_weights(markets)
            for side in (0, 1):
                self._weights.append(
                    WeightSnapshot(
                        at_ns=at_ns,
                        venue=venue,
                        side=side,
                        leverages=tuple(LEVERAGES.tolist()),
                        prior=_shares(prior[side]),
                        posterior=_shares(now[side]),
                        truth=_shares(true) if true is not None else None,
                    )
                )

    def _evidence(self) -> tuple[VenueEvidence, ...]:
        """What the weights of every venue rest on."""
        if self._learner is None:
            return ()
        calibration, found = self._learner.calibration, []
        keys = calibration.keys()
        rows = {key: calibration.row(key) for key in keys}
        venues = {i.key: i.venue for i in self.pipeline.registry}
        for venue in sorted({venues[key] for key in rows}):
            own = calibration.counts(np.array([row for key, row in rows.items() if venues[key] == venue]))
            released, capture = calibration.released_counts(venue), calibration.capture(venue)
            found.append(
                VenueEvidence(
                    venue=venue,
                    windows=released.windows,
                    released=float(released.counts.sum()),
                    reliability=capture.reliability,
                    released_share=None if np.isnan(capture.released).any() else _pair(capture.released),
                    printed=float(own.printed.sum()),
                    capture=_finite(capture.overall),
                    seen=float(own.seen.sum()),
                )
            )
        return tuple(found)

    def _true_weights(self, markets: list[int]) -> F64 | None:
        if not isinstance(self.source, SimulatedSource):
            return None
        known = self.source.config.true_leverage_weights
        found = [np.array(known[key]) for m in markets if (key := self.pipeline.registry[m].key) in known]
        mean: F64 | None = np.mean(found, axis=0) if found else None
        return mean

    def _markets(self) -> tuple[MarketInput, ...]:
        found = []
        for market, instrument in enumerate(self.pipeline.registry):
            counts = sorted((kind, n) for (own, kind), n in self._counts.items() if own == market)
            found.append(MarketInput(instrument.venue, instrument.native_id, instrument.symbol, tuple(counts)))
        return tuple(found)

    def _notes(self, summary: Summary) -> tuple[str, ...]:
        defects = self.source.defects.counts + self.pipeline.inference.defects.counts
        told = [f"{kind}: {count:,}" for kind, count in sorted(defects.items())]
        if summary.headline.bits.value is None:
            told.append(f"no bits: {summary.headline.bits.reason}")
        if self._learner is None:
            told.append("nothing was fitted: weights are the defaults (no --fit-until)")
        return tuple(told)

    def _recorded_truth(self, positions: PositionSnapshots) -> Callable[[int, int], KnownPositions | None]:
        return lambda market, at_ns: positions.at(at_ns, self.pipeline.registry[market])


def _simulated_truth(
    source: SimulatedSource, registry: InstrumentRegistry
) -> Callable[[int, int], KnownPositions | None]:
    """Positions that are really open, as the simulation has them at the end of its newest batch."""
    taken: dict[int, dict[int, KnownPositions]] = {}

    def truth(market: int, at_ns: int) -> KnownPositions | None:
        if at_ns not in taken:
            taken.clear()
            taken[at_ns] = _by_market(source, registry)
        return taken[at_ns].get(market)

    return truth


def _by_market(source: SimulatedSource, registry: InstrumentRegistry) -> dict[int, KnownPositions]:
    rows = source.truth()
    rows = rows[np.isfinite(rows["liquidation_price"])]
    rows = rows[np.argsort(rows["market"], kind="stable")]
    markets, begins = np.unique(rows["market"], return_index=True)
    found = {}
    for market, own in zip(markets.tolist(), np.split(rows, begins[1:]), strict=True):
        inverse = registry[market].contract_type is ContractType.INVERSE
        level = own["liquidation_price"].astype(np.float64)
        usd = own["quantity"] * (1.0 if inverse else level)
        account = np.arange(len(own), dtype=np.int64) % _CLUSTERS
        found[market] = KnownPositions(own["side"].astype(np.int64), level, usd.astype(np.float64), account)
    return found


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _pair(values: F64) -> tuple[float, float]:
    first, second = values.tolist()
    return first, second


def _shares(weights: F64) -> tuple[float, ...]:
    return tuple((weights / weights.sum()).tolist())


def model_settings(config: Config) -> tuple[Setting, ...]:
    """Return what a run depended on: every value of the model, with its meaning."""
    return tuple(
        Setting(f"model.{info.name}", f"{getattr(config.model, info.field)} {info.key.unit}".rstrip(), info.key.text)
        for info in keys_of(type(config.model)).values()
    )
