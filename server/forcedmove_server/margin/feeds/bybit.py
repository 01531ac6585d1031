"""Bybit's risk limits (https://bybit-exchange.github.io/docs/v5/market/risk-limit).

Linear ``riskLimitValue`` is position value in the quote currency, inverse in coin: the upper bound of a tier, in value.
``mmDeduction`` (empty on the first tier) is what the accumulation of the rates gives, so it is not read.
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

SOURCE = "GET /v5/market/risk-limit"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    # Without a symbol the linear answer comes in pages of 15 symbols; with one it is whole.
    for market in markets:
        category = "inverse" if market.inverse else "linear"
        yield Call("publicGetV5MarketRiskLimit", {"category": category, "symbol": market.native_id})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "retCode", SOURCE) != 0:
        raise FileFormatError("retCode", answer["retCode"], f"is an error: {answer.get('retMsg')}", SOURCE)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer, "result", "list"):
        if not isinstance(row, Mapping) or "symbol" not in row:
            raise FileFormatError("symbol", None, "is missing", SOURCE)
        if str(row["symbol"]) in markets:
            found.setdefault(str(row["symbol"]), []).append(_tier(row))
    for symbol, tiers in found.items():
        tiers.sort()  # ``id`` counts the rows of all symbols, and their order is not promised
        floors = floors_of([ceiling for ceiling, _, _ in tiers])
        rows = [(low, rate, lever) for low, (high, rate, lever) in zip(floors, tiers, strict=True) if low < high]
        yield ParsedLadder(markets[symbol].unified, Tiers(rows, cumulative=True))


def _tier(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Read upper bound, maintenance rate and greatest leverage."""
    place = f"{SOURCE}: {row['symbol']}"
    leverage = number(row, "maxLeverage", place)
    # Rates are fractions today, but the documented inverse sample prints percent. The initial rate is 1 / leverage, so
    # that their product, 1 or 100, tells which.
    unit = 100.0 if number(row, "initialMargin", place) * leverage > 10 else 1.0
    rate = number(row, "maintenanceMargin", place) / unit
    return number(row, "riskLimitValue", place), rate, max(leverage, 1.0)


FEED = TierFeed("bybit", ("bybit",), _calls, _parse, SOURCE)
