"""KuCoin's isolated risk limits (https://www.kucoin.com/docs-new, ``get-isolated-margin-risk-limit``).

``maxRiskLimit`` is position value on linear contracts and a number of contracts on inverse ones (support
26685810193433). The whole position pays the rate of its level (support 26694703491737).
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

SOURCE = "GET /api/v1/contracts/risk-limit/{symbol}"
_GOOD = 200_000

_tier = tier_reader("maxRiskLimit", "maintainMargin", "maxLeverage")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        yield Call("futuresPublicGetContractsRiskLimitSymbol", {"symbol": market.native_id})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", _GOOD, "msg", SOURCE)
    rows = rows_at(answer, "data")
    for symbol, tiers in grouped(rows, lambda row: text(row, "symbol", SOURCE), markets, _tier, SOURCE).items():
        market = markets[symbol]
        unit, measure = (market.contract_size, TierMeasure.QUANTITY) if market.inverse else (1.0, TierMeasure.VALUE)
        yield ParsedLadder(market.unified, Tiers(by_ceiling(tiers, unit), measure=measure))


FEED = TierFeed("kucoinfutures", ("kucoinfutures",), _calls, _parse, SOURCE)
