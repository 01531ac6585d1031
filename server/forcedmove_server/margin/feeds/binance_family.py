"""Binance, and Aster that runs its interfaces: brackets with a deduction, so that each rate applies to its slice.

ccxt has no public call for them. Two answers can be imported: that of the signed ``leverageBracket``, and that of the
call behind the web page of leverages (``.../friendly/future/common/brackets``, for coin-margined markets
``.../friendly/delivery/common/brackets``), which wants no key. Floors are in the margin currency in both: coins on
coin-margined markets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import (
    Markets,
    ParsedLadder,
    TierFeed,
    check_amounts,
    number,
    one_per_floor,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Tiers

_PLACE = "leverage brackets"


class _Names(NamedTuple):
    """What one of the answers calls things."""

    brackets: str
    floor: str
    inverse_floor: str
    rate: str
    leverage: str
    amount: str


_SIGNED = _Names("brackets", "notionalFloor", "qtyFloor", "maintMarginRatio", "initialLeverage", "cum")
_WEB = _Names(
    "riskBrackets",
    "bracketNotionalFloor",
    "bracketNotionalFloor",
    "bracketMaintenanceMarginRate",
    "maxOpenPosLeverage",
    "cumFastMaintenanceAmount",
)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    entries, names = _entries(answer)
    for entry in entries:
        symbol = text(entry, "symbol", _PLACE)
        market = markets.get(symbol)
        if market is None:
            continue
        place, floor = f"{_PLACE}: {symbol}", names.inverse_floor if market.inverse else names.floor
        rows = [
            (number(row, floor, place), number(row, names.rate, place), max(number(row, names.leverage, place), 1.0))
            for row in rows_at(entry, names.brackets)
        ]
        # Of brackets on one floor the strictest counts.
        distinct = one_per_floor(row for row in sorted(rows) if 0 < row[1] < 1)
        if distinct:
            check_amounts(distinct, rows_at(entry, names.brackets), floor, names.amount, place)
            yield ParsedLadder(market.unified, Tiers(distinct, cumulative=True))


def _entries(answer: Any) -> tuple[list[Any], _Names]:
    """Return the markets of an answer, and its names."""
    if isinstance(answer, list):
        return answer, _SIGNED
    if isinstance(answer, Mapping) and _SIGNED.brackets in answer:
        # The signed call answers so when it is asked for one symbol.
        return [answer], _SIGNED
    if number(answer, "code", _PLACE) != 0:
        raise FileFormatError(
            "code", answer["code"], f"is an error: {answer.get('msg', answer.get('message'))}", _PLACE
        )
    return rows_at(answer, "data", "brackets"), _WEB


_SOURCE = "leverageBracket (signed), or the brackets behind the web page of leverages"

BINANCE_FEED = TierFeed("binance", ("binanceusdm", "binancecoinm"), lambda markets: iter(()), _parse, _SOURCE)
ASTER_FEED = TierFeed("aster", ("aster",), lambda markets: iter(()), _parse, _SOURCE)
