"""MEXC futures: quantities are contracts, the fair price is the mark."""

from __future__ import annotations

import math
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 5, "mark": 6, "open_interest": 4, "book": 23}
_SIZE = {"BTC_USDT": 0.0001, "ETH_USDT": 0.01, "BTC_USD": 100.0}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or message.get("generated"):
        return None
    channel, content = message.get("channel", ""), message.get("data")
    if channel == "push.deal":
        name = message["symbol"]
        return [
            Row("trade", name, {1: "buy", 2: "sell"}[d["T"]], d["p"], d["v"] * _size(name), d["t"])
            for d in (content if isinstance(content, list) else [content])
        ]
    if channel in ("push.ticker", "push.tickers") or (
        message.get("success") and isinstance(content, list) and "fairPrice" in content[0]
    ):
        rows = []
        for ticker in content if isinstance(content, list) else [content]:
            name, at_ms = ticker["symbol"], ticker["timestamp"]
            rows.append(Row("mark", name, "", ticker["fairPrice"], None, at_ms))
            if "holdVol" in ticker:
                rows.append(Row("open_interest", name, "", None, ticker["holdVol"] * _size(name), at_ms))
        return rows
    if channel == "push.fair.price":
        return [Row("mark", message["symbol"], "", content["price"], None, message["ts"])]
    if channel in ("push.depth", "push.depth.full"):
        name, at_ms = message["symbol"], content.get("cts") or message["ts"]
        return [
            Row("book", name, side, level[0], level[1] * _size(name), at_ms)
            for side, levels in (("bid", content["bids"]), ("ask", content["asks"]))
            for level in levels
        ]
    return None


def _size(name: str) -> float:
    return _SIZE.get(name, math.nan)
