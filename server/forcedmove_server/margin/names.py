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
_UNIFIED = re.compile(r"^(?P<base>[A-Z0-9.-]+)/(?P<quote>[A-Z0-9]+)(:(?P<settle>[A-Z0-9]+)(?P<date>-\d{6})?)?$")
_DATE = r"(?P<date>[-_]?(?:20)?\d{6}|[-_]?\d{1,2}[A-Z]{3}\d\d|[FGHJKMNQUVXZ]\d\d)?"
#: ids of the venues, the more particular forms first, and the kind of contract that a form says; a form without a quote
#: is a bare base
_IDS = tuple(
    (re.compile(form), kind)
    for form, kind in (
        (rf"^(PF|FF)_(?P<base>[A-Z0-9]+?)(?P<quote>USD){_DATE}$", _LINEAR),  # Kraken
        (rf"^(PI|FI)_(?P<base>[A-Z0-9]+?)(?P<quote>USD){_DATE}$", _INVERSE),
        (r"^T?(?P<base>[A-Z0-9]+)F0:(?P<quote>UST)F0$", _LINEAR),  # Bitfinex
        (r"^(?P<base>[A-Z0-9]+?)(?P<quote>USDT|USDC|USD)M$", None),  # KuCoin
        (r"^(?P<base>[A-Z0-9]+?)(?P<quote>)M(?P<date>[FGHJKMNQUVXZ]\d\d)$", _INVERSE),
        (
            rf"^(?P<base>[A-Z0-9]+?)[-_]?(?P<quote>USDT|USDC|USD)([-_](SWAP|PERP|PERPETUAL|CM|UMCBL|DMCBL))?{_DATE}$",
            None,
        ),
        (r"^(?P<base>[A-Z0-9]+)(?P<quote>)-(PERPETUAL|(?P<date>\d{1,2}[A-Z]{3}\d\d))$", _INVERSE),  # Deribit
        (r"^(?P<base>[A-Z]+)(?P<quote>)(?P<date>\d{6}|_(CW|NW|CQ|NQ))$", _INVERSE),  # HTX
        (r"^(?P<base>[A-Z0-9]+)-(?P<quote>USD)_UM-SWAP$", _LINEAR),  # OKX
        (r"^(?P<base>[A-Z0-9]+?)(?P<quote>)[-_]?PERP$", _LINEAR),
        (r"^(?P<base>[A-Z0-9]+)(?P<quote>)$", None),
    )
)
#: a market of a builder's exchange on Hyperliquid
_BUILDERS = re.compile(r"^(?P<dex>[a-z0-9]+):(?P<coin>[A-Z0-9]+)$")
_ALIASES = {"XBT": "BTC"}
_ARTICLE = {_LINEAR: "a", _INVERSE: "an"}
_UNSTATED_LEVERAGE = 1e9


class Reading(NamedTuple):
    """What a symbol says: a base, the quotes it may have, the kind of contract (None: it does not say), a date."""

    base: str
    quotes: tuple[str, ...]
    kind: ContractType | None
    dated: bool = False


def contract_meant(
    venue: Venue, symbol: str, contract: ContractType | None, reading: Reading | None = None
) -> ContractType:
    """Return the kind of contract that is meant: what is stated, else what the symbol says, else linear.

    A symbol that cannot be read says nothing. Raises InputError for one that says something else than what is stated,
    and for a kind of contract that the venue does not list.
    """
    reading = reading or _read(venue, symbol)
    said = reading.kind if reading else None
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
    :func:`contract_meant`, InputError for a symbol that cannot be read, and UnknownNameError for one without a ladder.
    """
    reading = _read(venue, symbol)
    if reading is None:
        raise InputError("symbol", symbol, "write it as BTC, BTCUSDT or BTC/USDT:USDT")
    kind = contract_meant(venue, symbol, contract, reading)
    quotes = ("USD",) if kind is _INVERSE else reading.quotes
    meant = [] if reading.dated else [_instrument(venue, symbol, reading.base, q, kind, max_leverage) for q in quotes]
    for instrument in meant:
        if book.find(venue.name, instrument) is not None:
            return instrument
    for instrument in meant:
        if max_leverage is not None and venue.from_instrument is not None and venue.from_instrument(instrument):
            return instrument
    listed = sorted(market for market, _ in book.markets(venue.name))
    known = difflib.get_close_matches(symbol.upper(), listed, n=5, cutoff=0.4) or listed
    if reading.dated:
        hint = "futures with a date have ladders of their own, which are not here: "
    else:
        hint = f"fetch its table with 'forcedmove tiers update --venue {venue.name}', or " if venue.tiers_public else ""
    raise UnknownNameError(f"{kind} symbol of {venue.name}", symbol, known, f"{hint}state the maintenance rate")


def has_date(venue: Venue, symbol: str) -> bool:
    """Whether a symbol names a future with a date; one that cannot be read does not."""
    reading = _read(venue, symbol) if len(symbol) <= _LONGEST else None
    return reading is not None and reading.dated


def _read(venue: Venue, symbol: str) -> Reading | None:
    """Read a symbol; None for one that is of no known form. Raises InputError for one that is too long."""
    text = symbol.strip()
    if len(text) > _LONGEST:
        raise InputError("symbol", f"{text[:_LONGEST]}...", f"is longer than {_LONGEST} characters")
    builders = _BUILDERS.match(text)
    if builders is not None:
        return Reading(f"{builders['dex']}-{builders['coin']}".upper(), venue.quotes, _LINEAR)
    unified = _UNIFIED.match(text.upper())
    if unified is not None and unified["settle"] is not None:
        base, quote = _base(text[: unified.end("base")]), unified["quote"]
        settled = _INVERSE if _base(unified["settle"]) == base else _LINEAR
        return Reading(base, (quote,), settled, unified["date"] is not None)
    plain = text.upper().replace("/", "")
    readings = ((found, kind) for form, kind in _IDS if (found := form.match(plain)) is not None)
    read = next(readings, None)
    if read is None:
        return None
    found, kind_said = read
    base = _base(text.replace("/", "")[slice(*found.span("base"))])
    quote, dated = found["quote"], found.groupdict().get("date") is not None
    if quote == "UST":
        return Reading(base, ("USDT",), _LINEAR)
    if quote in ("USDT", "USDC"):
        return Reading(base, (quote,), _LINEAR, dated)
    if quote == "USD" and kind_said is None:
        # Plain dollars mean the coin-margined contract, unless linear ones are quoted so or there is no other kind.
        kind_said = _LINEAR if venue.inverse is None or "USD" in venue.quotes else _INVERSE
    return Reading(base, venue.quotes, kind_said, dated)


def _base(text: str) -> str:
    upper = text.upper()
    # Hyperliquid's thousands are a small k, which is part of the name.
    return f"k{upper[1:]}" if text[:1] == "k" and text[1:].isupper() else _ALIASES.get(upper, upper)


def _instrument(
    venue: Venue, symbol: str, base: str, quote: str, kind: ContractType, max_leverage: float | None
) -> Instrument:
    """The market; its id is what was typed, where that is one."""
    text = symbol.strip()
    native = text.upper() if "/" not in text and text.upper() != base else f"{base}/{quote}"
    return Instrument(venue.name, native, base, quote, kind, max_leverage=max_leverage or _UNSTATED_LEVERAGE)
