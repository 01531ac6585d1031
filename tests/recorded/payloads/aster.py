"""Aster: as Binance's USD-M; some of the samples are Binance's own messages, and read the same."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 3, "mark": 3, "open_interest": 1, "liquidation": 1, "book": 22}
_EARLIEST_MS = 1_230_768_000_000


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    content, name = message.get("data", message), message.get("stream", "").split("@")[0].upper()
    symbol = content.get("s") or content.get("symbol") or name
    at = content.get("T") or content.get("time")
    kind = content.get("e")
    if kind in ("trade", "aggTrade") and at > _EARLIEST_MS:
        if content.get("X") == "INSURANCE_FUND":
            return []
        return [Row("trade", symbol, "sell" if content["m"] else "buy", float(content["p"]), float(content["q"]), at)]
    if kind == "markPriceUpdate":
        return [Row("mark", symbol, "", float(content["p"]), None, content["E"])]
    if kind == "forceOrder":
        order = content["o"]
        side = "long" if order["S"] == "SELL" else "short"
        return [Row("liquidation", order["s"], side, float(order["ap"]), float(order["z"]), order["T"])]
    if kind == "depthUpdate" or "bids" in content:
        sides = (("bid", content.get("b", content.get("bids"))), ("ask", content.get("a", content.get("asks"))))
        return [Row("book", symbol, side, float(p), float(q), at) for side, levels in sides for p, q in levels or ()]
    if "openInterest" in content:
        return [Row("open_interest", symbol, "", None, float(content["openInterest"]), at)]
    if "markPrice" in content:
        return [Row("mark", symbol, "", float(content["markPrice"]), None, at)]
    return None
