"""Calm, trend, crash and aftershock: the weather that all symbols share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.sources.simulate.config import STEP_S, SimulationConfig


@dataclass(frozen=True, slots=True)
class Weather:
    """Factors per step, float64 ``[steps]``; ``drift`` is the log return of a symbol with beta 1."""

    volatility: NDArray[np.float64]
    drift: NDArray[np.float64]
    activity: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Segment:
    name: str
    steps: int
    volatility: float
    log_move: float
    activity: float


class Regimes:
    """Draws the weather span by span; crashes come at random and at the scheduled hours."""

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        self._rng = rng
        self._crash_chance = config.crashes_per_day
        self._scheduled = sorted(int(hour * 3_600 / STEP_S) for hour in config.scheduled_crash_hours)
        self._segment = _Segment("calm", 0, 1.0, 0.0, 1.0)
        self._left = 0
        self._step = 0

    def span(self, steps: int) -> Weather:
        """Return the weather of the next ``steps`` steps."""
        weather = Weather(*(np.empty(steps) for _ in range(3)))
        done = 0
        while done < steps:
            if self._scheduled and self._step >= self._scheduled[0]:
                self._scheduled.pop(0)
                self._begin(self._crash())
            elif self._left == 0:
                self._begin(self._next())
            take = min(steps - done, self._left)
            if self._scheduled:
                take = min(take, self._scheduled[0] - self._step)
            part = slice(done, done + take)
            weather.volatility[part] = self._segment.volatility
            weather.drift[part] = self._segment.log_move / self._segment.steps
            weather.activity[part] = self._segment.activity
            done, self._step, self._left = done + take, self._step + take, self._left - take
        return weather

    def _begin(self, segment: _Segment) -> None:
        self._segment, self._left = segment, segment.steps

    def _next(self) -> _Segment:
        rng, before = self._rng, self._segment
        if before.name == "crash":
            # Part of a crash is given back while the market stays nervous.
            return _Segment("aftershock", 2_400 // STEP_S, 2.0, -0.3 * before.log_move, 2.0)
        if before.name == "calm":
            mean_calm_days = 3.0 / 24
            if rng.random() < self._crash_chance * mean_calm_days * 2:
                return self._crash()
            hours, direction = rng.uniform(0.5, 2.0), rng.choice([-1.0, 1.0])
            return _Segment("trend", int(hours * 3_600 / STEP_S), 1.2, direction * 0.008 * hours, 1.4)
        return _Segment("calm", math.ceil(rng.exponential(3.0 * 3_600 / STEP_S)), 0.8, 0.0, 0.9)

    def _crash(self) -> _Segment:
        direction = -1.0 if self._rng.random() < 0.75 else 1.0
        steps = int(self._rng.uniform(480, 1_200) / STEP_S)
        return _Segment("crash", steps, 3.0, direction * self._rng.uniform(0.02, 0.04), 4.0)
