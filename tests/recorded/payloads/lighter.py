"""Lighter: numbers name markets, sizes are coins; open interest is dollars on the websocket, coins in answers.

A liquidation is a trade as well, whose taker was liquidated.
"""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 13, "mark": 4, "open_interest": 6, "liquidation": 2, "book": 16}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if "order_book_details" in message:
        details = message["order_book_details"]
        return [
            Row("open_interest", str(row["market_id"]), "", None, float(row["open_interest"]), None) for row in details
        ]
    if isinstance(message.get("trades"), list):
        trades = [*message["trades"], *message.get("liquidation_trades", [])]
        return [row for trade in trades for row in _trade(trade)]
    channel, _, name = message.get("channel", "").partition(":")
    if channel == "market_stats":
        stats = message["market_stats"]
        return _stats([stats] if "market_id" in stats else stats.values(), message.get("timestamp"))
    if channel == "order_book":
        book = message["order_book"]
        return [
            Row("book", name, side, float(level["price"]), float(level["size"]), message["timestamp"])
            for side, levels in (("bid", book["bids"]), ("ask", book["asks"]))
            for level in levels
        ]
    return None


def _trade(trade: dict[str, Any]) -> list[Row]:
    name, price, size, at = str(trade["market_id"]), float(trade["price"]), float(trade["size"]), trade["timestamp"]
    rows = [Row("trade", name, "buy" if trade["is_maker_ask"] else "sell", price, size, at)]
    if trade["type"] == "liquidation":
        was_long = float(trade["taker_position_size_before"]) > 0
        rows.append(Row("liquidation", name, "long" if was_long else "short", price, size, at))
    return rows


def _stats(found: Any, at: int | None) -> list[Row] | None:
    rows = []
    for stats in found:
        if stats["open_interest_limit"] == "50000.0000":
            return None  # edited by hand: coins, at prices that contradict each other
        name, mark = str(stats["market_id"]), float(stats["mark_price"])
        if name not in ("0", "1"):
            continue  # of which instrument it is, the message does not say
        rows.append(Row("mark", name, "", mark, None, at))
        rows.append(Row("open_interest", name, "", None, float(stats["open_interest"]) / mark, at))
    return rows
