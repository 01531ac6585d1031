"""Backpack: initial and maintenance rates that grow with the root of the position's value, as two functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    number,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Root

_PLACE = "backpack markets"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetApiV1Markets", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    for row in rows_at(answer):
        symbol = text(row, "symbol", _PLACE)
        market = markets.get(symbol)
        if market is None or _is_null(row, "mmfFunction") or _is_null(row, "imfFunction"):
            continue
        maintenance, initial = _function(row, "mmfFunction", symbol), _function(row, "imfFunction", symbol)
        if 0 < maintenance[0] < 1 and 0 < initial[0] < 1:
            yield ParsedLadder(market.unified, Root(maintenance, initial))


def _is_null(row: Mapping[str, Any], name: str) -> bool:
    """Whether a function is given as none, as spot markets have it; a function that is missing is an error."""
    return name in row and row[name] is None


def _function(row: Mapping[str, Any], name: str, symbol: str) -> tuple[float, float, float, float]:
    """Base, factor, shift and scale of a function of the position's value in USD."""
    function, place = row.get(name), f"{_PLACE}: {symbol}"
    if not isinstance(function, Mapping) or function.get("type") != "sqrt":
        raise FileFormatError(name, function, "must be a function of type 'sqrt'", place)
    return number(function, "base", place), number(function, "factor", place), 0.0, 1.0


FEED = TierFeed("backpack", ("backpack",), _calls, _parse, "GET /api/v1/markets: imfFunction, mmfFunction")
