"""Lighter: fractions per market in units of 1/10000, whatever the size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    check_code,
    number,
    rows_at,
)
from forcedmove_server.margin.ladders import Tiers

_PLACE = "lighter orderBookDetails"

#: fractions are whole numbers of 1 / this
_UNITS = 10_000.0


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetOrderBookDetails", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 200, "message", _PLACE)
    for row in rows_at(answer, "order_book_details"):
        market = markets.get(f"{number(row, 'market_id', _PLACE):.0f}")
        if market is None:
            continue
        # The least initial fraction is the market's; "default" is what an account starts with.
        initial = number(row, "min_initial_margin_fraction", f"{_PLACE}: {market.unified}")
        maintenance = number(row, "maintenance_margin_fraction", f"{_PLACE}: {market.unified}")
        if initial > 0 and 0 < maintenance < _UNITS:
            yield ParsedLadder(market.unified, Tiers([(0.0, maintenance / _UNITS, max(_UNITS / initial, 1.0))]))


FEED = TierFeed("lighter", ("lighter",), _calls, _parse, "GET /api/v1/orderBookDetails: margin fractions")
