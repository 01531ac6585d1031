"""Market events to position deltas: the OI-conserving lifecycle of MODEL section 2.

Between two observations of a market's open interest, trades fill a volume histogram by entry bucket and trigger prices
widen the extremes. At the observation this becomes one update: the extremes sweep, what survives is scaled, what opened
is appended. The kernels do those three; nothing here looks at a cohort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from forcedmove_kernels.arrays import Updates
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_LOTS, price_units
from numpy.typing import NDArray

from forcedmove_server.config import ModelConfig
from forcedmove_server.inference.markets import BUCKETS, SPARSE_MARKS_NS, MarketTable
from forcedmove_server.inference.openings import bar_path, entry_spread, split_openings
from forcedmove_server.market.events import EventBatch, Records
from forcedmove_server.market.instruments import InstrumentRegistry

I64 = NDArray[np.int64]
_DAY_NS = 86_400 * 10**9


class PositionInference:
    """Turns event batches into lifecycle updates, one per market and observation of its open interest."""

    def __init__(self, registry: InstrumentRegistry, model: ModelConfig, backend: Backend, max_markets: int) -> None:
        self.markets = MarketTable(registry, max_markets)
        #: what could not be used, by kind
        self.defects: Counter[str] = Counter()
        self._model = model
        self._backend = backend

    def step(self, batch: EventBatch) -> Iterator[Updates]:
        """Yield the updates of one batch, in time order; apply each before asking for the next.

        Raises InstrumentError when an open interest cannot be in its instrument's unit.
        """
        markets, interest = self.markets, batch.open_interest
        self._admit_new(batch)
        shows_path = self._far_from_marks(batch)
        trades = _Rounds(batch.trades, interest, markets.capacity)
        marks = _Rounds(batch.mark_prices, interest, markets.capacity)
        own_round = _own_rounds(interest)
        for number in range(int(own_round.max(initial=-1)) + 2):
            traded = trades.rows(number)
            self._take_trades(batch.trades[traded], shows_path[traded])
            self._take_marks(batch.mark_prices[marks.rows(number)])
            observed = interest[own_round == number]
            if len(observed):
                update = self._observe(observed)
                if update is not None:
                    yield update
        for rows in batch.by_kind().values():
            np.add.at(markets.events, rows["market"], 1)

    def sweep(self) -> Updates | None:
        """Return an update that only sweeps: levels crossed since the last update die now, not at the next open interest.

        None when no market's price has moved since.
        """
        markets = self.markets
        moved = np.flatnonzero((markets.low < markets.high) & (markets.open_interest >= 0))
        if not len(moved):
            return None
        price = markets.price[moved]
        update = Updates(
            market=moved.astype(np.int32),
            low=markets.low[moved],
            high=markets.high[moved],
            price=price,
            open_interest=np.full(len(moved), 0xFFFF_FFFF, np.uint32),
            opened_at=(markets.price_ns[moved] // 10**9).astype(np.uint32),
            first_open=np.arange(len(moved) + 1, dtype=np.int64),
            open_entry=price,
            open_lots=np.zeros(len(moved), np.uint32),
        )
        markets.low[moved] = markets.high[moved] = price
        return update

    def _admit_new(self, batch: EventBatch) -> None:
        for rows in (batch.mark_prices, batch.trades):
            seen, first = np.unique(rows["market"], return_index=True)
            for market, row in zip(seen, first, strict=True):
                if market >= self.markets.capacity or self.markets.bin_width[market] == 0:
                    self.markets.admit(int(market), float(rows["price"][row]))

    def _far_from_marks(self, batch: EventBatch) -> NDArray[np.bool_]:
        """Return which trades show the price path because their market's last mark is too old to."""
        trades, marks = batch.trades, batch.mark_prices
        last_mark_ns = self.markets.last_mark_ns[trades["market"]]
        if len(trades) and len(marks):
            start_ns = min(int(trades["time_ns"][0]), int(marks["time_ns"][0]))
            mark_keys = _market_time_key(marks, start_ns)
            order = np.argsort(mark_keys, kind="stable")
            before = np.searchsorted(mark_keys[order], _market_time_key(trades, start_ns), "right") - 1
            nearest = marks[order[np.maximum(before, 0)]]
            same = (before >= 0) & (nearest["market"] == trades["market"])
            last_mark_ns = np.where(same, nearest["time_ns"], last_mark_ns)
        far: NDArray[np.bool_] = (last_mark_ns < 0) | (trades["time_ns"] - last_mark_ns > SPARSE_MARKS_NS)
        return far

    def _take_trades(self, rows: Records, path: NDArray[np.bool_]) -> None:
        if not len(rows):
            return
        markets, market = self.markets, rows["market"]
        units = price_units(rows["price"], markets.bin_width[market])
        lot = markets.lot[market]
        lots = np.rint(rows["quantity"] / np.where(lot > 0, lot, np.inf))
        self._backend.accumulate_volume(
            market,
            units,
            np.minimum(lots, MAX_LOTS).astype(np.uint32),
            markets.first_bucket,
            markets.volume,
            markets.turnover,
        )
        markets.has_tape[market] = True
        self._take_prices(market[path], units[path], rows["time_ns"][path])

    def _take_marks(self, rows: Records) -> None:
        if not len(rows):
            return
        markets, market, time_ns = self.markets, rows["market"], rows["time_ns"]
        self._take_prices(market, price_units(rows["price"], markets.bin_width[market]), time_ns)
        markets.last_mark_ns[market] = time_ns

    def _take_prices(self, market: NDArray[np.int32], units: NDArray[np.uint32], time_ns: I64) -> None:
        markets = self.markets
        new = np.unique(market[markets.price[market] == 0])
        markets.low[new] = 0xFFFF_FFFF
        np.minimum.at(markets.low, market, units)
        np.maximum.at(markets.high, market, units)
        # with a repeated index NumPy keeps the last value: rows are in time order
        markets.price[market] = units
        markets.price_ns[market] = time_ns

    def _observe(self, rows: Records) -> Updates | None:
        """One observation of open interest for each of some markets, none of them twice."""
        markets, model = self.markets, self._model
        priced = markets.price[rows["market"]] > 0
        if not priced.all():
            self.defects["open_interest.before_any_price"] += int((~priced).sum())
            rows = rows[priced]
        if not len(rows):
            return None
        market = rows["market"].astype(np.int64)
        lots = np.array([markets.lots(int(m), float(q)) for m, q in zip(market, rows["quantity"], strict=True)])
        before = markets.open_interest[market]
        first = before < 0
        change = np.where(first, lots, lots - before)
        size = np.abs(change)
        volume = markets.volume[market]
        turnover = markets.turnover[market]
        taped = volume.any(1)
        elapsed_days = np.where(first, 0, rows["time_ns"] - markets.open_interest_ns[market]) / _DAY_NS
        assumed = model.assumed_volume_per_oi_day * np.maximum(before, 0) * np.maximum(elapsed_days, 0)
        traded = np.where(markets.has_tape[market], volume.sum(1).astype(np.float64), assumed)
        replaced = np.floor(model.turnover * np.maximum(traded - size, 0))
        opened = np.minimum(np.maximum(change, 0) + replaced, lots).astype(np.int64)
        opened[first] = lots[first]
        self._fill_untaped(market, volume, turnover, first, ~taped & ~first)
        price = markets.price[market]
        first_open, entry, open_lots = split_openings(volume, turnover, markets.first_bucket[market], opened, price)
        update = Updates(
            market=market.astype(np.int32),
            low=markets.low[market],
            high=markets.high[market],
            price=price,
            open_interest=lots.astype(np.uint32),
            opened_at=(rows["time_ns"] // 10**9).astype(np.uint32),
            first_open=first_open,
            open_entry=entry,
            open_lots=open_lots,
        )
        markets.open_interest[market] = lots
        markets.open_interest_ns[market] = rows["time_ns"]
        markets.low[market] = markets.high[market] = price
        markets.recentre(market, price)
        return update

    def _fill_untaped(
        self,
        market: I64,
        volume: NDArray[np.uint64],
        turnover: NDArray[np.uint64],
        first: NDArray[np.bool_],
        untaped: NDArray[np.bool_],
    ) -> None:
        """Give rows without trades the histogram of their price path, and new markets a spread of old entries."""
        markets = self.markets
        if first.any():
            new = market[first]
            volume[first], turnover[first] = entry_spread(
                markets.first_bucket[new], BUCKETS, markets.price[new], self._model.initial_entry_spread
            )
        if untaped.any():
            bar = market[untaped]
            volume[untaped], turnover[untaped] = bar_path(
                markets.first_bucket[bar], BUCKETS, markets.low[bar], markets.high[bar], markets.price[bar]
            )


class _Rounds:
    """Row indices grouped by how many open-interest rows of their own market came before them."""

    def __init__(self, rows: Records, interest: Records, capacity: int) -> None:
        self._order = np.arange(len(rows))
        self._ends = np.array([len(rows)])
        if not len(rows) or not len(interest):
            return
        present, column = np.unique(interest["market"], return_inverse=True)
        passed = np.zeros((len(interest) + 1, len(present) + 1), np.int32)
        np.add.at(passed, (np.arange(1, len(interest) + 1), column), 1)
        passed = np.cumsum(passed, 0, dtype=np.int32)
        column_of = np.full(capacity, len(present), np.int32)
        column_of[present] = np.arange(len(present))
        # an observation at time t covers every row up to and including t
        seen = np.searchsorted(interest["time_ns"], rows["time_ns"], "left")
        number = passed[seen, column_of[rows["market"]]].astype(np.uint16)
        self._order = np.argsort(number, kind="stable")
        self._ends = np.cumsum(np.bincount(number))

    def rows(self, number: int) -> I64:
        """Indices of round ``number``, in time order."""
        if number >= len(self._ends):
            return self._order[:0]
        return self._order[self._ends[number - 1] if number else 0 : self._ends[number]]


def _market_time_key(rows: Records, start_ns: int) -> I64:
    """Sort key of market, then time to the microsecond: 46 bits of time last two years."""
    key: I64 = (rows["market"].astype(np.int64) << 46) | ((rows["time_ns"] - start_ns) // 1000)
    return key


def _own_rounds(interest: Records) -> I64:
    """Return how many rows of its own market came before each row."""
    order = np.argsort(interest["market"], kind="stable")
    market = interest["market"][order]
    starts = np.flatnonzero(np.diff(market, prepend=-1))
    rank = np.arange(len(market)) - np.repeat(starts, np.diff(np.append(starts, len(market))))
    own = np.empty(len(market), np.int64)
    own[order] = rank
    return own
