"""Hyperliquid: sizes are coins, of which a ``k`` in front makes thousands; contexts have no time."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 3, "mark": 2, "open_interest": 2, "book": 34}


def expected(message: Any) -> list[Row] | None:
    if isinstance(message, list):
        if "universe" not in message[0]:
            return None
        coins = [coin["name"] for coin in message[0]["universe"]]
        return [row for coin, context in zip(coins, message[1], strict=True) for row in _context(coin, context)]
    if "levels" in message:
        return _book(message)
    content = message.get("data")
    match message.get("channel"):
        case "trades":
            return [_trade(row) for row in content]
        case "activeAssetCtx":
            return _context(content["coin"], content["ctx"])
        case "l2Book":
            return _book(content)
    return None


def _units(coin: str) -> float:
    return 1000.0 if coin[0] == "k" else 1.0


def _trade(row: dict[str, Any]) -> Row:
    units = _units(row["coin"])
    side = {"A": "sell", "B": "buy"}[row["side"]]
    return Row("trade", row["coin"], side, float(row["px"]) / units, float(row["sz"]) * units, row["time"])


def _context(coin: str, context: dict[str, Any]) -> list[Row]:
    units = _units(coin)
    mark = Row("mark", coin, "", float(context["markPx"]) / units, None, None)
    return [mark, Row("open_interest", coin, "", None, float(context["openInterest"]) * units, None)]


def _book(content: dict[str, Any]) -> list[Row]:
    coin, units = content["coin"], _units(content["coin"])
    return [
        Row("book", coin, side, float(row["px"]) / units, float(row["sz"]) * units, content["time"])
        for side, levels in zip(("bid", "ask"), content["levels"], strict=True)
        for row in levels
    ]
