"""Instruments, the symbols they share, and the names people type for them.

A *market* is one instrument on one venue (``binance:BTCUSDT``). A *symbol* is the underlying that markets share
(``BTC``); all markets of a symbol share one price axis.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from forcedmove_server.errors import InstrumentError, UnknownNameError


class ContractType(StrEnum):
    """What one contract is worth: base units (linear) or US dollars (inverse)."""

    LINEAR = "linear"
    INVERSE = "inverse"


#: native ids that are inverse contracts, per venue; a description that says otherwise is refused
_INVERSE_IDS = {
    "binance": re.compile(r"USD_(PERP|\d{6})$"),
    "bybit": re.compile(r"^[A-Z0-9]+USD([A-Z]\d\d)?$"),
    "okx": re.compile(r"-USD-(SWAP|\d{6})$"),
    "deribit": re.compile(r"^(BTC|ETH)-(PERPETUAL|\d+[A-Z]{3}\d\d)$"),
    "krakenfutures": re.compile(r"^[PF]I_", re.IGNORECASE),
}
_DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "USDE", "UST", "USD1", "USDF"})


@dataclass(frozen=True, slots=True)
class Instrument:
    """One perpetual or future on one venue.

    ``contract_size`` is what the venue's contract holds: base units (linear) or USD (inverse). Events are already
    converted, so the engine never uses it; sources do. ``quantity_step`` is the smallest quantity in model units (base
    units or USD), ``price_step`` in USD. ``max_leverage`` cuts the leverage tiers. ``listed_base`` is what the venue
    calls its coin where that is a multiple of ``base``: ``1000PEPE`` for PEPE; prices and sizes are those of one PEPE.

    Raises InstrumentError naming the field for values that cannot be.
    """

    venue: str
    native_id: str
    base: str
    quote: str
    contract_type: ContractType = ContractType.LINEAR
    contract_size: float = 1.0
    quantity_step: float = 1e-3
    price_step: float = 1e-2
    max_leverage: float = 100.0
    listed_base: str = ""

    def __post_init__(self) -> None:
        for name in ("venue", "native_id", "base", "quote"):
            if not getattr(self, name):
                raise InstrumentError(name, getattr(self, name), "must not be empty", self.key)
        for name in ("contract_size", "quantity_step", "price_step", "max_leverage"):
            object.__setattr__(self, name, float(getattr(self, name)))  # the same whether read from a file or declared
        for name in ("contract_size", "quantity_step", "price_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InstrumentError(name, value, "must be a positive number", self.key)
        if not (math.isfinite(self.max_leverage) and self.max_leverage >= 1):
            raise InstrumentError("max_leverage", self.max_leverage, "must be at least 1", self.key)
        if self.quote not in _DOLLARS:
            raise InstrumentError(
                "quote", self.quote, f"only US dollar quotes are mapped: {sorted(_DOLLARS)}", self.key
            )
        pattern = _INVERSE_IDS.get(self.venue)
        if pattern and pattern.search(self.native_id) and self.contract_type is not ContractType.INVERSE:
            raise InstrumentError(
                "contract_type", str(self.contract_type), f"{self.native_id} is an inverse contract", self.key
            )

    @property
    def key(self) -> str:
        """``venue:native_id``, unique in a registry."""
        return f"{self.venue}:{self.native_id}"

    @property
    def symbol(self) -> str:
        """The underlying whose markets share one price axis."""
        return self.base

    @property
    def unified(self) -> str:
        """ccxt's unified symbol: ``BTC/USDT:USDT``, ``BTC/USD:BTC``."""
        base = self.listed_base or self.base
        settle = base if self.contract_type is ContractType.INVERSE else self.quote
        return f"{base}/{self.quote}:{settle}"

    def notional_usd(self, quantity: float, price: float) -> float:
        """USD notional of a quantity in model units."""
        return quantity if self.contract_type is ContractType.INVERSE else quantity * price


class InstrumentRegistry:
    """The instruments of one run. An instrument's index never changes; instruments are only added, from any thread."""

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self._instruments: list[Instrument] = []
        self._index: dict[str, int] = {}
        self._by_symbol: dict[str, list[int]] = {}
        #: by everything that people may call it, in capitals
        self._by_name: dict[str, list[int]] = {}
        self._adding = threading.Lock()
        for instrument in instruments:
            self.add(instrument)

    def __len__(self) -> int:
        return len(self._instruments)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._instruments)

    def __getitem__(self, market: int) -> Instrument:
        return self._instruments[market]

    def add(self, instrument: Instrument) -> int:
        """Return the instrument's index, adding it when new.

        Raises InstrumentError when the same key was registered with another description.
        """
        with self._adding:
            known = self._index.get(instrument.key)
            if known is None:
                self._instruments.append(instrument)
                known = self._index[instrument.key] = len(self._instruments) - 1
                self._by_symbol.setdefault(instrument.symbol, []).append(known)
                names = (instrument.symbol, instrument.key, instrument.native_id, instrument.unified)
                for name in {name.upper() for name in names}:
                    self._by_name.setdefault(name, []).append(known)
            elif self._instruments[known] != instrument:
                raise InstrumentError(
                    "native_id", instrument.native_id, "registered twice, differently", instrument.key
                )
            return known

    def find(self, key: str) -> int | None:
        """Index of a ``venue:native_id`` key, None where it is not registered."""
        return self._index.get(key)

    def index_of(self, key: str) -> int:
        """Index of a ``venue:native_id`` key. Raises UnknownNameError."""
        try:
            return self._index[key]
        except KeyError:
            raise UnknownNameError("market", key, sorted(self._index)) from None

    def symbols(self) -> list[str]:
        """Return all symbols, in the order of their first market."""
        return list(self._by_symbol)

    def venues(self) -> list[str]:
        """Return all venues, in the order of their first market."""
        return list(dict.fromkeys(i.venue for i in self._instruments))

    def markets_of(self, symbol: str) -> list[int]:
        """Indices of a symbol's markets, ascending."""
        return list(self._by_symbol.get(symbol, ()))

    def resolve(self, name: str) -> list[int]:
        """Markets meant by what people type: ``BTC``, ``binance:BTCUSDT``, ``BTCUSDT``, ``BTC/USDT:USDT``, in any case.

        Raises UnknownNameError listing the symbols that exist.
        """
        found = list(self._by_name.get(name.strip().upper(), ()))
        if not found:
            raise UnknownNameError("symbol", name, self.symbols())
        return found


def bin_width_usd(symbol: str, price: float) -> float:
    """Width of a price bin: $50 for BTC, elsewhere the 1-2-5 step nearest (in ratio) to 5 bp of ``price``.

    Raises InstrumentError for a price that is not positive.
    """
    if not (math.isfinite(price) and price > 0):
        raise InstrumentError("price", price, "must be a positive number", symbol)
    if symbol == "BTC":
        return 50.0
    target = price * 5e-4
    decade = math.floor(math.log10(target))
    steps = [float(f"{digit}e{exponent}") for exponent in (decade, decade + 1) for digit in (1, 2, 5)]
    return min(steps, key=lambda step: abs(math.log(step / target)))
