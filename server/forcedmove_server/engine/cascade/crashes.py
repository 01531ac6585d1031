"""Forecasts of simulated crashes against what the agents' market then did, beside two forecasts without a chain.

A minute before a crash of the regime the state of the model is frozen; nothing later is seen. The shock that is asked
about is the crash's *news*, which no feed shows: the lowest (or highest) price that its news alone would have led to,
without any flow, and it is said to take as long as the regime's crashes take on average (nobody knows how long this one
will). What the market then made of it, in the half hour from the state on, is the truth: the furthest mark,
the notional liquidated up to then, and how many of the map's clusters the mark reached. Forecasts are made of the map
as a running server has it, weights calibrated on what came before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import CalibrationConfig, Config, SimulationRegime
from forcedmove_server.engine.cascade.answer import path_spreads
from forcedmove_server.engine.cascade.forecast import (
    PathForecast,
    PointForecast,
    lasting,
    path_forecast,
    point_forecast,
)
from forcedmove_server.engine.cascade.noise import Spreads
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import SymbolState, symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.sources.make import bounded_simulation
from forcedmove_server.sources.simulate.regime_profiles import regime_profile

F64 = NDArray[np.float64]

CHAIN, LINEAR, NO_FEEDBACK = "chain", "linear impact", "no feedback"
FORECASTS = (CHAIN, LINEAR, NO_FEEDBACK)
#: time between the state and the crash; how long the crash is then followed
BEFORE_S, FOLLOWED_S = 60, 1800
_PATHS = 2000
#: distance from the mark within which the linear forecast takes the book's density from
_LINEAR_WITHIN = 0.01


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one forecast says: the furthest mark, USD liquidated, clusters reached."""

    forecast: str
    floor_usd: float
    total_usd: float
    levels: int


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash of one symbol. ``band`` prices and totals are the forecast's 5 and 95 % quantiles, near to far."""

    seed: int
    symbol: str
    side: int
    mark_usd: float
    shock_usd: float
    duration_s: float
    floor_usd: float
    total_usd: float
    levels: int
    predicted: tuple[Predicted, ...]
    floor_band: tuple[float, float]
    total_band: tuple[float, float]
    spreads: Spreads

    @property
    def floor_held(self) -> bool:
        """Whether the band holds the furthest mark."""
        low, high = sorted(self.floor_band)
        return low <= self.floor_usd <= high

    @property
    def total_held(self) -> bool:
        """Whether the band holds what was liquidated."""
        return self.total_band[0] <= self.total_usd <= self.total_band[1]


@dataclass(frozen=True, slots=True)
class _Frozen:
    """The states of all symbols a minute before a crash, and what the simulation had done by then."""

    states: dict[str, SymbolState]
    news: F64
    forced: F64
    interest: dict[int, float]  # USD of each market, the weights of a symbol's mark


def simulated_crashes(
    seed: int,
    config: Config,
    regime: SimulationRegime,
    symbols: tuple[str, ...] = (),
    number: int = 3,
    duration_s: float | None = None,
    told: Callable[[float], None] = lambda _: None,
) -> list[Crash]:
    """Run one seed up to a scheduled crash and through it; one :class:`Crash` per symbol.

    ``number`` counts the regime's crashes from 1: those before it belong to what the model has seen. ``duration_s`` is
    that of the shock asked about; None asks with the mean of the regime's. Raises InputError for a regime without
    scheduled crashes.
    """
    crashes = regime_profile(regime).crashes
    if crashes is None:
        raise InputError("regime", regime, "has no scheduled crash")
    at_hour = crashes.first_hour + (number - 1) * crashes.every_hours
    hours = at_hour + (FOLLOWED_S - BEFORE_S) / 3600
    source = bounded_simulation(seed, symbols, hours, regime)
    registry = InstrumentRegistry()
    pipeline = Pipeline(registry, config.engine, config.model)
    learner = Learner(pipeline, dataclasses.replace(CalibrationConfig(), every_s=config.calibration.every_s))
    forecasts = Forecasts(pipeline, Scorecard(maps=MAPS, baseline=NAIVE), learner)
    freeze_ns = source.config.epoch_ns + round(at_hour * 3600 - BEFORE_S) * 10**9
    frozen: _Frozen | None = None
    path: list[tuple[F64, F64, F64]] = []  # of every minute: extremes of marks by symbol, news, liquidated
    names = source.config.symbols
    for batch in source.batches(registry):
        if frozen is None:
            forecasts.take(batch)
            if batch.until_ns >= freeze_ns:
                frozen = _freeze(pipeline, *source.undisturbed())
        else:
            path.append((_extremes(batch, registry, names, frozen.interest), *source.undisturbed()))
        told(source.progress() or 0.0)
    if frozen is None:
        raise InputError("regime", regime, "the simulation ended before its crash")
    side = LONG if crashes.log_move[1] < 0 else SHORT
    lasts_s = crashes.mean_s if duration_s is None else duration_s
    return [
        _crash(seed, pipeline, learner, frozen, path, row, symbol, side, lasts_s) for row, symbol in enumerate(names)
    ]


