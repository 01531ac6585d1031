"""KuCoin's isolated risk limits (https://www.kucoin.com/docs-new, ``get-isolated-margin-risk-limit``).

``maxRiskLimit`` is position value on linear contracts and a number of contracts on inverse ones (support
26685810193433). The whole position pays the rate of its level (support 26694703491737).
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

SOURCE = "GET /api/v1/contracts/risk-limit/{symbol}"
_GOOD = 200_000


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        yield Call("futuresPublicGetContractsRiskLimitSymbol", {"symbol": market.native_id})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "code", SOURCE) != _GOOD:
        raise FileFormatError("code", answer["code"], f"is an error: {answer.get('msg')}", SOURCE)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer, "data"):
        if not isinstance(row, Mapping) or "symbol" not in row:
            raise FileFormatError("symbol", None, "is missing", SOURCE)
        if str(row["symbol"]) in markets:
            place = f"{SOURCE}: {row['symbol']}"
            leverage = max(number(row, "maxLeverage", place), 1.0)
            tier = (number(row, "maxRiskLimit", place), number(row, "maintainMargin", place), leverage)
            found.setdefault(str(row["symbol"]), []).append(tier)
    for symbol, tiers in found.items():
        market = markets[symbol]
        unit, measure = (market.contract_size, TierMeasure.QUANTITY) if market.inverse else (1.0, TierMeasure.VALUE)
        tiers.sort()
        floors = floors_of([ceiling for ceiling, _, _ in tiers])
        rows = [
            (low * unit, rate, leverage)
            for low, (high, rate, leverage) in zip(floors, tiers, strict=True)
            if low < high
        ]
        yield ParsedLadder(market.unified, Tiers(rows, measure=measure))


FEED = TierFeed("kucoinfutures", ("kucoinfutures",), _calls, _parse, SOURCE)
