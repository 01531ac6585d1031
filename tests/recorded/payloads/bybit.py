"""Bybit v5 and what v2 had of trades and liquidations.

Sides of liquidations are positions'; open interest counts one side where the message says which.
"""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 80, "mark": 10, "open_interest": 18, "liquidation": 10, "book": 17}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if "." not in message.get("topic", ""):
        return _rest(message)
    kind, name = message["topic"].split(".")[0], message["topic"].rsplit(".", 1)[1]
    content = message["data"]
    if kind == "publicTrade":
        return [Row("trade", t["s"], t["S"].lower(), float(t["p"]), float(t["v"]), t["T"]) for t in content]
    if kind == "trade" and "trade_id" in content[0]:
        rows = []
        for t in content:
            price, size = float(t["price"]), float(t["size"])
            at = int(t["trade_time_ms"]) if "trade_time_ms" in t else None
            rows.append(Row("trade", t["symbol"], t["side"].lower(), price, size, at))
        return rows
    if kind in ("allLiquidation", "liquidation"):
        return [_liquidation(c) for c in (content if isinstance(content, list) else [content])]
    if kind == "tickers" and name.count("-") < 2 and message["ts"] > 10**12:  # one recorded time lacks a digit
        return _ticker(content, name, message["ts"])
    if kind == "orderbook":
        sides = (("bid", content["b"]), ("ask", content["a"]))
        return [Row("book", name, side, float(p), float(q), message["ts"]) for side, levels in sides for p, q in levels]
    return None


def _rest(message: dict[str, Any]) -> list[Row] | None:
    result = message.get("result")
    if not isinstance(result, dict) or result.get("category") not in ("linear", "inverse"):
        return None
    rows = []
    for row in result["list"]:
        if not isinstance(row, dict):
            return None
        if "execId" in row:
            price, size = float(row["price"]), float(row["size"])
            rows.append(Row("trade", row["symbol"], row["side"].lower(), price, size, int(row["time"])))
        elif "timestamp" in row and "openInterest" in row:
            rows += _ticker(row, result["symbol"], int(row["timestamp"]))
        elif "lastPrice" in row:
            rows += _ticker(row, row["symbol"], message["time"])
        else:
            return None
    return rows


def _ticker(content: dict[str, Any], name: str, at: int) -> list[Row]:
    rows = []
    if content.get("markPrice"):
        rows.append(Row("mark", name, "", float(content["markPrice"]), None, at))
    interest = content.get("singleOpenInterest") or content.get("openInterest")
    if interest:
        rows.append(Row("open_interest", name, "", None, float(interest), at))
    return rows


def _liquidation(content: dict[str, Any]) -> Row:
    if "S" in content:
        name, side, price, size, at = (content[field] for field in ("s", "S", "p", "v", "T"))
    else:
        name, side, price = (content[field] for field in ("symbol", "side", "price"))
        size = content["size"] if "size" in content else content["qty"]
        at = content["updatedTime"] if "updatedTime" in content else content["time"]
    return Row("liquidation", name, {"Buy": "long", "Sell": "short"}[side], float(price), float(size), at)
