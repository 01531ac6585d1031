"""Bybit's risk limits (https://bybit-exchange.github.io/docs/v5/market/risk-limit).

Linear ``riskLimitValue`` is position value in the quote currency, inverse in coin: the upper bound of a tier, in value.
``mmDeduction`` (empty on the first tier) has to be what the accumulation of the rates gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    Tier,
    TierFeed,
    by_ceiling,
    check_amounts,
    check_code,
    grouped,
    number,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Tiers

SOURCE = "GET /v5/market/risk-limit"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    # Without a symbol the linear answer comes in pages of 15 symbols; with one it is whole.
    for market in markets:
        category = "inverse" if market.inverse else "linear"
        yield Call("publicGetV5MarketRiskLimit", {"category": category, "symbol": market.native_id})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "retCode", 0, "retMsg", SOURCE)
    rows = rows_at(answer, "result", "list")
    for symbol, tiers in grouped(rows, lambda row: text(row, "symbol", SOURCE), markets, _tier, SOURCE).items():
        # ``id`` counts the rows of all symbols and their order is not promised, so that only the bounds order them.
        ladder = by_ceiling(tiers)
        mine = [row for row in rows if row["symbol"] == symbol]
        check_amounts(ladder, mine, "riskLimitValue", "mmDeduction", f"{SOURCE}: {symbol}")
        yield ParsedLadder(markets[symbol].unified, Tiers(ladder, cumulative=True))


def _tier(row: Any, place: str) -> Tier:
    """Read upper bound, maintenance rate and greatest leverage."""
    leverage = number(row, "maxLeverage", place)
    # Rates are fractions today, but the documented inverse sample prints percent. The initial rate is 1 / leverage, so
    # that their product, 1 or 100, tells which.
    unit = 100.0 if number(row, "initialMargin", place) * leverage > 10 else 1.0
    rate = number(row, "maintenanceMargin", place) / unit
    return number(row, "riskLimitValue", place), rate, leverage


FEED = TierFeed("bybit", ("bybit",), _calls, _parse, SOURCE)
