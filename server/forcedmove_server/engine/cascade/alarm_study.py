"""Scores of a map, and of what knows no map, minute by minute on simulated markets, and the cascades that came.

Once a minute every side of every symbol gets a score: the map's is the chance that the mark meets a cluster within
``STANDS_S``, times how far its chain then carries the mark beyond (the total over the depth that takes it). Beside it
that chance alone, and two that know no map. What alarms they make is for :mod:`.alarm_curve`; what counts as a cascade
is for engine.clusters.cascades, which knows no map either.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import ArmingConfig, CalibrationConfig, Config, SimulationRegime
from forcedmove_server.engine.cascade.crashes import states_now
from forcedmove_server.engine.cascade.forecast import point_forecast
from forcedmove_server.engine.clusters.cascades import CascadeRule, SideMoves
from forcedmove_server.engine.clusters.observed import Observer
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.plans import check_runs
from forcedmove_server.errors import InputError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.scorecard.measures.reach import reach_probability
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.sources.make import bounded_simulation

F64 = NDArray[np.float64]

#: how long an alarm stands; what is learnt before the first one
STANDS_S, WARM_UP_S = 3600, 3600
#: simulated hours of a seed
HOURS = 8.0
#: clusters are looked at within this of the mark: the nearest, and the largest behind it
_WITHIN = 0.05
#: spans of the scores that know no map
_MOVE_MIN, _VOLATILITY_MIN = 5, 30
CHAIN, TOUCH, MOVE, VOLATILITY = "touch x chain", "touch alone", "move of 5 min", "volatility of 30 min"
SCORES = (CHAIN, TOUCH, MOVE, VOLATILITY)
_SECOND_NS = 10**9


@dataclass(slots=True)
class Watched:
    """One side of one symbol through one seed: minutes with their scores, and when cascades began, nanoseconds."""

    seed: int
    symbol: str
    side: int
    moves: SideMoves
    minutes: list[int] = dataclasses.field(default_factory=list)
    scores: list[tuple[float, ...]] = dataclasses.field(default_factory=list)
    began: list[int] = dataclasses.field(default_factory=list)


def watch_seed(
    seed: int, config: Config, regime: SimulationRegime, symbols: tuple[str, ...] = (), hours: float = HOURS
) -> list[Watched]:
    """Run one simulated market and score every minute of it, weights calibrated on what came before."""
    source = bounded_simulation(seed, symbols, hours, regime)
    registry = InstrumentRegistry()
    pipeline = Pipeline(registry, config.engine, config.model)
    learner = Learner(pipeline, dataclasses.replace(CalibrationConfig(), every_s=config.calibration.every_s))
    forecasts = Forecasts(pipeline, Scorecard(maps=MAPS, baseline=NAIVE), learner)
    observer, rule = Observer(pipeline), _rule(config.arming)
    begin_ns = source.config.epoch_ns + WARM_UP_S * _SECOND_NS
    found: dict[str, tuple[Watched, Watched]] = {}
    marks: dict[str, deque[float]] = {}
    for batch in source.batches(registry):
        forecasts.take(batch)
        for symbol, state in states_now(pipeline).items():
            if symbol not in found:
                found[symbol] = (
                    Watched(seed, symbol, LONG, SideMoves(LONG, rule)),
                    Watched(seed, symbol, SHORT, SideMoves(SHORT, rule)),
                )
            seen = observer.look(symbol, state.rows.mark_usd)
            recent = marks.setdefault(symbol, deque(maxlen=_VOLATILITY_MIN + 1))
            recent.append(math.log(state.rows.mark_usd))
            for own in found[symbol]:
                move = own.moves.take(seen, state.law.sigma_day, (), state.rows.bin_width_usd)
                if batch.until_ns < begin_ns:
                    continue
                if move is not None and move.cascade and move.began_ns >= begin_ns:
                    own.began.append(move.began_ns)
                own.minutes.append(batch.until_ns)
                own.scores.append((*_by_map(pipeline, state, own.side), *_by_price(recent, own.side)))
    return [own for sides in found.values() for own in sides]


def _rule(config: ArmingConfig) -> CascadeRule:
    return CascadeRule(
        round(config.cascade_window_s * _SECOND_NS),
        config.cascade_move_fraction,
        config.cascade_sigmas,
        config.cascade_released_share,
    )


def _by_map(pipeline: Pipeline, state: SymbolState, side: int) -> tuple[float, float]:
    """Score a side by its clusters: chance of a touch times what the chain carries the mark, and the chance alone."""
    clusters, mark = state.clusters[side], state.rows.mark_usd
    mark_cell, last = state.cell(mark), state.profile.shape[1] - 2
    ahead = []
    for begin, end, cents in zip(
        clusters.begin.tolist(), clusters.end.tolist(), clusters.notional.tolist(), strict=True
    ):
        cell = end - 1 if side == LONG else begin
        if (end <= mark_cell if side == LONG else begin > mark_cell) and 0 < cell <= last:
            edge = state.edge(end if side == LONG else begin)
            if abs(edge / mark - 1) <= _WITHIN:
                ahead.append((abs(math.log(edge / mark)), cell, edge, cents))
    ahead.sort()
    chosen = ahead[:1] + ([max(ahead[1:], key=lambda item: item[3])] if len(ahead) > 1 else [])
    both = touch = 0.0
    for away, cell, edge, _ in chosen:
        chance = float(reach_probability(away, state.law.sigma_day / math.sqrt(86_400), STANDS_S))
        chain = point_forecast(pipeline.backend, state, state.edge(cell)).chain
        carried = abs(math.log(chain.terminal_price_usd / edge)) if chain.terminal_price_usd > 0 else math.inf
        both, touch = max(both, chance * carried), max(touch, chance)
    return both, touch


def _by_price(recent: deque[float], side: int) -> tuple[float, float]:
    """Score a side without a map: the move towards it of the last minutes, and how volatile they were."""
    price = np.array(recent)
    moved = float(price[-1] - price[-min(_MOVE_MIN + 1, len(price))])
    return (-moved if side == LONG else moved), float(np.sqrt(np.sum(np.diff(price) ** 2)))


@dataclass(frozen=True, slots=True)
class AlarmPlan:
    """Every seed in every regime for so many ``hours``, the first not scored. Raises InputError."""

    seeds: tuple[int, ...]
    regimes: tuple[SimulationRegime, ...]
    symbols: tuple[str, ...] = ()
    hours: float = HOURS

    def __post_init__(self) -> None:
        check_runs(self.seeds, self.regimes)
        least = (WARM_UP_S + STANDS_S) / 3600
        if not self.hours > least:
            raise InputError(
                "hours", self.hours, f"must be more than {least:g}: the first is not scored, alarms stand one"
            )


def run_alarms(plan: AlarmPlan, config: Config, told: Callable[[float], None] = lambda _: None) -> list[Watched]:
    """Watch every seed in turn."""
    tasks = [(seed, regime) for regime in plan.regimes for seed in plan.seeds]
    found: list[Watched] = []
    for done, (seed, regime) in enumerate(tasks, 1):
        found += watch_seed(seed, config, regime, plan.symbols, plan.hours)
        told(done / len(tasks))
    return found
