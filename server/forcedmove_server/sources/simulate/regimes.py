"""The weather that all symbols share: calm, trend, crash and aftershock by chance, or as a regime has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.sources.simulate.config import STEP_S, SimulationConfig
from forcedmove_server.sources.simulate.regime_profiles import MIXED

_NEVER = 1 << 62


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
    """Draws the weather span by span.

    Mixed weather changes by itself, with crashes at random; other regimes stay as their profile has them. Crashes that
    are scheduled, by the regime or in the configuration, interrupt whatever is on.
    """

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        self._rng = rng
        self._profile = None if config.weather is MIXED else config.weather
        self._crash_chance = config.crashes_per_day
        self._scheduled = sorted(int(hour * 3_600 / STEP_S) for hour in config.scheduled_crash_hours)
        self._segment = _Segment("calm", 0, 1.0, 0.0, 1.0)
        self._left = 0
        self._step = 0
        self._direction = 0.0 if self._profile is None else float(rng.choice([-1.0, 1.0]))
        self._next_crash = _NEVER
        if self._profile is not None and self._profile.crashes is not None:
            self._next_crash = int(self._profile.crashes.first_hour * 3_600 / STEP_S)

    def span(self, steps: int) -> Weather:
        """Return the weather of the next ``steps`` steps."""
        weather = Weather(*(np.empty(steps) for _ in range(3)))
        done = 0
        while done < steps:
            if self._step >= self._due():
                self._take_from_schedule()
                self._begin(self._crash())
            elif self._left == 0:
                self._begin(self._next())
            take = min(steps - done, self._left, self._due() - self._step)
            part = slice(done, done + take)
            weather.volatility[part] = self._segment.volatility
            weather.drift[part] = self._segment.log_move / self._segment.steps
            weather.activity[part] = self._segment.activity
            done, self._step, self._left = done + take, self._step + take, self._left - take
        return weather

    def _due(self) -> int:
        return min([*self._scheduled[:1], self._next_crash])

    def _take_from_schedule(self) -> None:
        if self._scheduled and self._step >= self._scheduled[0]:
            self._scheduled.pop(0)
        elif self._profile is not None and self._profile.crashes is not None:
            self._next_crash += int(self._profile.crashes.every_hours * 3_600 / STEP_S)

    def _begin(self, segment: _Segment) -> None:
        self._segment, self._left = segment, segment.steps

    def _next(self) -> _Segment:
        rng, before = self._rng, self._segment
        if before.name == "crash":
            # Part of a crash is given back while the market stays nervous.
            return _Segment("aftershock", 2_400 // STEP_S, 2.0, -0.3 * before.log_move, 2.0)
        if self._profile is not None:
            profile, hour = self._profile, 3_600 // STEP_S
            return _Segment(
                "steady", hour, profile.volatility, self._direction * profile.drift_per_day / 24, profile.activity
            )
        if before.name == "calm":
            mean_calm_days = 3.0 / 24
            if rng.random() < self._crash_chance * mean_calm_days * 2:
                return self._crash()
            hours, direction = rng.uniform(0.5, 2.0), rng.choice([-1.0, 1.0])
            return _Segment("trend", int(hours * 3_600 / STEP_S), 1.2, direction * 0.008 * hours, 1.4)
        return _Segment("calm", math.ceil(rng.exponential(3.0 * 3_600 / STEP_S)), 0.8, 0.0, 0.9)

    def _crash(self) -> _Segment:
        crashes = None if self._profile is None else self._profile.crashes
        if crashes is not None:
            steps = int(self._rng.uniform(*crashes.lasts_s) / STEP_S)
            return _Segment("crash", steps, 3.0, self._rng.uniform(*crashes.log_move), 4.0)
        direction = -1.0 if self._rng.random() < 0.75 else 1.0
        steps = int(self._rng.uniform(480, 1_200) / STEP_S)
        return _Segment("crash", steps, 3.0, direction * self._rng.uniform(0.02, 0.04), 4.0)
