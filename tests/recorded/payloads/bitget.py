"""Bitget v3 and v2, and v1 of linear contracts: sizes in coins; liquidations by the position's side and in USDT."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 115, "mark": 137, "open_interest": 138, "liquidation": 2, "book": 21_000}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    arg = message.get("arg")
    if arg is None or "event" in message:
        return _rest(message)
    kind, name = arg.get("topic") or arg.get("channel"), arg.get("symbol") or arg.get("instId")
    if arg["instType"].lower() not in ("usdt-futures", "usdc-futures", "mc"):
        return None
    content = message["data"]
    if kind == "liquidation":
        return [_liquidation(row) for row in content]
    if not name.endswith(("USDT", "PERP")):  # older coin-margined contracts
        return None
    if kind == "publicTrade":
        return [Row("trade", name, t["S"], float(t["p"]), float(t["v"]), int(t["T"])) for t in content]
    if kind == "trade":
        if isinstance(content[0], list):
            return [Row("trade", name, side, float(p), float(v), int(at)) for at, p, v, side in content]
        return [Row("trade", name, t["side"], float(t["price"]), float(t["size"]), int(t["ts"])) for t in content]
    if kind == "ticker":
        return [row for t in content for row in _ticker(t, name, int(t.get("ts", message.get("ts", 0))))]
    if kind.startswith("books"):
        rows = []
        for book in content:
            for side, names in (("bid", ("b", "bids")), ("ask", ("a", "asks"))):
                levels = book.get(names[0], book.get(names[1]))
                rows += [Row("book", name, side, float(p), float(q), int(book["ts"])) for p, q in levels]
        return rows
    return None


def _ticker(ticker: dict[str, Any], name: str, at: int) -> list[Row]:
    found = []
    at = at or ticker["systemTime"]
    if ticker.get("markPrice"):
        found.append(Row("mark", name, "", float(ticker["markPrice"]), None, at))
    interest = ticker.get("openInterest") or ticker.get("holdingAmount") or ticker.get("holding")
    if interest:
        found.append(Row("open_interest", name, "", None, float(interest), at))
    return found


def _liquidation(row: dict[str, str]) -> Row:
    side = {"buy": "long", "sell": "short"}[row["side"]]
    price, value = float(row["price"]), float(row["amount"])
    return Row("liquidation", row["symbol"], side, price, value / price, int(row["ts"]))


def _rest(message: dict[str, Any]) -> list[Row] | None:
    """Tickers, and open interest by itself."""
    data = message.get("data")
    if isinstance(data, dict) and "list" in data:
        return [row for t in data["list"] for row in _ticker(t, t["symbol"], int(data["ts"]))]
    if isinstance(data, list) and data and isinstance(data[0], dict) and "markPrice" in data[0]:
        return [row for t in data for row in _ticker(t, t["symbol"], int(t["ts"]))]
    return None
