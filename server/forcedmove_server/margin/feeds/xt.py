"""XT: leverage brackets by their upper bounds; the whole position pays the rate of its bracket."""

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
    floors_of,
    number,
    rows_at,
)
from forcedmove_server.margin.ladders import Tiers

_PLACE = "xt leverage brackets"
_METHOD = "public{}GetFutureMarketV1PublicLeverageBracketList"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for inverse, side in ((False, "Linear"), (True, "Inverse")):
        if any(market.inverse is inverse for market in markets):
            yield Call(_METHOD.format(side), {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "returnCode", _PLACE) != 0:
        raise FileFormatError("returnCode", answer["returnCode"], f"is an error: {answer.get('error')}", _PLACE)
    for symbol, brackets in _brackets(answer).items():
        market = markets.get(symbol)
        if market is None:
            continue
        place = f"{_PLACE}: {symbol}"
        ordered = sorted(
            (
                number(row, "maxNominalValue", place),
                number(row, "maintMarginRate", place),
                number(row, "maxLeverage", place),
            )
            for row in brackets
        )
        floors = floors_of([entry[0] for entry in ordered])
        rows = [
            (floor, rate, max(leverage, 1.0))
            for floor, (_, rate, leverage) in zip(floors, ordered, strict=False)
            if 0 < rate < 1
        ]
        # Of brackets on one floor all but the last are empty.
        distinct = list({row[0]: row for row in rows}.values())
        if distinct:
            yield ParsedLadder(market.unified, Tiers(distinct))


def _brackets(answer: Any) -> dict[str, list[Any]]:
    """Brackets by symbol: from entries that hold brackets, entries that are brackets, or a single entry."""
    result = answer.get("result")
    found: dict[str, list[Any]] = {}
    for entry in [result] if isinstance(result, Mapping) else rows_at(answer, "result"):
        symbol = entry.get("symbol") if isinstance(entry, Mapping) else None
        if not isinstance(symbol, str):
            raise FileFormatError("symbol", symbol, "must be text", _PLACE)
        brackets = rows_at(entry, "leverageBrackets") if "leverageBrackets" in entry else [entry]
        found.setdefault(symbol, []).extend(brackets)
    return found


FEED = TierFeed("xt", ("xt",), _calls, _parse, "GET /future/market/v1/public/leverage/bracket/list")
