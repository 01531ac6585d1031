"""The markets people mean by a symbol on a venue."""

from __future__ import annotations

import re
from collections.abc import Iterator

from forcedmove_server.errors import InputError, InstrumentError, UnknownNameError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.venue import Venue
from forcedmove_server.market.instruments import ContractType, Instrument

_LINEAR, _INVERSE = ContractType.LINEAR, ContractType.INVERSE
_UNIFIED = re.compile(r"^(?P<base>[A-Z0-9]+)/(?P<quote>[A-Z0-9]+)(:(?P<settle>[A-Z0-9]+))?$", re.IGNORECASE)
#: ids of the venues, the more particular forms first; a form without a quote is a bare base
_IDS = tuple(
    re.compile(form)
    for form in (
        r"^(PF|PI|FI)_(?P<base>[A-Z0-9]+?)(?P<quote>USD)(_\d+)?$",  # Kraken
        r"^T?(?P<base>[A-Z0-9]+)F0:(?P<quote>UST)F0$",  # Bitfinex
        r"^(?P<base>[A-Z0-9]+?)(?P<quote>USDT|USDC|USD)M$",  # KuCoin
        r"^(?P<base>[A-Z0-9]+?)[-_]?(?P<quote>USDT|USDC|USD)([-_](SWAP|PERP|PERPETUAL))?$",
        r"^(?P<base>[A-Z0-9]+)(?P<quote>)([-_](PERP|PERPETUAL))?$",
    )
)
#: what else a quote may be called; of no quote, and of plain dollars, linear contracts are quoted in one of these
_QUOTES = {"": ("USDT", "USDC", "USD"), "USD": ("USD", "USDC", "USDT"), "UST": ("USDT",)}
_ALIASES = {"XBT": "BTC"}
_UNSTATED_LEVERAGE = 1e9


def market_named(
    venue: Venue, symbol: str, contract: ContractType | None, book: LadderBook, max_leverage: float | None = None
) -> Instrument:
    """Return the market that ``symbol`` means: ``BTC``, ``BTCUSDT``, ``BTC/USDT:USDT`` or the venue's own id.

    A market whose ladder is known wins over one that only might exist. ``max_leverage`` is the market's, where known.
    Raises as :func:`markets_meant`, and UnknownNameError for a symbol without a ladder here.
    """
    meant = markets_meant(venue, symbol, contract, max_leverage)
    for instrument in meant:
        if book.find(venue.name, instrument) is not None:
            return instrument
    for instrument in meant:
        if max_leverage is not None and venue.from_instrument is not None and venue.from_instrument(instrument):
            return instrument
    known = sorted(market for market, _ in book.markets(venue.name))
    raise UnknownNameError(f"symbol of {venue.name}", symbol, known)


def markets_meant(
    venue: Venue, symbol: str, contract: ContractType | None, max_leverage: float | None = None
) -> list[Instrument]:
    """Return the markets that ``symbol`` might mean, the likeliest first; at least one.

    Raises InputError for a symbol that is none or contradicts ``contract``, InstrumentError for an inverse id given as
    linear.
    """
    meant: list[Instrument] = []
    refused: InstrumentError | None = None
    for base, quote, kind in _readings(symbol.strip(), contract):
        native = _own_id(symbol.strip(), base, quote, kind)
        leverage = max_leverage or _UNSTATED_LEVERAGE
        try:
            meant.append(Instrument(venue.name, native, base, quote, kind, max_leverage=leverage))
        except InstrumentError as error:
            refused = error
    if not meant and refused is not None:
        raise refused
    return meant


def _readings(symbol: str, contract: ContractType | None) -> Iterator[tuple[str, str, ContractType]]:
    """Base, quote and kind of contract that a symbol may be read as."""
    unified = _UNIFIED.match(symbol)
    if unified:
        base, quote = _base(unified["base"]), unified["quote"].upper()
        kind = _INVERSE if _base(unified["settle"] or quote) == base else _LINEAR
        if contract not in (None, kind):
            raise InputError("contract", str(contract), f"{symbol} is a {kind} contract")
        yield base, quote, kind
        return
    found = next((match for form in _IDS if (match := form.match(symbol.upper()))), None)
    if found is None:
        raise InputError("symbol", symbol, "write it as BTC, BTCUSDT or BTC/USDT:USDT")
    base, quoted = _base(symbol[: len(found["base"])] if found.start("base") == 0 else found["base"]), found["quote"]
    if contract is _INVERSE and quoted not in ("", "USD"):
        raise InputError("contract", str(contract), f"{symbol} is a linear contract: it is quoted in {quoted}")
    quotes = _QUOTES.get(quoted, (quoted,))
    readings = [(base, quote, _LINEAR) for quote in quotes] if contract is not _INVERSE else []
    if contract is _INVERSE or (contract is None and quoted in ("", "USD")):
        # Plain dollars mean the inverse contract where no linear one is quoted so; a bare base means it last.
        readings.insert(1 if quoted else len(readings), (base, "USD", _INVERSE))
    yield from readings


def _base(text: str) -> str:
    upper = text.upper()
    # Hyperliquid's thousands are a small k, which is part of the name.
    return f"k{upper[1:]}" if text[:1] == "k" and text[1:].isupper() else _ALIASES.get(upper, upper)


def _own_id(symbol: str, base: str, quote: str, kind: ContractType) -> str:
    """The id as typed where it is one, so that an instrument can refuse an inverse id given as linear."""
    is_id = "/" not in symbol and symbol.upper() != base
    return symbol.upper() if is_id else f"{base}{quote}{'_PERP' if kind is _INVERSE else ''}"
