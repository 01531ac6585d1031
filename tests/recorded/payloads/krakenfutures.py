"""Kraken Futures: PF_ in coins, PI_ and FI_ in contracts of 1 USD; a trade of type liquidation closed a position."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 1016, "mark": 12, "open_interest": 12, "liquidation": 1, "book": 1834}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or "event" in message:
        return None
    if isinstance(message.get("tickers"), list):
        return [row for ticker in message["tickers"] for row in _ticker(ticker, ticker["symbol"], None)]
    if "elements" in message:
        return [_execution(element["event"]["Execution"]["execution"]) for element in message["elements"]]
    kind, name = message.get("feed"), message.get("product_id", "")
    if kind == "trade":
        return _trade(message)
    if kind == "trade_snapshot":
        return [row for trade in message["trades"] for row in _trade(trade)]
    if kind == "ticker":
        return _ticker(message, name, message["time"])
    if kind == "book_snapshot":
        return [
            Row("book", name, side, float(level["price"]), float(level["qty"]), message["timestamp"])
            for side, levels in (("bid", message["bids"]), ("ask", message["asks"]))
            for level in levels
        ]
    if kind == "book":
        side = {"buy": "bid", "sell": "ask"}[message["side"]]
        at = message.get("timestamp")
        return [Row("book", name, side, float(message["price"]), float(message["qty"]), at)]
    return None


def _trade(trade: dict[str, Any]) -> list[Row]:
    name, side, price, size = trade["product_id"], trade["side"], float(trade["price"]), float(trade["qty"])
    rows = [Row("trade", name, side, price, size, trade["time"])]
    if trade["type"] == "liquidation":
        position = {"sell": "long", "buy": "short"}[side]
        rows.append(Row("liquidation", name, position, price, size, trade["time"]))
    return rows


def _execution(execution: dict[str, Any]) -> Row:
    order = execution["takerOrder"]
    price, size = float(execution["price"]), float(execution["quantity"])
    return Row("trade", order["tradeable"], order["direction"].lower(), price, size, execution["timestamp"])


def _ticker(ticker: dict[str, Any], name: str, at: int | None) -> list[Row]:
    rows = []
    if name != name.upper():  # ids in lower case are of before 2023
        return []
    if ticker.get("markPrice"):
        rows.append(Row("mark", name, "", float(ticker["markPrice"]), None, at))
    if "openInterest" in ticker:
        rows.append(Row("open_interest", name, "", None, float(ticker["openInterest"]), at))
    return rows
