"""XT: leverage brackets by their upper bounds; the whole position pays the rate of its bracket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    check_code,
    rows_at,
    text,
    tier_reader,
    usable_by_ceiling,
)
from forcedmove_server.margin.ladders import Tiers

_PLACE = "xt leverage brackets"
_METHOD = "public{}GetFutureMarketV1PublicLeverageBracketList"

_tier = tier_reader("maxNominalValue", "maintMarginRate", "maxLeverage")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for inverse, side in ((False, "Linear"), (True, "Inverse")):
        if any(market.inverse is inverse for market in markets):
            yield Call(_METHOD.format(side), {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "returnCode", 0, "error", _PLACE)
    for symbol, brackets in _brackets(answer).items():
        market = markets.get(symbol)
        if market is None:
            continue
        rows = usable_by_ceiling(_tier(row, f"{_PLACE}: {symbol}") for row in brackets)
        if rows:
            yield ParsedLadder(market.unified, Tiers(rows))


def _brackets(answer: Any) -> dict[str, list[Any]]:
    """Brackets by symbol: from entries that hold brackets, entries that are brackets, or a single entry."""
    result = answer.get("result")
    found: dict[str, list[Any]] = {}
    for entry in [result] if isinstance(result, Mapping) else rows_at(answer, "result"):
        symbol = text(entry, "symbol", _PLACE)
        brackets = rows_at(entry, "leverageBrackets") if "leverageBrackets" in entry else [entry]
        found.setdefault(symbol, []).extend(brackets)
    return found


FEED = TierFeed("xt", ("xt",), _calls, _parse, "GET /future/market/v1/public/leverage/bracket/list")
