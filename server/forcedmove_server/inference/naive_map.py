"""The map that open-source heatmaps draw, as a baseline: what every scorecard shows beside ours.

Where open interest rose between two observations, the rise was opened at the price of the second one, by longs and
shorts alike, with fixed weights of 5x to 100x. Levels that the trigger price crossed are removed; where open interest
fell, everything shrinks in proportion. Nothing else closes, nothing is conserved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHORT

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: leverages and their weights, as the most copied implementations have them
NAIVE_LEVERAGES: F64 = np.array([5.0, 10.0, 25.0, 50.0, 100.0])
NAIVE_WEIGHTS: F64 = np.array([0.15, 0.30, 0.25, 0.20, 0.10])
#: bins beyond this many times the highest price so far are not kept: a 5x short lies at 1.2
_REACH = 1.5
#: a scale below this is multiplied in
_LEAST_SCALE = 1e-100
_FAR = np.iinfo(np.int64).max


def bankruptcy_ratios() -> F64:
    """Level over entry without maintenance, ``1 -/+ 1 / L``: float64 ``[2, 5]``."""
    return np.stack([1 - 1 / NAIVE_LEVERAGES, 1 + 1 / NAIVE_LEVERAGES])


class NaiveMaps:
    """The naive map of every market, fed with the same observations as ours. Quantities are lots.

    ``ratios`` gives a market's levels over entry, float64 ``[2, 5]``, at :data:`NAIVE_LEVERAGES`; default:
    :func:`bankruptcy_ratios`.

    Markets lie one behind the other in one array, so that a step of many is a few operations: a market's quantity is
    its cells times its scale, and crossed cells are only looked for up to the level that is nearest to the price.
    """

    def __init__(self, ratios: Callable[[int], F64] | None = None) -> None:
        self._ratios_of = ratios or (lambda _: bankruptcy_ratios())
        self._cells: F64 = np.zeros(0)
        self._end = 0  # of what is in use
        self._begin, self._bins, self._interest = (np.zeros(0, np.int64) for _ in range(3))
        self._scale: F64 = np.zeros(0)
        self._ratios: F64 = np.zeros((0, 2, len(NAIVE_LEVERAGES)))
        self._nearest: I64 = np.zeros((0, 2), np.int64)  # highest bin of longs, lowest of shorts

    def apply(self, updates: Updates) -> None:
        """Take one lifecycle step; steps without an observation only sweep."""
        market = updates.market.astype(np.int64)
        if not len(market):
            return
        self._admit(market, (updates.high >> np.uint32(PRICE_BITS)).astype(np.int64))
        self._sweep(market, updates)
        interest = updates.open_interest.reshape(len(market), -1)[:, 0]
        observed = np.flatnonzero(interest != NOT_OBSERVED)
        own, now = market[observed], interest[observed].astype(np.int64)
        before = np.where(self._interest[own] < 0, now, self._interest[own])
        self._interest[own] = now
        falls, rises = now < before, np.flatnonzero(now > before)
        self._scale[own[falls]] *= now[falls] / before[falls]
        for lost in own[self._scale[own] < _LEAST_SCALE].tolist():
            self._of(lost)[:] *= self._scale[lost]
            self._scale[lost] = 1.0
        self._open(own[rises], (now - before)[rises], updates.price[observed[rises]])

    def coarsen(self, market: int) -> None:
        """Follow a market whose lot became ten times as large."""
        if self._knows(market):
            self._scale[market] /= 10
            self._interest[market] //= 10

    def levels(self, market: int, first_bin: int, bins: int) -> F64:
        """Lots by side and bin from ``first_bin`` on: float64 ``[2, bins]``."""
        found = np.zeros((2, bins))
        if self._knows(market):
            part = self._of(market)[:, first_bin : first_bin + bins]
            found[:, : part.shape[1]] = part * self._scale[market]
        return found

    def open_interest(self) -> Mapping[int, int]:
        """Lots that each market had open at its last observation."""
        known = np.flatnonzero(self._interest >= 0)
        return dict(zip(known.tolist(), self._interest[known].tolist(), strict=True))

    def _knows(self, market: int) -> bool:
        return market < len(self._bins) and bool(self._bins[market])

    def _of(self, market: int) -> F64:
        """A market's cells, a view ``[2, bins]``."""
        begin, bins = self._begin[market], self._bins[market]
        return self._cells[begin : begin + 2 * bins].reshape(2, bins)

    def _sweep(self, market: I64, updates: Updates) -> None:
        """Remove the levels that the price crossed."""
        low, high = ((price >> np.uint32(PRICE_BITS)).astype(np.int64) for price in (updates.low, updates.high))
        for k in np.flatnonzero(self._nearest[market, LONG] >= low).tolist():
            self._of(int(market[k]))[LONG, low[k] : self._nearest[market[k], LONG] + 1] = 0
        for k in np.flatnonzero(self._nearest[market, SHORT] <= high).tolist():
            self._of(int(market[k]))[SHORT, self._nearest[market[k], SHORT] : high[k] + 1] = 0
        self._nearest[market, LONG] = np.minimum(self._nearest[market, LONG], low - 1)
        self._nearest[market, SHORT] = np.maximum(self._nearest[market, SHORT], high + 1)

    def _open(self, market: I64, lots: I64, price: NDArray[np.uint32]) -> None:
        """Add what was opened at a price, on both sides."""
        # a short that no price liquidates has an infinite level
        bins = self._bins[market][:, None, None]
        units = np.minimum(self._ratios[market] * price[:, None, None], (bins << PRICE_BITS).astype(np.float64))
        level = units.astype(np.int64) >> PRICE_BITS
        inside = level < bins
        cell = self._begin[market][:, None, None] + np.arange(2)[:, None] * bins + level
        amount = (lots / self._scale[market])[:, None, None] * NAIVE_WEIGHTS
        np.add.at(self._cells, cell[inside], np.broadcast_to(amount, inside.shape)[inside])
        highest = np.where(inside[:, LONG], level[:, LONG], -1).max(1, initial=-1)
        self._nearest[market, LONG] = np.maximum(self._nearest[market, LONG], highest)
        self._nearest[market, SHORT] = np.minimum(self._nearest[market, SHORT], level[:, SHORT].min(1, initial=_FAR))

    def _admit(self, market: I64, high_bin: I64) -> None:
        """Make room for markets, and for levels of positions opened at their highest price."""
        least = int(market.max()) + 1
        if least > len(self._bins):
            more = max(least, 2 * len(self._bins)) - len(self._bins)
            self._begin, self._bins = (np.append(old, np.zeros(more, np.int64)) for old in (self._begin, self._bins))
            self._interest = np.append(self._interest, np.full(more, -1))
            self._scale = np.append(self._scale, np.ones(more))
            self._ratios = np.concatenate([self._ratios, np.zeros((more, *self._ratios.shape[1:]))])
            self._nearest = np.concatenate([self._nearest, np.tile([-1, _FAR], (more, 1))])
        wanted = (_REACH * high_bin).astype(np.int64) + 2
        for k in np.flatnonzero(self._bins[market] < wanted).tolist():
            own, bins = int(market[k]), int(wanted[k]) + int(wanted[k]) // 4
            if not self._bins[own]:
                self._ratios[own] = self._ratios_of(own)
            kept = self._of(own).copy()
            if self._end + 2 * bins > len(self._cells):
                self._gather(2 * bins)
            self._begin[own], self._bins[own] = self._end, bins
            self._end += 2 * bins
            self._of(own)[:, : kept.shape[1]] = kept

    def _gather(self, more: int) -> None:
        """Leave out what markets that grew have left behind; make room for ``more`` cells and as many as there are."""
        used = np.flatnonzero(self._bins)
        size = int(2 * self._bins[used].sum())
        cells, end = np.zeros(2 * size + more), 0
        for market in used.tolist():
            own = self._of(market).reshape(-1)
            cells[end : end + len(own)] = own
            self._begin[market], end = end, end + len(own)
        self._cells, self._end = cells, end
