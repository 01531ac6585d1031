"""HTX swaps: trades and open interest count both sides, liquidations and books one; all are contracts."""

from __future__ import annotations

import math
import re
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 16, "open_interest": 8, "liquidation": 4, "book": 80_000}
_SIZE = {"BTC": 0.001, "ETH": 0.01, "SOL": 1.0, "XRP": 10.0}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if str(message.get("topic", "")).endswith("liquidation_orders") and message["op"] == "notify":
        return [
            Row(
                "liquidation",
                one["contract_code"],
                {"sell": "long", "buy": "short"}[one["direction"]],
                one["price"],
                _coins(one["contract_code"], one, "volume", "amount"),
                one["created_at"],
            )
            for one in message["data"]
        ]
    rows = message.get("data")
    if message.get("status") == "ok" and isinstance(rows, list) and "trade_volume" in rows[0]:
        return [
            Row(
                "open_interest",
                one["contract_code"],
                "",
                None,
                _coins(one["contract_code"], one, "volume", "amount") / 2,
                message["ts"],
            )
            for one in rows
        ]
    channel = re.fullmatch(r"market\.([\w-]+)\.(trade\.detail|depth\..+)", message.get("ch", ""))
    if channel is None or "tick" not in message:
        return None
    name, tick = channel[1], message["tick"]
    if re.fullmatch(r"[A-Z0-9]+-USDT?", name) is None:
        return []
    if channel[2] == "trade.detail":
        return [
            Row("trade", name, one["direction"], one["price"], _coins(name, one, "amount", "quantity") / 2, one["ts"])
            for one in tick["data"]
            if one["direction"]
        ]
    return [
        Row("book", name, side, price, contracts * _size(name), tick["ts"])
        for side, levels in (("bid", tick.get("bids")), ("ask", tick.get("asks")))
        for price, contracts in levels or ()
    ]


def _coins(name: str, row: dict[str, Any], contracts: str, coins: str) -> float:
    """Coins as the row states them, on linear contracts since 2021; else contracts times their size."""
    stated: float | None = row.get(coins) if "-USDT" in name else None
    own: float = row[contracts] * _size(name)
    return own if stated is None else stated


def _size(name: str) -> float:
    coin = re.split(r"-|\d", name)[0]
    if "-USDT" in name:
        return _SIZE.get(coin, math.nan)
    return 100.0 if coin == "BTC" else 10.0
