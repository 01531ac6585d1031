"""The markets people mean by a symbol on a venue."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.venue import Venue
from forcedmove_server.market.instruments import ContractType, Instrument

_LINEAR, _INVERSE = ContractType.LINEAR, ContractType.INVERSE
#: longest symbol that anybody could mean
_LONGEST = 40
_UNIFIED = re.compile(r"^(?P<base>[A-Z0-9.:-]+)/(?P<quote>[A-Z0-9]+)(:(?P<settle>[A-Z0-9]+))?$")
#: ids of the venues, the more particular forms first; a form without a quote is a bare base
_IDS = tuple(
    (re.compile(form), kind)
    for form, kind in (
        (r"^PF_(?P<base>[A-Z0-9]+?)(?P<quote>USD)$", _LINEAR),  # Kraken
        (r"^(PI|FI)_(?P<base>[A-Z0-9]+?)(?P<quote>USD)(_\d+)?$", _INVERSE),
        (r"^T?(?P<base>[A-Z0-9]+)F0:(?P<quote>UST)F0$", _LINEAR),  # Bitfinex
        (r"^(?P<base>[A-Z0-9]+?)(?P<quote>USDT|USDC|USD)M$", None),  # KuCoin
        (r"^(?P<base>[A-Z0-9]+?)[-_]?(?P<quote>USDT|USDC|USD)([-_](SWAP|PERP|PERPETUAL|CM))?$", None),
        (r"^(?P<base>[A-Z0-9]+)(?P<quote>)-PERPETUAL$", _INVERSE),  # Deribit
        (r"^(?P<base>[A-Z0-9]+?)(?P<quote>)[-_]?PERP$", _LINEAR),
        (r"^(?P<base>[A-Z0-9]+(:[A-Z0-9]+)?)(?P<quote>)$", None),
    )
)
#: quotes that a linear contract may have where none, or only dollars, are named
_DOLLARS = ("USDT", "USDC", "USD")
_ALIASES = {"XBT": "BTC"}
_UNSTATED_LEVERAGE = 1e9


class Reading(NamedTuple):
    """What a symbol says: a base, the quotes it may have, and the kind of contract (None: it does not say)."""

    base: str
    quotes: tuple[str, ...]
    kind: ContractType | None


def contract_meant(venue: Venue, symbol: str, contract: ContractType | None) -> ContractType:
    """Return the kind of contract that is meant: what is stated, else what the symbol says, else linear.

    Raises InputError for a symbol that is none or says something else than what is stated, and for a kind of contract
    that the venue does not list.
    """
    said = _read(venue, symbol).kind
    if contract is not None and said is not None and said is not contract:
        raise InputError("contract", str(contract), f"{symbol} is {_ARTICLE[said]} {said} contract on {venue.name}")
    kind = contract or said or _LINEAR
    if venue.rules_of(kind) is None:
        raise InputError("contract", str(kind), f"{venue.name} lists no {kind} contract")
    return kind


def market_named(
    venue: Venue, symbol: str, contract: ContractType | None, book: LadderBook, max_leverage: float | None = None
) -> Instrument:
    """Return the market that ``symbol`` means: ``BTC``, ``BTCUSDT``, ``BTC/USDT:USDT`` or the venue's own id.

    Of several quotes the one whose ladder is known is meant. ``max_leverage`` is the market's, where known. Raises as
    :func:`contract_meant`, and UnknownNameError for a symbol without a ladder here.
    """
    kind, reading = contract_meant(venue, symbol, contract), _read(venue, symbol)
    quotes = ("USD",) if kind is _INVERSE else reading.quotes
    meant = [_instrument(venue, symbol, reading.base, quote, kind, max_leverage) for quote in quotes]
    for instrument in meant:
        if book.find(venue.name, instrument) is not None:
            return instrument
    for instrument in meant:
        if max_leverage is not None and venue.from_instrument is not None and venue.from_instrument(instrument):
            return instrument
    listed = sorted(market for market, _ in book.markets(venue.name))
    known = difflib.get_close_matches(symbol.upper(), listed, n=5, cutoff=0.4) or listed
    fetch = f"fetch its table with 'forcedmove tiers update --venue {venue.name}', or " if venue.tiers_public else ""
    raise UnknownNameError(f"{kind} symbol of {venue.name}", symbol, known, f"{fetch}state the maintenance rate")


_ARTICLE = {_LINEAR: "a", _INVERSE: "an"}


def _read(venue: Venue, symbol: str) -> Reading:
    text = symbol.strip()
    if len(text) > _LONGEST:
        raise InputError("symbol", f"{text[:_LONGEST]}...", f"is longer than {_LONGEST} characters")
    unified = _UNIFIED.match(text.upper())
    if unified:
        base, quote = _base(text[: unified.end("base")]), unified["quote"]
        inverse = _base(unified["settle"] or quote) == base
        return Reading(base, (quote,), _INVERSE if inverse else _LINEAR)
    readings = ((found, kind) for form, kind in _IDS if (found := form.match(text.upper())) is not None)
    found, kind = next(readings, (None, None))
    if found is None:
        raise InputError("symbol", symbol, "write it as BTC, BTCUSDT or BTC/USDT:USDT")
    base = _base(text[slice(*found.span("base"))].replace(":", "-"))
    quote = found["quote"]
    if quote == "UST":
        return Reading(base, ("USDT",), _LINEAR)
    if quote in ("USDT", "USDC"):
        return Reading(base, (quote,), _LINEAR)
    if quote == "USD" and kind is None:
        # Plain dollars are the coin-margined contract where a venue lists such; Kraken's own ids say which.
        kind = _LINEAR if venue.inverse is None or venue.name == "krakenfutures" else _INVERSE
    quotes = ("USD", "USDC", "USDT") if quote == "USD" else _DOLLARS
    return Reading(base, quotes, kind)


def _base(text: str) -> str:
    upper = text.upper()
    # Hyperliquid's thousands are a small k, which is part of the name.
    return f"k{upper[1:]}" if text[:1] == "k" and text[1:].isupper() else _ALIASES.get(upper, upper)


def _instrument(
    venue: Venue, symbol: str, base: str, quote: str, kind: ContractType, max_leverage: float | None
) -> Instrument:
    """The market; the id as typed where it is one."""
    text = symbol.strip()
    is_id = "/" not in text and text.upper() != base
    native = text.upper() if is_id else f"{base}{quote}{'_PERP' if kind is _INVERSE else ''}"
    return Instrument(venue.name, native, base, quote, kind, max_leverage=max_leverage or _UNSTATED_LEVERAGE)
