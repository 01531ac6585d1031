"""The markets people mean by a symbol on a venue."""

from __future__ import annotations

import re

from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.venue import Venue
from forcedmove_server.market.instruments import ContractType, Instrument

#: quotes of linear contracts, in the order in which they are tried
_QUOTES = ("USDT", "USDC", "USD")
_UNIFIED = re.compile(r"^(?P<base>[A-Z0-9]+)/(?P<quote>[A-Z0-9]+)(:(?P<settle>[A-Z0-9]+))?$", re.IGNORECASE)
_NATIVE = re.compile(
    r"^(PF_|PI_|T)?(?P<base>[A-Z0-9]+?)(F0)?[-_:]?(?P<quote>USDT|USDC|UST|USD)?([-_:]?(SWAP|PERP|PERPETUAL|M|F0))*$"
)
_ALIASES = {"XBT": "BTC"}
_UNSTATED_LEVERAGE = 1e9


def market_named(
    venue: Venue, symbol: str, contract: ContractType | None, book: LadderBook, max_leverage: float | None = None
) -> Instrument:
    """Return the market that ``symbol`` means: ``BTC``, ``BTCUSDT``, ``BTC/USDT:USDT`` or the venue's own id.

    A market whose ladder is known wins over one that only might exist. ``max_leverage`` is the market's, where known.
    Raises InputError for a symbol that contradicts ``contract`` or is none, InstrumentError for an inverse id given as
    linear, UnknownNameError for a symbol without a ladder here.
    """
    candidates = list(_candidates(venue, symbol.strip(), contract, max_leverage))
    for instrument in candidates:
        if book.find(venue.name, instrument) is not None:
            return instrument
    for instrument in candidates:
        if max_leverage is not None and venue.from_instrument is not None and venue.from_instrument(instrument):
            return instrument
    known = sorted(market for market, _ in book.markets(venue.name))
    raise UnknownNameError(f"symbol of {venue.name}", symbol, known)


def _candidates(
    venue: Venue, symbol: str, contract: ContractType | None, max_leverage: float | None
) -> list[Instrument]:
    unified = _UNIFIED.match(symbol)
    native = None if unified else _NATIVE.match(symbol.upper())
    if unified:
        base, quote = _base(unified["base"]), unified["quote"].upper()
        says = ContractType.INVERSE if (unified["settle"] or quote).upper() in (base, "XBT") else ContractType.LINEAR
        if contract is not None and contract is not says:
            raise InputError("contract", str(contract), f"{symbol} is a {says} contract")
        pairs = [(base, quote, says)]
    elif native:
        base, quoted = _base(native["base"]), native["quote"]
        pairs = []
        if contract is not ContractType.INVERSE:
            quotes = [quoted.replace("UST", "USDT") if quoted == "UST" else quoted] if quoted else list(_QUOTES)
            pairs += [(base, quote, ContractType.LINEAR) for quote in quotes]
        if contract is ContractType.INVERSE or (contract is None and quoted == "USD"):
            if quoted not in (None, "USD"):
                raise InputError("contract", str(contract), f"{symbol} is a linear contract: it is quoted in {quoted}")
            pairs.append((base, "USD", ContractType.INVERSE))
    else:
        raise InputError("symbol", symbol, "write it as BTC, BTCUSDT or BTC/USDT:USDT")
    leverage = max_leverage or _UNSTATED_LEVERAGE
    return [
        Instrument(venue.name, _own_id(symbol, base, quote, kind), base, quote, kind, max_leverage=leverage)
        for base, quote, kind in pairs
    ]


def _base(text: str) -> str:
    upper = text.upper()
    # Hyperliquid's thousands are a small k, which is part of the name.
    return f"k{upper[1:]}" if text[:1] == "k" and text[1:].isupper() else _ALIASES.get(upper, upper)


def _own_id(symbol: str, base: str, quote: str, kind: ContractType) -> str:
    """The id as typed where it is one: an inverse id given as linear is refused by the instrument."""
    is_id = "/" not in symbol and symbol.upper() != base
    return symbol.upper() if is_id else f"{base}{quote}{'_PERP' if kind is ContractType.INVERSE else ''}"
