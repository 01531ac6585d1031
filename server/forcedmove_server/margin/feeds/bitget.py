"""Bitget's position tiers (https://www.bitget.com/api-doc/contract/position/Get-Query-Position-Lever).

``endUnit`` is position value in the margin currency. Since 2025-11-10 each rate applies to its own slice (support
12560603841952); the deduction is not printed.
"""

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

SOURCE = "GET /api/v2/mix/market/query-position-lever"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        settle = market.unified.rpartition(":")[2].partition("-")[0]
        product = "COIN-FUTURES" if market.inverse else f"{settle}-FUTURES"
        params = {"symbol": market.native_id, "productType": product}
        yield Call("publicMixGetV2MixMarketQueryPositionLever", params)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "code", SOURCE) != 0:
        raise FileFormatError("code", answer["code"], f"is an error: {answer.get('msg')}", SOURCE)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer, "data"):
        if not isinstance(row, Mapping) or "symbol" not in row:
            raise FileFormatError("symbol", None, "is missing", SOURCE)
        if str(row["symbol"]) in markets:
            place = f"{SOURCE}: {row['symbol']}"
            leverage = max(number(row, "leverage", place), 1.0)
            tier = (number(row, "endUnit", place), number(row, "keepMarginRate", place), leverage)
            found.setdefault(str(row["symbol"]), []).append(tier)
    for symbol, tiers in found.items():
        tiers.sort()
        floors = floors_of([ceiling for ceiling, _, _ in tiers])
        rows = [(low, rate, lever) for low, (high, rate, lever) in zip(floors, tiers, strict=True) if low < high]
        yield ParsedLadder(markets[symbol].unified, Tiers(rows, cumulative=True))


FEED = TierFeed("bitget", ("bitget",), _calls, _parse, SOURCE)
