"""OKX's position tiers (https://www.okx.com/docs-v5/en/#public-data-rest-api-get-position-tiers).

Sizes are contracts, so tiers do not move with price; ``minSz`` is the last ``maxSz`` plus a lot. The payload knows no
deduction: the whole position pays the rate of its tier.
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
from forcedmove_server.margin.tiers import TierMeasure

SOURCE = "GET /api/v5/public/position-tiers (isolated)"
_SWAP = "-SWAP"

_tier = tier_reader("maxSz", "mmr", "maxLever")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        if market.native_id.endswith(_SWAP):
            family = market.native_id.removesuffix(_SWAP)
            params = {"instType": "SWAP", "tdMode": "isolated", "instFamily": family}
            yield Call("publicGetPublicPositionTiers", params)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "msg", SOURCE)
    rows = rows_at(answer, "data")
    for native_id, tiers in grouped(rows, _swap, markets, _tier, SOURCE).items():
        market = markets[native_id]
        yield ParsedLadder(market.unified, Tiers(by_ceiling(tiers, market.contract_size), measure=TierMeasure.QUANTITY))


def _swap(row: Any) -> str:
    # ``instId`` is empty on swaps: the family stands for its one swap.
    return text(row, "instFamily", SOURCE) + _SWAP


FEED = TierFeed("okx", ("okx",), _calls, _parse, SOURCE)
