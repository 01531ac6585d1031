"""What happened after a freeze: running extremes, open interest and liquidations of every market and horizon.

Events go into the *cell* of the freezing grid that is open; at its end the cell is merged into the window of every
horizon. So the cost of an event does not depend on the number of horizons, and memory not on the number of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.fixed_point import MAX_PRICE_UNITS, PRICE_BITS
from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.forced import ForcedCloses
from forcedmove_server.scorecard.frozen import Outcome
from forcedmove_server.scorecard.rules import ScoringRules

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: one value per market: float64 unless named in _TIMES
_LAST = ("price", "price_ns", "interest", "interest_ns")
_TIMES = frozenset({"price_ns", "interest_ns"})
_MOST_BINS = MAX_PRICE_UNITS >> PRICE_BITS


class Outcomes:
    """Gathers the outcomes of all markets; rows may come in any order of markets, each market's own in time order.

    Event times are half-open the way windows are: a row at exactly a grid time belongs to the cell that ends there.
    """

    def __init__(self, rules: ScoringRules) -> None:
        self.rules = rules
        #: the next grid time; None before :meth:`close` was called once
        self.next_ns: int | None = None
        #: rows that came after their cell was closed, or without a usable value
        self.late = self.unusable = 0
        horizons, no = len(rules.horizons_ns), np.zeros(0)
        self._last: dict[str, NDArray[Any]] = {k: no.astype(np.int64) if k in _TIMES else no.copy() for k in _LAST}
        self._bin_width, self._inverse = no.copy(), no.astype(np.bool_)
        self._feed = no.astype(np.int8)  # of liquidations: -1 none, 0 some, 1 all
        self._cell = np.zeros((3, 0))  # low, high, longest silence in ns
        self._window = np.zeros((horizons, 3, 0))
        self._lost = np.zeros((horizons, 0), np.bool_)  # liquidations missed inside the window
        # at the start of each window: price, open interest (NaN where stale), volatility, change of interest before
        self._start = np.full((horizons, 4, 0), np.nan)
        self._started_ns = [-1] * horizons
        self._close = no.copy()  # price at the last grid time, NaN without one in its cell
        self._variance = np.zeros((3, 0))  # decayed sum of squares, of weights; returns ever counted
        self._forced = ForcedCloses(horizons)

    @property
    def capacity(self) -> int:
        """Markets that there is room for."""
        return len(self._bin_width)

    def add_market(self, market: int, bin_width_usd: float, inverse: bool, liquidations_complete: bool | None) -> None:
        """Admit a market, or change what is said of it; ``liquidations_complete`` None: no such feed."""
        if market >= self.capacity:
            self._grow(max(market + 1, 2 * self.capacity, 16))
        self._bin_width[market], self._inverse[market] = bin_width_usd, inverse
        self._feed[market] = -1 if liquidations_complete is None else int(liquidations_complete)

    def prices(self, market: ArrayLike, time_ns: ArrayLike, price_usd: ArrayLike) -> None:
        """Take trigger prices: i64 market, i64 time, float64 USD, all ``[n]``."""
        rows, times, price, _ = self._usable(market, time_ns, price_usd, priced=True)
        if not len(rows):
            return
        low, high, silence = self._cell
        np.minimum.at(low, rows, price)
        np.maximum.at(high, rows, price)
        order = np.lexsort((times, rows))
        rows, times, price = rows[order], times[order], price[order]
        first, last = _ends(rows)
        before = np.concatenate(([0], times[:-1]))
        before[first] = self._last["price_ns"][rows[first]]
        np.maximum.at(silence, rows, np.maximum(times - before, 0))
        self._last["price"][rows[last]], self._last["price_ns"][rows[last]] = price[last], times[last]

    def interest(self, market: ArrayLike, time_ns: ArrayLike, quantity: ArrayLike) -> None:
        """Take open-interest observations in model units: base, or USD on inverse markets."""
        rows, times, quantities, _ = self._usable(market, time_ns, quantity)
        order = np.lexsort((times, rows))
        rows, times, quantities = rows[order], times[order], quantities[order]
        _, last = _ends(rows)
        self._last["interest"][rows[last]] = quantities[last]
        self._last["interest_ns"][rows[last]] = times[last]

    def liquidations(
        self, market: ArrayLike, time_ns: ArrayLike, price_usd: ArrayLike, quantity: ArrayLike, side: ArrayLike
    ) -> None:
        """Take forced closes; ``side`` is that of the position."""
        amounts, sides = np.asarray(quantity, np.float64), np.asarray(side, np.int64)
        rows, _, price, chosen = self._usable(market, time_ns, price_usd, amounts > 0, priced=True)
        width, quantities = self._bin_width[rows], amounts[chosen]
        usd = np.where(self._inverse[rows], quantities, quantities * price)
        self._forced.add(rows, sides[chosen], price, width, quantities, usd)

    def lost_liquidations(self, market: ArrayLike) -> None:
        """Say that the feed of some markets lost liquidations just now: their open windows are not complete."""
        self._lost[:, np.asarray(market, np.int64)] = True

    def volatility(self) -> F64:
        """Standard deviation of log price per square root of a second, measured up to now; NaN without history."""
        squares, weights, counted = self._variance
        known = counted >= self.rules.least_volatility_cells
        ratio = np.divide(squares, weights, out=np.full(self.capacity, np.nan), where=known)
        sigma: F64 = np.sqrt(ratio / (self.rules.step_ns / 1e9))
        return sigma

    def history(self, market: int) -> F64:
        """What the volatility of a market is made of, float64 ``[3]``, to be kept across restarts."""
        kept: F64 = self._variance[:, market].copy()
        return kept

    def set_history(self, market: int, history: F64) -> None:
        """Give an admitted market its history back."""
        self._variance[:, market] = history

    def close(self, at_ns: int) -> Iterator[tuple[int, list[Outcome]]]:
        """End the open cell at a grid time: return the outcomes of every horizon that ends there, then start anew.

        Returns ``(horizon index, outcomes)`` pairs. Where grid times were passed over, the windows that they cut are
        dropped. Raises InputError for a time that is not the next grid time or a later one.
        """
        step = self.rules.step_ns
        if at_ns % step or (self.next_ns is not None and at_ns < self.next_ns):
            raise InputError("at_ns", at_ns, f"must be a multiple of {step} and not before {self.next_ns}")
        whole = at_ns == self.next_ns
        self._end_cell(at_ns, whole)
        due = []
        for index, horizon in enumerate(self.rules.horizons_ns):
            if at_ns % horizon:
                continue
            if self._started_ns[index] == at_ns - horizon:
                due.append((index, self._outcomes(index, at_ns)))
            self._start_window(index, at_ns)
        self.next_ns = at_ns + step
        return iter(due)

    def _end_cell(self, at_ns: int, whole: bool) -> None:
        low, high, silence = self._cell
        price, price_ns = self._last["price"], self._last["price_ns"]
        np.maximum(silence, at_ns - price_ns, out=silence)
        if whole:
            self._window[:, 0] = np.minimum(self._window[:, 0], low)
            self._window[:, 1] = np.maximum(self._window[:, 1], high)
            self._window[:, 2] = np.maximum(self._window[:, 2], silence)
        else:
            self._started_ns = [-1] * len(self._started_ns)
        self._forced.end_cell(keep=whole)
        seen = high > 0
        now = np.where(seen, price, np.nan)
        if whole:
            moved = np.log(now / self._close)
            known = np.isfinite(moved)
            decay = 0.5 ** (self.rules.step_ns / self.rules.volatility_half_life_ns)
            self._variance[:2, known] *= decay
            self._variance[:, known] += np.stack([moved[known] ** 2, np.ones(known.sum()), np.ones(known.sum())])
        self._close = now
        low[:], high[:], silence[:] = np.inf, 0.0, 0.0

    def _start_window(self, index: int, at_ns: int) -> None:
        interest = self._fresh_interest(index, at_ns)
        before = self._start[index, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.log(interest / before)
        if self._started_ns[index] != at_ns - self.rules.horizons_ns[index]:
            change[:] = np.nan
        self._start[index] = np.stack([self._last["price"], interest, self.volatility(), change])
        self._window[index, 0] = self._window[index, 1] = self._last["price"]
        self._window[index, 2] = 0.0
        self._lost[index] = False
        self._forced.restart(index)
        self._started_ns[index] = at_ns

    def _outcomes(self, index: int, at_ns: int) -> list[Outcome]:
        horizon = self.rules.horizons_ns[index]
        low, high, silence = self._window[index]
        start, interest, volatility, change = (_optional(row) for row in self._start[index])
        end = _optional(self._fresh_interest(index, at_ns))
        silent = silence > self.rules.longest_silence_ns(horizon)
        forced = self._forced.by_market(index)
        complete = np.where(self._lost[index], np.minimum(self._feed, 0), self._feed).tolist()
        found = []
        for market in np.flatnonzero((self._bin_width > 0) & (self._last["price"] > 0)).tolist():
            unscored = None
            if not start[market]:
                unscored = "no price at the start"
            elif silent[market]:
                unscored = "prices missing"
            feed = None if complete[market] < 0 else bool(complete[market])
            found.append(
                Outcome(
                    market,
                    at_ns - horizon,
                    horizon,
                    start[market] or 0.0,
                    float(low[market]),
                    float(high[market]),
                    interest[market],
                    end[market],
                    None if feed is None else forced(market),
                    feed,
                    volatility[market],
                    change[market],
                    unscored,
                )
            )
        return found

    def _fresh_interest(self, index: int, at_ns: int) -> F64:
        limit = self.rules.stale_after_ns(self.rules.horizons_ns[index])
        fresh = (self._last["interest"] > 0) & (at_ns - self._last["interest_ns"] <= limit)
        return np.where(fresh, self._last["interest"], np.nan)

    def _usable(
        self, market: ArrayLike, time_ns: ArrayLike, value: ArrayLike, also: Bools | bool = True, priced: bool = False
    ) -> tuple[I64, I64, F64, Bools]:
        """Rows of admitted markets, of the open cell, with positive finite values; the others are counted."""
        rows, times = np.asarray(market, np.int64), np.asarray(time_ns, np.int64)
        values = np.asarray(value, np.float64)
        if self.next_ns is not None and len(times) and int(times.max()) > self.next_ns:
            raise InputError("time_ns", int(times.max()), f"lies after the grid time {self.next_ns}: close that first")
        good = (rows < self.capacity) & np.isfinite(values) & (values > 0) & also
        good[good] = self._bin_width[rows[good]] > 0
        if priced:
            good[good] = values[good] < self._bin_width[rows[good]] * _MOST_BINS
        self.unusable += len(rows) - int(good.sum())
        if self.next_ns is not None:
            late = good & (times <= self.next_ns - self.rules.step_ns)
            self.late += int(late.sum())
            good &= ~late
        return rows[good], times[good], values[good], good

    def _grow(self, capacity: int) -> None:
        def grown(array: NDArray[Any], fill: float) -> NDArray[Any]:
            wider = np.full((*array.shape[:-1], capacity), fill, array.dtype)
            wider[..., : array.shape[-1]] = array
            return wider

        self._last = {name: grown(values, 0) for name, values in self._last.items()}
        self._bin_width, self._inverse = grown(self._bin_width, 0), grown(self._inverse, 0)
        self._feed, self._close = grown(self._feed, -1), grown(self._close, np.nan)
        empty = np.array([np.inf, 0.0, 0.0])[:, None]
        self._cell = np.where(np.arange(capacity) < self._cell.shape[1], grown(self._cell, 0), empty)
        window = grown(self._window, 0)
        window[:, 0, self._window.shape[2] :] = np.inf
        self._window, self._lost = window, grown(self._lost, 0)
        self._start, self._variance = grown(self._start, np.nan), grown(self._variance, 0)


def _ends(rows: I64) -> tuple[I64, I64]:
    """First and last index of each run of equal values."""
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    last = np.append(first[1:], len(rows)) - 1 if len(first) else first
    return first, last


def _optional(values: F64) -> list[float | None]:
    """Plain floats, None for what is not known."""
    return [value if value == value else None for value in values.tolist()]
