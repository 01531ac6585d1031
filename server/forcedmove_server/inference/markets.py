"""What inference remembers of every market between two observations of its open interest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import MAX_LOTS, MAX_PRICE_UNITS, PRICE_BITS, price_units
from forcedmove_server.errors import InputError, InstrumentError
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry, bin_width_usd

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

#: entry buckets of one market's volume histogram: +-25 % of price at 5 bp per bin
BUCKETS = 1024
#: lots of a market's first open interest at most; when it outgrows the format its lot becomes ten times coarser
FIRST_OPEN_INTEREST_LOTS = 1 << 31
#: no perpetual has ever had more open; beyond it the quantity is in another unit than the instrument says
IMPLAUSIBLE_OPEN_INTEREST_USD = 1e12
#: a first price of fewer bins is in another unit than USD; bins are about 2000th parts of a price
_LEAST_PRICE_BINS = 20
#: a mark older than this no longer shows the price path, so trade prices are taken as well
SPARSE_MARKS_NS = 10 * 10**9


class Interests(Protocol):
    """What open interest in USD is made of, by market: lots (-1 before any), model units of a lot, the kind."""

    open_interest: I64
    lot: F64
    inverse: NDArray[np.bool_]


def interest_usd(table: Interests, markets: Iterable[int], mark_usd: float) -> dict[int, float]:
    """Return the open interest of some markets of a symbol in USD at its mark, 0 before one was observed."""
    return {
        m: max(float(table.open_interest[m]), 0.0) * float(table.lot[m]) * (1.0 if table.inverse[m] else mark_usd)
        for m in markets
    }


class MarketTable:
    """One row per market, in registry order; arrays are sized once for ``capacity`` markets.

    Prices are price units of the market's symbol, quantities lots of the market; zero means "not seen yet".
    """

    def __init__(self, registry: InstrumentRegistry, capacity: int) -> None:
        self.registry = registry
        self.capacity = capacity
        self.bin_width = np.zeros(capacity)  # USD
        self.inverse = np.zeros(capacity, bool)
        self.lot = np.zeros(capacity)  # model units of one lot
        self.price = np.zeros(capacity, np.uint32)
        self.low = np.zeros(capacity, np.uint32)
        self.high = np.zeros(capacity, np.uint32)
        self.open_interest = np.full(capacity, -1, np.int64)  # lots; -1 before the first observation
        self.price_ns = np.full(capacity, -1, np.int64)
        self.open_interest_ns = np.full(capacity, -1, np.int64)
        self.has_tape = np.zeros(capacity, bool)
        self.events = np.zeros(capacity, np.int64)
        self.volume = np.zeros((capacity, BUCKETS), np.uint64)
        self.turnover = np.zeros((capacity, BUCKETS), np.uint64)
        self.first_bucket = np.zeros(capacity, np.int64)
        # buckets of a row that hold anything lie between these
        self.lowest_bucket = np.full(capacity, BUCKETS, np.int64)
        self.highest_bucket = np.full(capacity, -1, np.int64)
        self.last_mark_ns = np.full(capacity, -1, np.int64)
        # logarithms of the last print and of the last one that was believed; see plausible.py
        self.printed_log = np.full(capacity, np.nan)
        self.believed_log = np.full(capacity, np.nan)
        self.believed_ns = np.zeros(capacity, np.int64)
        self.suspect_log = np.full(capacity, np.nan)
        self.suspect_ns = np.zeros(capacity, np.int64)
        #: markets whose lot has just become ten times coarser, once per time; the store has to follow
        self.coarsened: list[int] = []
        self._symbol_bin_width: dict[str, float] = {}

    def refuse(self, market: int) -> NoReturn:
        """Raise InputError: the table has no room for ``market``."""
        raise InputError("max_markets", self.capacity, f"market {market} does not fit; raise [engine] max_markets")

    def admit(self, market: int, price: float, time_ns: int) -> None:
        """Fix a new market's price axis from its first prices. All markets of a symbol share the axis of the first.

        Raises InstrumentError for a price that its symbol cannot have.
        """
        symbol = self.registry[market].symbol
        width = self._symbol_bin_width.get(symbol)
        if width is None:
            width = bin_width_usd(symbol, price)
            if not _LEAST_PRICE_BINS * width <= price < (MAX_PRICE_UNITS >> PRICE_BITS) / 16 * width:
                raise InstrumentError(
                    "price",
                    price,
                    f"is not a plausible price of {symbol}, whose bins are ${width:g}; "
                    "is this an inverse market fed as linear?",
                    self.registry[market].key,
                )
            self._symbol_bin_width[symbol] = width
        self.bin_width[market] = width
        self.first_bucket[market] = max((int(price_units([price], width)[0]) >> PRICE_BITS) - BUCKETS // 2, 0)
        self.printed_log[market] = self.believed_log[market] = math.log(price)
        self.believed_ns[market] = time_ns
        self.inverse[market] = self.registry[market].contract_type is ContractType.INVERSE

    def lots(self, market: I64, quantity: F64, price: U32) -> I64:
        """Lots of open-interest quantities (model units); a market's first one fixes its lot.

        A market whose lots would no longer fit the format gets a coarser lot and is added to :attr:`coarsened`.
        ``price`` are price units at the observation. Raises InstrumentError where a quantity cannot be in the unit its
        instrument says.
        """
        usd = quantity * np.where(self.inverse[market], 1.0, price * self.bin_width[market] / (1 << PRICE_BITS))
        for row in np.flatnonzero(usd > IMPLAUSIBLE_OPEN_INTEREST_USD):
            raise InstrumentError(
                "open_interest",
                float(quantity[row]),
                f"${usd[row]:.3g} is not a plausible open interest; is this an inverse market fed as linear, or "
                "contracts fed as coins?",
                self.registry[int(market[row])].key,
            )
        for row in np.flatnonzero(self.lot[market] == 0):
            if self.lot[market[row]] == 0:
                self.lot[market[row]] = _lot_size(self.registry[int(market[row])], float(quantity[row]))
        while True:
            lot = self.lot[market]
            lots: I64 = np.rint(np.maximum(quantity, 0) / np.where(lot > 0, lot, 1.0)).astype(np.int64)
            outgrown = np.unique(market[lots >= MAX_LOTS])
            if not len(outgrown):
                return lots
            for row in outgrown.tolist():
                self._coarsen(row)

    def _coarsen(self, market: int) -> None:
        """Make a market's lot ten times as large, and everything that is counted in lots ten times as few."""
        self.lot[market] *= 10
        self.open_interest[market] = max(int(self.open_interest[market]) // 10, min(int(self.open_interest[market]), 0))
        self.volume[market] //= 10
        self.turnover[market] //= 10
        self.coarsened.append(market)


def _lot_size(instrument: Instrument, open_interest: float) -> float:
    """Return the venue's quantity step times the smallest power of ten that leaves room for growth."""
    coarser = open_interest / instrument.quantity_step / FIRST_OPEN_INTEREST_LOTS
    return instrument.quantity_step * 10.0 ** max(0, math.ceil(math.log10(max(coarser, 1.0))))
