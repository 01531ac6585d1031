"""Bitget's position tiers (https://www.bitget.com/api-doc/contract/position/Get-Query-Position-Lever).

``endUnit`` is position value in the margin currency. Since 2025-11-10 each rate applies to its own slice (support
12560603841952); the deduction is not printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    by_ceiling,
    check_code,
    grouped,
    rows_at,
    text,
    tier_reader,
)
from forcedmove_server.margin.ladders import Tiers

SOURCE = "GET /api/v2/mix/market/query-position-lever"

_tier = tier_reader("endUnit", "keepMarginRate", "leverage")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        settle = market.unified.rpartition(":")[2].partition("-")[0]
        product = "COIN-FUTURES" if market.inverse else f"{settle}-FUTURES"
        params = {"symbol": market.native_id, "productType": product}
        yield Call("publicMixGetV2MixMarketQueryPositionLever", params)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "msg", SOURCE)
    rows = rows_at(answer, "data")
    for symbol, tiers in grouped(rows, lambda row: text(row, "symbol", SOURCE), markets, _tier, SOURCE).items():
        yield ParsedLadder(markets[symbol].unified, Tiers(by_ceiling(tiers), cumulative=True))


FEED = TierFeed("bitget", ("bitget",), _calls, _parse, SOURCE)
