"""Volume by entry bucket between two observations of a market's open interest.

What has not been observed yet lies in the table of markets, a row of ``BUCKETS`` per market; a second's trades touch a
few of those. So the intervals of markets that are observed are worked on in windows as wide as the widest of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_LOTS, PRICE_BITS
from forcedmove_server.inference.intervals import Intervals
from forcedmove_server.inference.markets import BUCKETS, MarketTable
from forcedmove_server.market.events import Records

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Histograms:
    """Volume and turnover of the intervals of observed markets; see Backend.accumulate_volume for both.

    Trades of the other markets go to the table. ``clamped`` trades were counted at an edge of the buckets.
    """

    def __init__(
        self, backend: Backend, spans: Intervals, markets: MarketTable, trades: Records, counted: NDArray[np.bool_]
    ) -> None:
        """``counted`` says which trades have a use; what observed markets have in the table is taken out of it."""
        self._spans, self._markets = spans, markets
        self._observed = spans.pending > spans.start
        kept = np.repeat(self._observed, spans.pending - spans.start + 1)
        self._row = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        row = self._row[spans.trade_row]
        waiting = np.where(row < 0, trades["market"], -1).astype(np.int32)
        bucket = (spans.trade_units >> PRICE_BITS).astype(np.int64) - spans.first_bucket[spans.trade_row]
        bucket = np.clip(bucket, 0, BUCKETS - 1)
        self._reach(kept, row, waiting, bucket)
        lot = np.where(counted, markets.lot[trades["market"]], np.inf)
        lots = np.minimum(np.rint(trades["quantity"] / np.where(lot > 0, lot, np.inf)), MAX_LOTS).astype(np.uint32)
        first_bucket = spans.first_bucket[kept] + self._low
        add = backend.accumulate_volume
        self.clamped = add(row, spans.trade_units, lots, first_bucket, self._volume, self._turnover)
        self.clamped += add(waiting, spans.trade_units, lots, markets.first_bucket, markets.volume, markets.turnover)

    def of(self, intervals: I64) -> tuple[U64, U64, I64]:
        """Return volume and turnover of some intervals, u64 ``[K, W]``, and the bucket that each begins with."""
        rows = self._row[intervals]
        return self._volume[rows], self._turnover[rows], self._spans.first_bucket[intervals] + self._low[rows]

    def carry(self) -> None:
        """Put what observed markets traded since into the table. Its first buckets are those of the open intervals."""
        spans, markets = self._spans, self._markets
        market, row = spans.market[self._observed], self._row[spans.pending[self._observed]]
        cells = market[:, None], self._columns(row)
        markets.volume[cells], markets.turnover[cells] = self._volume[row], self._turnover[row]
        markets.lowest_bucket[market], markets.highest_bucket[market] = self._lowest[row], self._highest[row]

    def _reach(self, kept: NDArray[np.bool_], row: NDArray[np.int32], waiting: NDArray[np.int32], bucket: I64) -> None:
        """Find the windows, and move what was carried there."""
        spans, markets = self._spans, self._markets
        ours, theirs = row >= 0, waiting >= 0
        np.minimum.at(markets.lowest_bucket, waiting[theirs], bucket[theirs])
        np.maximum.at(markets.highest_bucket, waiting[theirs], bucket[theirs])
        rows = int(kept.sum())
        self._lowest, self._highest = np.full(rows, BUCKETS, np.int64), np.full(rows, -1, np.int64)
        market, first = spans.market[self._observed], self._row[spans.start[self._observed]]
        self._lowest[first], self._highest[first] = markets.lowest_bucket[market], markets.highest_bucket[market]
        np.minimum.at(self._lowest, row[ours], bucket[ours])
        np.maximum.at(self._highest, row[ours], bucket[ours])
        width = max(int((self._highest - self._lowest).max(initial=0)) + 1, 1)
        self._low = np.minimum(self._lowest, BUCKETS - width)
        self._offset = np.arange(width)
        self._volume, self._turnover = np.zeros((2, rows, width), np.uint64)
        cells = market[:, None], self._columns(first)
        self._volume[first], self._turnover[first] = markets.volume[cells], markets.turnover[cells]
        markets.volume[cells] = markets.turnover[cells] = 0

    def _columns(self, rows: NDArray[np.int32]) -> I64:
        columns: I64 = self._low[rows][:, None] + self._offset
        return columns
