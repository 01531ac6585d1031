"""Maintenance that is a function of size instead of a ladder.

* *line*: ``rate = base + factor * size`` (Deribit: 1 % + 0.005 % per BTC);
* *square root*: ``rate = scale * max(base, factor * sqrt(max(0, size - shift)))`` (Backpack, Paradex).

The initial rate is such a function too; its inverse says how large a position may open with a leverage. No rate exceeds
nearly all of the value: positions so large do not exist, and the equation would turn round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError
from forcedmove_server.margin.tiers import TierMeasure

F64 = NDArray[np.float64]

_STEPS = 100
_HIGHEST_RATE = 0.99
#: a Newton step of two roundings of the value or less changes nothing any more
_SMALLEST_STEP = 4e-16


@dataclass(frozen=True, slots=True)
class LineRate:
    """``base + factor * size``."""

    base: float
    factor: float

    def rate(self, size: F64) -> F64:
        """Rate of a position of ``size``."""
        return np.minimum(self.base + self.factor * size, _HIGHEST_RATE)

    def rate_and_slope(self, size: F64) -> tuple[F64, F64]:
        """Rate, and its change with size."""
        rate = self.rate(size)
        return rate, np.where(rate < _HIGHEST_RATE, self.factor, 0.0)

    def size_at(self, rate: F64) -> F64:
        """Greatest size whose rate is at most ``rate``; 0 where there is none."""
        if self.factor == 0:
            return np.where(rate >= self.base, np.inf, 0.0)
        return np.maximum((rate - self.base) / self.factor, 0.0)


@dataclass(frozen=True, slots=True)
class RootRate:
    """``scale * max(base, factor * sqrt(max(0, size - shift)))``."""

    base: float
    factor: float
    shift: float = 0.0
    scale: float = 1.0

    def rate(self, size: F64) -> F64:
        """Rate of a position of ``size``."""
        return np.minimum(
            self.scale * np.maximum(self.base, self.factor * np.sqrt(np.maximum(size - self.shift, 0.0))), _HIGHEST_RATE
        )

    def rate_and_slope(self, size: F64) -> tuple[F64, F64]:
        """Rate, and its change with size: 0 where the base rules."""
        grown = self.factor * np.sqrt(np.maximum(size - self.shift, 0.0))
        rules = (grown > self.base) & (self.scale * grown < _HIGHEST_RATE)
        slope = 0.5 * self.scale * self.factor**2 / np.where(rules, grown, np.inf)
        return np.minimum(self.scale * np.maximum(self.base, grown), _HIGHEST_RATE), slope

    def size_at(self, rate: F64) -> F64:
        """Greatest size whose rate is at most ``rate``; 0 where there is none."""
        unscaled = rate / self.scale
        if self.factor == 0:
            return np.where(unscaled >= self.base, np.inf, 0.0)
        return np.where(unscaled >= self.base, self.shift + (unscaled / self.factor) ** 2, 0.0)


class RateFunction:
    """Maintenance and initial rate as functions of size.

    Raises InputError for a base outside (0, 1), a negative factor or shift, or maintenance above the initial rate.
    """

    def __init__(
        self, maintenance: LineRate | RootRate, initial: LineRate | RootRate, measure: TierMeasure = TierMeasure.VALUE
    ) -> None:
        for name, function in (("maintenance", maintenance), ("initial", initial)):
            if not 0 < function.base < 1:
                raise InputError(f"{name}.base", function.base, "must lie in (0, 1)")
            if not function.factor >= 0:
                raise InputError(f"{name}.factor", function.factor, "must not be negative")
            if isinstance(function, RootRate) and not (function.shift >= 0 and 0 < function.scale <= 1):
                raise InputError(f"{name}.shift", function.shift, "must not be negative; the scale lies in (0, 1]")
        nothing = np.zeros(())
        if maintenance.rate(nothing) > initial.rate(nothing):
            raise InputError("maintenance.base", maintenance.base, "must not be above the initial rate")
        self.maintenance, self.initial, self.measure = maintenance, initial, measure

    @property
    def moves_with_price(self) -> bool:
        """Whether the rate changes with the price: only a size in units does not."""
        return self.measure is TierMeasure.VALUE and self.maintenance.factor > 0

    @property
    def max_leverage(self) -> float:
        """Greatest leverage, that of the smallest positions."""
        return float(1.0 / self.initial.rate(np.zeros(())))

    def largest_size(self, leverage: ArrayLike) -> F64:
        """Greatest size that may open with ``leverage``."""
        # The slack keeps the rounding of 1 / leverage from forbidding the greatest leverage altogether.
        return self.initial.size_at((1.0 + 1e-12) / np.asarray(leverage, np.float64))

    def terms(self, size: ArrayLike, leverage: ArrayLike) -> tuple[F64, F64]:
        """Return the maintenance rate of positions of a size, and an amount of zero."""
        sizes = np.asarray(size, np.float64)
        return self.maintenance.rate(sizes), np.zeros(sizes.shape)


def solve_value(
    function: LineRate | RootRate, direction: F64, entry_value: F64, margin: F64, quantity_value: F64, fee: float
) -> F64:
    """Solve ``margin + d (v - entry_value) = v (rate(v * quantity_value) + fee)`` for the value ``v`` of one unit.

    ``direction`` is +1 where equity rises with the value (``d``), -1 where it falls; ``quantity_value`` scales a unit
    to the position. The root is the one that is met first when the position loses: ``v`` at or below the entry value
    for d = +1, at or above it for d = -1. 0 for a position that is never liquidated; the entry value for one that is at
    once. Newton steps, kept inside a bracket by bisection: both sides are monotone, so there is one root.
    """
    shapes = (direction, entry_value, margin, quantity_value)
    d, start, m, q = (np.array(a, np.float64) for a in np.broadcast_arrays(*shapes))
    rate = function.rate(start * q)
    at_once = m - start * (rate + fee) <= 0
    never = (d > 0) & (m >= start)
    # With the rate at entry the equation is linear: that is the answer where the rate stays, and near it elsewhere.
    value = np.atleast_1d((start - d * m) / (1.0 - d * (rate + fee)))
    rest = np.atleast_1d(~(at_once | never) & (function.rate(np.maximum(value, 0.0).reshape(start.shape) * q) != rate))
    if np.any(rest):
        d_rest, start_rest, m_rest, q_rest = (np.atleast_1d(a)[rest] for a in (d, start, m, q))
        value[rest] = _solve_rest(function, d_rest, start_rest, m_rest, q_rest, value[rest], fee)
    return np.where(at_once, start, np.where(never, 0.0, value.reshape(start.shape)))


def _solve_rest(function: LineRate | RootRate, d: F64, start: F64, m: F64, q: F64, guess: F64, fee: float) -> F64:
    """Solve where the rate changes between entry and liquidation."""

    def surplus(v: F64) -> tuple[F64, F64]:
        """Equity less requirement, and how it changes with the value."""
        rate, slope = function.rate_and_slope(v * q)
        return m + d * (v - start) - v * (rate + fee), d - rate - fee - v * q * slope

    low = np.where(d > 0, 0.0, start)
    high = np.where(d > 0, start, start + np.maximum(m, 0.0))
    return bracketed_newton(surplus, low, high, rising=d > 0, start=np.clip(guess, low, high))


def bracketed_newton(
    function: Callable[[F64], tuple[F64, F64]],
    low: F64,
    high: F64,
    rising: NDArray[np.bool_],
    start: F64,
) -> F64:
    """Find the roots of monotone functions inside brackets: Newton's step where it stays inside, else the middle.

    ``function`` gives value and derivative.
    """
    value = start.copy()
    found = np.zeros(value.shape, np.bool_)  # a root that has been found stays, whatever the others still need
    for _ in range(_STEPS):
        residual, slope = function(value)
        above = (residual > 0) == rising
        high, low = np.where(above, value, high), np.where(above, low, value)
        step = residual / np.where(slope == 0, 1.0, slope)
        proposed = value - step
        found |= (np.abs(step) <= _SMALLEST_STEP * np.abs(value)) & (slope != 0)
        if np.all(found):
            break
        inside = (proposed > low) & (proposed < high) & (slope != 0)
        value = np.where(found, value, np.where(inside, proposed, 0.5 * (low + high)))
    return value