def states_now(pipeline: Pipeline) -> dict[str, SymbolState]:
    """Bring the maps of all symbols up to the last batch and return their states."""
    pipeline.sweep()
    symbols = [symbol for symbol in pipeline.registry.symbols() if pipeline.mapped_markets(symbol)]
    for symbol in symbols:
        pipeline.centre(symbol)
    pipeline.store.refresh(pipeline.now_s)
    return symbol_states(pipeline, symbols, pipeline.notional())


def _freeze(pipeline: Pipeline, news: F64, forced: F64) -> _Frozen:
    states = states_now(pipeline)
    table = pipeline.inference.markets
    interest = {}
    for state in states.values():
        for market in state.rows.markets.tolist():
            unit = 1.0 if table.inverse[market] else state.rows.mark_usd
            interest[market] = float(table.open_interest[market] * table.lot[market] * unit)
    return _Frozen(states, news, forced, interest)


def _extremes(
    batch: EventBatch, registry: InstrumentRegistry, names: tuple[str, ...], interest: dict[int, float]
) -> F64:
    """Lowest and highest mark of each symbol in a batch, float64 ``[S, 2]``: of the mean over its markets."""
    found = np.zeros((len(names), 2))
    rows = batch.mark_prices
    for row, symbol in enumerate(names):
        own = [market for market in registry.markets_of(symbol) if market in interest]
        series = [rows["price"][rows["market"] == market] for market in own]
        mean = np.average(np.stack(series), axis=0, weights=[interest[market] for market in own])
        found[row] = mean.min(), mean.max()
    return found


def _crash(
    seed: int,
    pipeline: Pipeline,
    learner: Learner,
    frozen: _Frozen,
    path: list[tuple[F64, F64, F64]],
    row: int,
    symbol: str,
    side: int,
    duration_s: float,
) -> Crash:
    state = lasting(frozen.states[symbol], duration_s)
    mark = state.rows.mark_usd
    worst = np.argmin if side == LONG else np.argmax
    marks = np.array([extremes[row, side] for extremes, _, _ in path])
    news = np.array([told[row] for _, told, _ in path]) - frozen.news[row]
    at = int(worst(marks))
    floor = float(marks[at])
    shock = mark * float(np.exp(min(news.min(), 0.0) if side == LONG else max(news.max(), 0.0)))
    total = float(path[at][2][row, side] - frozen.forced[row, side])
    point = point_forecast(pipeline.backend, state, shock)
    spreads = path_spreads(pipeline, state, learner.certainty(state.rows.rows.astype(np.int64)), point, duration_s)
    told = path_forecast(pipeline.backend, state, point, _PATHS, seed, spreads)
    near, far = _ends(told)
    return Crash(
        seed=seed,
        symbol=symbol,
        side=side,
        mark_usd=mark,
        shock_usd=shock,
        duration_s=duration_s,
        floor_usd=floor,
        total_usd=total,
        levels=levels_reached(state, side, floor),
        predicted=(_chain(state, point), _linear(state, point), _no_feedback(state, point)),
        floor_band=(near[0], far[0]),
        total_band=(near[1], far[1]),
        spreads=spreads,
    )


def _ends(told: PathForecast) -> tuple[tuple[float, float], tuple[float, float]]:
    first, last = told.quantiles[0], told.quantiles[-1]
    return (first.terminal_usd, first.total_usd), (last.terminal_usd, last.total_usd)


def levels_reached(state: SymbolState, side: int, price_usd: float) -> int:
    """How many of the map's clusters on a side a mark at ``price_usd`` has reached, by their peaks."""
    peaks, mark, cell = state.clusters[side].peak, state.cell(state.rows.mark_usd), state.cell(price_usd)
    between = (peaks >= cell) & (peaks <= mark) if side == LONG else (peaks <= cell) & (peaks >= mark)
    return int(np.count_nonzero(between))


def _between_usd(state: SymbolState, side: int, price_usd: float) -> float:
    low, high = sorted((state.cell(state.rows.mark_usd), state.cell(price_usd)))
    return float(state.profile[side, low : high + 1].sum()) / 100


def _chain(state: SymbolState, point: PointForecast) -> Predicted:
    chain = point.chain
    floor = chain.terminal_price_usd
    return Predicted(CHAIN, floor, chain.total_usd, levels_reached(state, point.side, floor))


def _linear(state: SymbolState, point: PointForecast) -> Predicted:
    """Sell what the shock itself fires into a book as dense as it is near the mark; nothing more fires."""
    mark, shock, side = state.rows.mark_usd, point.chain.shock_price_usd, point.side
    away = mark * _LINEAR_WITHIN
    ends = sorted((state.cell(mark), state.cell(mark - away if side == LONG else mark + away)))
    density = float(state.visible.usd[side, ends[0] : ends[1] + 1].sum()) / away
    pushed = _between_usd(state, side, shock) / density if density > 0 else 0.0
    floor = max(shock - pushed, mark * 0.5) if side == LONG else min(shock + pushed, mark * 1.5)
    return Predicted(LINEAR, floor, _between_usd(state, side, shock), levels_reached(state, side, floor))


def _no_feedback(state: SymbolState, point: PointForecast) -> Predicted:
    shock, side = point.chain.shock_price_usd, point.side
    return Predicted(NO_FEEDBACK, shock, _between_usd(state, side, shock), levels_reached(state, side, shock))
