"""How fast resting depth withdraws as the price moves: the literature's rate, corrected by what books did here.

Depth is taken to fall as ``exp(-k |move|)``. ``k`` is regressed from samples of books: the log of what rests within
``NEAR`` of the middle on the log return over the ``MOVE_S`` before, each market about its own mean. Samples of one hour
share their weather, so that the standard error is clustered by hour. Ordinary hours hold small moves and say little of
large ones: the estimate is weighed against the default by its precision, as one normal observation of ``k`` against a
normal prior, and stays within ``BOUNDS``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: distance from the middle within which depth is counted; books of 20 levels rarely reach further
NEAR = 0.001
#: span over which the move is taken, and time between samples of a market
MOVE_S, SAMPLE_S = 300.0, 60.0
#: standard deviation of the prior of ``k``, in units of the default ``k``
PRIOR_SD = 0.5
#: fraction of price over which depth falls to 1/e, at least and at most
BOUNDS = (0.005, 0.5)
#: hours that are kept: a day
_HOURS = 24
_LEAST_SAMPLES = 60
_HOUR_NS = 3600 * 10**9
#: a fit stands for so long: maps are drawn many times a second, and an hour's sums do not change as fast
_REFIT_NS = 300 * 10**9
#: per market and hour: samples, sums of |move|, of log depth, of |move| squared, and of both multiplied
_SUMS = 5


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """``fraction``: the move over which depth falls to 1/e, with what it rests on.

    ``measured`` and its standard error are the regression's slope ``k`` alone (None without enough samples).
    """

    fraction: float
    samples: int = 0
    markets: int = 0
    largest_move: float = 0.0
    measured: float | None = None
    error: float | None = None


def fit_withdrawal(log_depth: F64, move: F64, market: I64, hour: I64, default: float) -> Withdrawal:
    """Regress ``log_depth`` on ``|move|``, all float64 or int64 ``[n]``; see the module.

    ``move`` are log returns, ``market`` and ``hour`` number what a sample belongs to. Rows that are not finite are left
    out. ``default`` is the fraction that stands without evidence.
    """
    good = np.isfinite(log_depth) & np.isfinite(move)
    y, x = log_depth[good], np.abs(move[good])
    of, within = (np.unique(labels[good], return_inverse=True)[1] for labels in (market, hour))
    sums = np.zeros((int(of.max(initial=-1)) + 1, int(within.max(initial=-1)) + 1, _SUMS))
    np.add.at(sums, (of, within), np.stack([np.ones(len(y)), x, y, x * x, x * y], 1))
    return fit_sums(sums, float(x.max(initial=0.0)), default)


def fit_sums(sums: F64, largest_move: float, default: float) -> Withdrawal:
    """Do what :func:`fit_withdrawal` does from sums per market and hour, float64 ``[M, H, 5]``: see ``_SUMS``."""
    told = sums[sums[..., 0].sum(1) > 0]
    n, markets = int(told[..., 0].sum()), len(told)
    total = told.sum(1, keepdims=True)
    mean_x, mean_y = (total[..., k] / total[..., 0] for k in (1, 2))
    count, x, y, xx, xy = np.moveaxis(told, -1, 0)
    own_xx = xx - 2 * mean_x * x + count * mean_x**2
    own_xy = xy - mean_x * y - mean_y * x + count * mean_x * mean_y
    spread, hours = float(own_xx.sum()), int(np.count_nonzero(count.sum(0)))
    if n < _LEAST_SAMPLES or hours < 2 or spread <= 1e-12 * max(float(xx.sum()), 1e-300):
        return Withdrawal(default, n, markets, largest_move)
    slope = float(own_xy.sum()) / spread
    score = (own_xy - slope * own_xx).sum(0)
    variance = float(score @ score) / spread**2 * hours / (hours - 1)
    prior = 1 / default
    weight = 1 / (PRIOR_SD * prior) ** 2
    seen = 1 / variance if variance > 0 else math.inf
    k = -slope if math.isinf(seen) else (weight * prior - seen * slope) / (weight + seen)
    low, high = BOUNDS
    fraction = min(max(1 / k, low), high) if k > 0 else high
    return Withdrawal(fraction, n, markets, largest_move, -slope, math.sqrt(variance))


class _Watched:
    """One market: what it showed over the last minutes, and sums of its last hours."""

    def __init__(self) -> None:
        self.latest: deque[tuple[int, float]] = deque(maxlen=int(MOVE_S / SAMPLE_S) + 3)  # time, log middle
        self.sums = np.zeros((_HOURS, _SUMS))
        self.hour = np.full(_HOURS, -1, np.int64)
        self.largest = np.zeros(_HOURS)

    def add(self, time_ns: int, middle: float, depth: float) -> None:
        self.latest.append((time_ns, middle))
        times, middles = (np.array(column) for column in zip(*self.latest, strict=True))
        x = abs(float(moves(times.astype(np.int64), middles)[-1]))
        if not math.isfinite(x):
            return
        hour = time_ns // _HOUR_NS
        at = hour % _HOURS
        if self.hour[at] != hour:
            self.hour[at], self.sums[at], self.largest[at] = hour, 0.0, 0.0
        self.sums[at] += (1.0, x, depth, x * x, x * depth)
        self.largest[at] = max(self.largest[at], x)


class WithdrawalWatch:
    """Samples the books of all markets once a minute, and fits their withdrawal symbol by symbol."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._newest_ns = 0
        self._fits: dict[tuple[int, ...], tuple[int, Withdrawal]] = {}

    def take(self, depth: Records) -> None:
        """Sample the last snapshot of every market in a batch whose turn it is."""
        order = np.argsort(depth["market"], kind="stable")
        markets = depth["market"][order]
        ends = np.flatnonzero(np.diff(markets, append=-1)) + 1
        begin = 0
        for market, end in zip(markets[ends - 1].tolist(), ends.tolist(), strict=True):
            own, begin = order[begin:end], end
            watched = self._watched.setdefault(market, _Watched())
            time_ns = int(depth["time_ns"][own[-1]])
            if watched.latest and time_ns - watched.latest[-1][0] < SAMPLE_S * 1e9:
                continue
            rows = depth[own]
            found = near_depth(rows[rows["time_ns"] == time_ns])
            if found is not None:
                watched.add(time_ns, *found)
                self._newest_ns = max(self._newest_ns, time_ns)

    def fit(self, markets: Iterable[int], default: float) -> Withdrawal:
        """Fit the books of some markets together, as of five minutes ago or later."""
        key = tuple(market for market in markets if market in self._watched)
        if not key:
            return Withdrawal(default)
        made_ns, made = self._fits.get(key, (-_REFIT_NS, Withdrawal(default)))
        if self._newest_ns - made_ns < _REFIT_NS:
            return made
        first = self._newest_ns // _HOUR_NS - _HOURS + 1
        sums, largest = np.zeros((len(key), _HOURS, _SUMS)), 0.0
        for row, market in enumerate(key):
            watched = self._watched[market]
            kept = watched.hour >= first
            sums[row, kept] = watched.sums[kept]
            largest = max(largest, float(watched.largest[kept].max(initial=0.0)))
        made = fit_sums(sums, largest, default)
        self._fits[key] = (self._newest_ns, made)
        return made


def near_depth(rows: Records) -> tuple[float, float] | None:
    """Log of the middle and of the quantity within ``NEAR`` of it of one snapshot; None where a side is empty.

    Quantity, not value: a book that keeps its orders while the price falls has not withdrawn.
    """
    bids, asks = rows[rows["side"] == 0], rows[rows["side"] == 1]
    if not len(bids) or not len(asks):
        return None
    middle = (float(bids["price"].max()) + float(asks["price"].min())) / 2
    near = np.abs(rows["price"] / middle - 1) <= NEAR
    held = float(rows["quantity"][near].sum())
    return (math.log(middle), math.log(held)) if held > 0 and middle > 0 else None


def moves(time_ns: I64, log_price: F64) -> F64:
    """Log return over the ``MOVE_S`` before each of some times, float64 ``[n]``; NaN where nothing is known of then.

    What was seen more than two sampling steps before counts as not known.
    """
    then = time_ns - int(MOVE_S * 1e9)
    at = np.searchsorted(time_ns, then, "right") - 1
    known = (at >= 0) & (then - time_ns[np.maximum(at, 0)] <= 2 * SAMPLE_S * 1e9)
    found: F64 = np.where(known, log_price - log_price[np.maximum(at, 0)], np.nan)
    return found
