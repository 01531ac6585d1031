"""BingX: tiers with a deduction, from the signed ``maintMarginRatio``; ccxt has no public call for them.

The answer names no leverages. The rates are half of ``1 / leverage`` cut to four decimals (0.0033 at 150x), hence the
greatest leverage here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Markets,
    ParsedLadder,
    TierFeed,
    check_code,
    grouped,
    number,
    one_per_floor,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Tiers
from forcedmove_server.margin.tiers import TierMeasure

_PLACE = "bingx maintMarginRatio"
_GREATEST_LEVERAGE = 150


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "msg", _PLACE)
    rows = rows_at(answer, "data")
    found = grouped(rows, lambda row: text(row, "symbol", _PLACE), markets, _floor_and_rate, _PLACE)
    for symbol, tiers in found.items():
        # Of tiers on one floor the strictest counts.
        distinct = one_per_floor((floor, rate, _leverage(rate)) for floor, rate in sorted(tiers) if 0 < rate < 1)
        # The deduction of a coin-margined position is USD, divided by the price: its floors are USD as well.
        measure = TierMeasure.QUANTITY if markets[symbol].inverse else TierMeasure.VALUE
        if distinct:
            yield ParsedLadder(markets[symbol].unified, Tiers(distinct, cumulative=True, measure=measure))


def _floor_and_rate(row: Any, place: str) -> tuple[float, float]:
    return number(row, "minPositionVal", place), number(row, "maintMarginRatio", place)


def _leverage(rate: float) -> float:
    # The slack keeps rounding from taking a whole leverage away; rates are cut, not rounded, so the floor is right.
    return float(min(max(math.floor(0.5 / rate + 1e-9), 1), _GREATEST_LEVERAGE))


FEED = TierFeed("bingx", ("bingx",), lambda markets: iter(()), _parse, "GET /openApi/swap/v1/maintMarginRatio (signed)")
