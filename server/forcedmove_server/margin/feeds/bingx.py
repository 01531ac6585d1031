"""BingX: tiers with a deduction, from the signed ``maintMarginRatio``; ccxt has no public call for them.

The answer names no leverages. The rates are half of ``1 / leverage`` cut to four decimals (0.0033 at 150x), hence the
greatest leverage here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import Markets, ParsedLadder, TierFeed, number, rows_at
from forcedmove_server.margin.ladders import Tiers
from forcedmove_server.margin.tiers import TierMeasure

_PLACE = "bingx maintMarginRatio"
_GREATEST_LEVERAGE = 150


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "code", _PLACE) != 0:
        raise FileFormatError("code", answer["code"], f"is an error: {answer.get('msg')}", _PLACE)
    tiers: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer, "data"):
        symbol = row.get("symbol") if isinstance(row, Mapping) else None
        if not isinstance(symbol, str):
            raise FileFormatError("symbol", symbol, "must be text", _PLACE)
        if symbol not in markets:
            continue
        floor, rate = (number(row, name, f"{_PLACE}: {symbol}") for name in ("minPositionVal", "maintMarginRatio"))
        if 0 < rate < 1:
            tiers.setdefault(symbol, []).append((floor, rate, _leverage(rate)))
    for symbol, rows in tiers.items():
        # Of tiers on one floor the strictest counts.
        distinct = list({row[0]: row for row in sorted(rows)}.values())
        # The deduction of a coin-margined position is USD, divided by the price: its floors are USD as well.
        measure = TierMeasure.QUANTITY if markets[symbol].inverse else TierMeasure.VALUE
        yield ParsedLadder(markets[symbol].unified, Tiers(distinct, cumulative=True, measure=measure))


def _leverage(rate: float) -> float:
    # The slack keeps rounding from taking a whole leverage away; rates are cut, not rounded, so the floor is right.
    return float(min(max(math.floor(0.5 / rate + 1e-9), 1), _GREATEST_LEVERAGE))


FEED = TierFeed("bingx", ("bingx",), lambda markets: iter(()), _parse, "GET /openApi/swap/v1/maintMarginRatio (signed)")
