"""A batch cut into intervals: for each market, the spans between observations of its open interest.

Rows are intervals. A market's rows are adjacent and in time order; the last one is still open when the batch ends and
is carried on to the next batch, so that it does not matter where batches are cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import MAX_PRICE_UNITS, PRICE_BITS, price_units
from forcedmove_server.inference.markets import BUCKETS, SPARSE_MARKS_NS, MarketTable
from forcedmove_server.market.events import EventBatch, Records

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


class Intervals:
    """The intervals of one batch, with the price path of each.

    ``market`` i64 ``[P]`` are the batch's markets, ``start`` and ``pending`` i64 ``[P]`` their first and their open
    row; ``observed`` i64 ``[O]`` is the row that each open-interest observation closes. ``low``, ``high``, ``price``
    and ``first_bucket`` are per row, in price units; a price of zero means that none was seen yet.
    """

    def __init__(self, batch: EventBatch, table: MarketTable) -> None:
        interest, trades, marks = batch.open_interest, batch.trades, batch.mark_prices
        self.market: I64 = np.unique(
            np.concatenate([rows["market"] for rows in (interest, trades, marks)]).astype(np.int64)
        )
        self._column = np.zeros(table.capacity, np.int64)
        self._column[self.market] = np.arange(len(self.market))
        observations = np.bincount(self._column[interest["market"]], minlength=len(self.market))
        self.start: I64 = np.cumsum(observations + 1) - observations - 1
        self.pending: I64 = self.start + observations
        self.rows = int(observations.sum()) + len(self.market)
        self.round: I64 = _own_rounds(interest)
        self.observed: I64 = self.start[self._column[interest["market"]]] + self.round
        self.trade_row = self._row_of(trades, interest)
        self._find_prices(batch, table)

    def column(self, market: NDArray[np.int32]) -> I64:
        """Position of markets in :attr:`market`."""
        column: I64 = self._column[market]
        return column

    def _row_of(self, rows: Records, interest: Records) -> I64:
        """Return the interval of each event: an observation at time t closes every row up to and including t."""
        column = self._column[rows["market"]]
        if not len(rows) or not len(interest):
            first: I64 = self.start[column]
            return first
        # market by market in time, events before observations of their time: how many of those came before
        markets = np.concatenate((column, self._column[interest["market"]]))
        is_event = np.arange(len(markets)) < len(rows)
        order = np.lexsort((~is_event, np.concatenate((rows["time_ns"], interest["time_ns"])), markets))
        passed = np.empty(len(markets), np.int64)
        passed[order] = np.cumsum(~is_event[order])
        passed = passed[: len(rows)] - (self.start - np.arange(len(self.market)))[column]  # not those of other markets
        row: I64 = self.start[column] + passed
        return row

    def _find_prices(self, batch: EventBatch, table: MarketTable) -> None:
        trades, marks = batch.trades, batch.mark_prices
        self.trade_units = price_units(trades["price"], table.bin_width[trades["market"]])
        mark_units = price_units(marks["price"], table.bin_width[marks["market"]])
        mark_row = self._row_of(marks, batch.open_interest)
        path = far_from_marks(batch, table.last_mark_ns)
        low = np.full(self.rows, MAX_PRICE_UNITS, np.uint32)
        high = np.zeros(self.rows, np.uint32)
        price = np.zeros(self.rows, np.uint32)
        row = np.concatenate((self.trade_row[path], mark_row))
        units = np.concatenate((self.trade_units[path], mark_units))
        market = np.concatenate((trades["market"][path], marks["market"]))
        time_ns = np.concatenate((trades["time_ns"][path], marks["time_ns"]))
        np.minimum.at(low, row, units)
        np.maximum.at(high, row, units)
        # with a repeated index NumPy keeps the last value; at equal times that is the mark
        in_time = np.argsort(time_ns, kind="stable")
        price[row[in_time]] = units[in_time]
        carried = table.price[self.market]
        first = np.zeros(self.rows, bool)
        first[self.start] = True
        before_first = price[self.start] == 0
        price[self.start[before_first]] = carried[before_first]
        price = _filled_forward(price, first)
        before = np.concatenate((price[:1], price[:-1]))
        before[self.start] = carried
        seen = before > 0
        low[seen] = np.minimum(low[seen], before[seen])
        high[seen] = np.maximum(high[seen], before[seen])
        known = carried > 0
        low[self.start[known]] = np.minimum(low[self.start[known]], table.low[self.market[known]])
        high[self.start[known]] = np.maximum(high[self.start[known]], table.high[self.market[known]])
        self.low, self.high, self.price = low, high, price
        self.first_bucket = np.maximum((before >> PRICE_BITS).astype(np.int64) - BUCKETS // 2, 0)
        self.first_bucket[self.start] = table.first_bucket[self.market]
        table.price_ns[market[in_time]] = time_ns[in_time]
        table.last_mark_ns[marks["market"]] = marks["time_ns"]


def far_from_marks(batch: EventBatch, last_mark_ns: I64) -> NDArray[np.bool_]:
    """Return which trades show the price path because their market's last mark is too old to (bool, per trade).

    ``last_mark_ns`` i64 ``[M]`` is the time of each market's newest mark before the batch, -1 where there is none.
    """
    trades, marks = batch.trades, batch.mark_prices
    last = last_mark_ns[trades["market"]]
    if len(trades) and len(marks):
        start_ns = min(int(trades["time_ns"][0]), int(marks["time_ns"][0]))
        keys = _market_time_key(marks, start_ns)
        order = np.argsort(keys, kind="stable")
        before = np.searchsorted(keys[order], _market_time_key(trades, start_ns), "right") - 1
        nearest = order[np.maximum(before, 0)]
        same = (before >= 0) & (marks["market"][nearest] == trades["market"])
        last = np.where(same, marks["time_ns"][nearest], last)
    far: NDArray[np.bool_] = (last < 0) | (trades["time_ns"] - last > SPARSE_MARKS_NS)
    return far


def _filled_forward(price: U32, first: NDArray[np.bool_]) -> U32:
    """Give rows without a price that of the row before, never across the ``first`` row of a market."""
    source = np.where((price > 0) | first, np.arange(len(price)), 0)
    filled: U32 = price[np.maximum.accumulate(source)]
    return filled


def _market_time_key(rows: Records, start_ns: int) -> I64:
    """Sort key of market, then time to the microsecond: 46 bits of time last two years."""
    key: I64 = (rows["market"].astype(np.int64) << 46) | ((rows["time_ns"] - start_ns) // 1000)
    return key


def _own_rounds(interest: Records) -> I64:
    """Return how many rows of its own market came before each row."""
    order = np.argsort(interest["market"], kind="stable")
    market = interest["market"][order]
    starts = np.flatnonzero(np.diff(market, prepend=-1))
    own = np.empty(len(market), np.int64)
    own[order] = np.arange(len(market)) - np.repeat(starts, np.diff(np.append(starts, len(market))))
    return own
