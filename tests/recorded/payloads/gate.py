"""Gate futures v4: sizes are contracts, signs of trades takers', signs of liquidations positions'."""

from __future__ import annotations

import math
import re
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 9, "mark": 6, "open_interest": 6, "book": 1167}
_MULTIPLIER = {"BTC": 0.0001, "ETH": 0.01, "XRP": 10.0, "ADA": 10.0, "LTC": 0.1, "BCH": 0.01}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or message.get("event") not in ("update", "all"):
        return None
    channel, content, sent_ms = message["channel"], message["result"], message.get("time_ms") or message["time"] * 1000
    if channel == "futures.trades":
        return [
            Row(
                "trade",
                t["contract"],
                "buy" if float(t["size"]) > 0 else "sell",
                float(t["price"]),
                abs(float(t["size"])) * _size(t["contract"]),
                t.get("create_time_ms", t["create_time"] * 1000),
            )
            for t in content
            if _future(t["contract"])
        ]
    if channel == "futures.tickers":
        while isinstance(content, list) and content and isinstance(content[0], list):
            content = content[0]
        rows = []
        for ticker in content if isinstance(content, list) else [content]:
            name = ticker["contract"]
            if _future(name):
                quantity = float(ticker["total_size"]) * _size(name)
                rows.append(Row("mark", name, "", float(ticker["mark_price"]), None, sent_ms))
                rows.append(Row("open_interest", name, "", None, quantity, sent_ms))
        return rows
    if channel == "futures.order_book" and message["event"] == "all":
        sides = (("bid", content["bids"]), ("ask", content["asks"]))
        return _levels(content["contract"], sides, content.get("t") or sent_ms)
    if channel == "futures.order_book_update":
        return _levels(content["s"], (("bid", content["b"]), ("ask", content["a"])), content["t"])
    return None


def _levels(name: str, sides: Any, at_ms: int) -> list[Row]:
    return [
        Row("book", name, side, float(one["p"]), float(one["s"]) * _size(name), at_ms)
        for side, levels in sides
        for one in levels
        if _future(name)
    ]


def _future(name: str) -> bool:
    return re.fullmatch(r"\w+_USDT(_\d{8})?|BTC_USD(_\d{8})?", name) is not None


def _size(name: str) -> float:
    return 1.0 if "_USDT" not in name else _MULTIPLIER.get(name.split("_")[0], math.nan)
