"""OKX's position tiers (https://www.okx.com/docs-v5/en/#public-data-rest-api-get-position-tiers).

Sizes are contracts, so tiers do not move with price; ``minSz`` is the last ``maxSz`` plus a lot. The payload knows no
deduction: the whole position pays the rate of its tier.
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
from forcedmove_server.margin.tiers import TierMeasure

SOURCE = "GET /api/v5/public/position-tiers (isolated)"
_SWAP = "-SWAP"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        if market.native_id.endswith(_SWAP):
            family = market.native_id.removesuffix(_SWAP)
            params = {"instType": "SWAP", "tdMode": "isolated", "instFamily": family}
            yield Call("publicGetPublicPositionTiers", params)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "code", SOURCE) != 0:
        raise FileFormatError("code", answer["code"], f"is an error: {answer.get('msg')}", SOURCE)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer, "data"):
        # ``instId`` is empty on swaps: the family stands for its one swap.
        if not isinstance(row, Mapping) or "instFamily" not in row:
            raise FileFormatError("instFamily", None, "is missing", SOURCE)
        native_id = f"{row['instFamily']}{_SWAP}"
        if native_id in markets:
            place = f"{SOURCE}: {native_id}"
            leverage = max(number(row, "maxLever", place), 1.0)
            tier = (number(row, "maxSz", place), number(row, "mmr", place), leverage)
            found.setdefault(native_id, []).append(tier)
    for native_id, tiers in found.items():
        market = markets[native_id]
        tiers.sort()
        floors = floors_of([ceiling for ceiling, _, _ in tiers])
        rows = [
            (low * market.contract_size, rate, leverage)
            for low, (high, rate, leverage) in zip(floors, tiers, strict=True)
            if low < high
        ]
        yield ParsedLadder(market.unified, Tiers(rows, measure=TierMeasure.QUANTITY))


FEED = TierFeed("okx", ("okx",), _calls, _parse, SOURCE)
