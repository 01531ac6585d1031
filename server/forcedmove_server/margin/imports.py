"""Ladders from a file that somebody saved: our own form, ccxt's unified tiers, or a venue's raw answer.

Raw answers are for the venues whose tables need a key or have no call in ccxt; their markets are read off the ids in
the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from forcedmove_server.errors import FileFormatError, InputError
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.feeds import FEEDS
from forcedmove_server.margin.feeds.feed import ListedMarket, check_amounts, number
from forcedmove_server.margin.fetch import Fetched, ladder_file, parse_answer
from forcedmove_server.margin.ladders import Form, LadderFile, Tiers, decode_ladders
from forcedmove_server.margin.names import has_date
from forcedmove_server.margin.provenance import Origin
from forcedmove_server.margin.venues import venue_named

#: venues whose unified tiers are in value, with a deduction, so that ccxt's structure means what it says
_UNIFIED = ("binance", "aster")
_ID_KEYS = ("symbol", "instrument_name")
_DATED = "has a date: only perpetual contracts have ladders here"
_ID = re.compile(r"^(?P<base>[A-Z0-9]+?)[-_]?(?P<quote>USDT|USDC|USD1|USD)?(?P<perpetual>_PERP)?$")


def read_import(venue: str, path: Path, as_of: date | None, today: date) -> Fetched:
    """Read ``path`` as ladders of ``venue``, as of a day: stated, else that of our own form, else today.

    Raises FileFormatError naming field and file for what is none of the three forms, InputError for a venue that a form
    does not fit.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError("file", str(path), error.strerror or "cannot be read") from None
    try:
        answer = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise FileFormatError("file", str(path), f"is not JSON: {error}") from None
    if isinstance(answer, dict) and "ladders" in answer:
        file = decode_ladders(content, str(path))
        if file.venue != venue:
            raise InputError("venue", venue, f"{path} has the ladders of {file.venue}")
        file.check(str(path))
        if file.as_of > today:
            raise FileFormatError("as_of", file.as_of.isoformat(), f"is later than today, {today}", str(path))
        file, dated = _perpetual(file)
        if not file.ladders:
            raise FileFormatError("markets", ", ".join(list(dated)[:3]), _DATED, str(path))
        return Fetched(msgspec.structs.replace(file, origin=Origin.IMPORTED, as_of=as_of or file.as_of), dated)
    found, problems = _unified(venue, answer, path) if _is_unified(answer) else _raw(venue, answer)
    if not found:
        reasons = "; ".join(list(problems.values())[:3]) or "no market in it"
        raise FileFormatError("file", str(path), f"has no ladder that can be used: {reasons}")
    source = f"imported from {path.name}"
    return Fetched(ladder_file(venue, found, as_of or today, Origin.IMPORTED, Confidence.REC, source), problems)


def merged(old: LadderFile | None, new: LadderFile) -> LadderFile:
    """Put new ladders over old ones of the same venue, market by market; what was not renewed keeps its date."""
    if old is None:
        return new
    renewed = {market for ladder in new.ladders for market in ladder.markets}
    kept = [
        msgspec.structs.replace(
            ladder,
            markets=markets,
            as_of=ladder.as_of or old.as_of,
            about=old.about if ladder.about is None else ladder.about,
            confidence=ladder.confidence or old.confidence,
            source=ladder.source or old.source,
        )
        for ladder in old.ladders
        if (markets := [market for market in ladder.markets if market not in renewed])
    ]
    return msgspec.structs.replace(new, ladders=[*new.ladders, *kept])


def _dated(venue: str, market: str) -> bool:
    described = venue_named(venue)
    return described is not None and has_date(described, market)


def _perpetual(file: LadderFile) -> tuple[LadderFile, dict[str, str]]:
    """The file without its markets that have a date, and those."""
    dated = {market: _DATED for ladder in file.ladders for market in ladder.markets if _dated(file.venue, market)}
    ladders = [
        msgspec.structs.replace(ladder, markets=kept)
        for ladder in file.ladders
        if (kept := [market for market in ladder.markets if market not in dated])
    ]
    return msgspec.structs.replace(file, ladders=ladders), dated


def _is_unified(answer: Any) -> bool:
    if not isinstance(answer, dict) or not answer:
        return False
    first = next(iter(answer.values()))
    return isinstance(first, list) and bool(first) and isinstance(first[0], dict) and "maxLeverage" in first[0]


def _unified(venue: str, answer: Mapping[str, Any], path: Path) -> tuple[dict[str, Form], dict[str, str]]:
    """Read ccxt's structure: lists of tiers by unified symbol, as freqtrade ships it for Binance."""
    if venue not in _UNIFIED:
        raise InputError("venue", venue, f"unified tiers are in other units there; only {', '.join(_UNIFIED)}")
    found: dict[str, Form] = {}
    problems: dict[str, str] = {}
    for symbol, tiers in answer.items():
        if _dated(venue, symbol):
            problems[symbol] = _DATED
            continue
        place = f"{path}: {symbol}"
        rows = sorted(
            (
                number(t, "minNotional", place),
                number(t, "maintenanceMarginRate", place),
                number(t, "maxLeverage", place),
            )
            for t in tiers
        )
        form = Tiers(rows, cumulative=True)
        printed = [tier["info"] for tier in tiers if isinstance(tier.get("info"), dict)]
        try:
            form.build()
            check_amounts(rows, printed, "notionalFloor", "cum", place)
        except InputError as error:
            problems[symbol] = str(error)
        else:
            found[symbol] = form
    return found, problems


def _raw(venue: str, answer: Any) -> tuple[dict[str, Form], dict[str, str]]:
    feed = FEEDS.get(venue)
    if feed is None:
        raise InputError("venue", venue, f"has no readable table; known: {', '.join(sorted(FEEDS))}")
    ids = list(_ids(answer))
    dated = {text: _DATED for text in ids if _dated(venue, text)}
    perpetual = (text for text in ids if text not in dated)
    markets = {market.native_id: market for text in perpetual if (market := _market(text)) is not None}
    if not markets:
        next(feed.parse(answer, {}), None)  # an answer without a market is often an error, which this says
    found, problems = parse_answer(feed, answer, markets)
    return found, dated | problems


def _ids(answer: Any) -> Iterator[str]:
    """Every market id in an answer."""
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            if key in _ID_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _ids(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from _ids(value)


def _market(native_id: str) -> ListedMarket | None:
    """The market of an id such as BTCUSDT, BTC-USDT, BTCUSD_PERP, or a bare BTC; None for another."""
    found = _ID.match(native_id.upper())
    if found is None:
        return None
    base, quote = found["base"], found["quote"] or "USD"
    inverse = found["quote"] == "USD"
    return ListedMarket(f"{base}/{quote}:{base if inverse else quote}", native_id, base, inverse, 1.0)
