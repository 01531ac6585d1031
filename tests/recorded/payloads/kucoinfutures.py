"""KuCoin Futures: sizes are contracts, known here for BTC, ETH, SOL; trades and REST books have nanoseconds."""

from __future__ import annotations

import math
import re
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 3, "mark": 3, "open_interest": 2, "book": 50}
_SIZES = {"XBTUSDTM": 0.001, "ETHUSDTM": 0.01, "SOLUSDTM": 0.1}


def _size(name: str) -> float:
    if re.fullmatch(r"[A-Z0-9]+(USDM|M[A-Z]\d\d)", name) and not name.endswith(("USDTM", "USDCM")):
        return 1.0
    return _SIZES.get(name, math.nan)


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    kind, _, name = message.get("topic", "").partition(":")
    content = message.get("data")
    if kind == "/contractMarket/execution":
        size = content["size"] * _size(name)
        at = content["ts"] // 1_000_000
        return [Row("trade", name, content["side"], float(content["price"]), size, at)]
    if message.get("subject") == "mark.index.price":
        return [Row("mark", name, "", content["markPrice"], None, content["timestamp"])]
    if kind == "/contractMarket/level2":
        price, side, size = content["change"].split(",")
        quantity = float(size) * _size(name)
        return [Row("book", name, {"buy": "bid", "sell": "ask"}[side], float(price), quantity, content["timestamp"])]
    if kind == "/contract/details":
        mark = Row("mark", name, "", content["markPrice"], None, None)
        return [mark, Row("open_interest", name, "", None, float(content["openInterest"]) * _size(name), None)]
    if isinstance(content, dict) and "bids" in content and "asks" in content:
        name = content.get("symbol") or name
        at = content["ts"] if content["ts"] < 10**14 else content["ts"] // 1_000_000
        sides = (("bid", content["bids"]), ("ask", content["asks"]))
        return [
            Row("book", name, side, float(p), float(q) * _size(name), at) for side, levels in sides for p, q in levels
        ]
    if isinstance(content, list) and content and set(content[0]) == {"symbol", "openInterest", "ts"}:
        return [
            Row("open_interest", c["symbol"], "", None, float(c["openInterest"]) * _size(c["symbol"]), c["ts"])
            for c in content
        ]
    return None
