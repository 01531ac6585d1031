"""dYdX v4, and v3's trades and markets: sizes are coins, the side is the taker's, oracle prices are what counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 1016, "mark": 41, "open_interest": 38, "liquidation": 1, "book": 14}
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def expected(message: Any) -> list[Row] | None:
    contents = message.get("contents")
    if "type" not in message and isinstance(message.get("markets"), dict):
        contents = message
    if not isinstance(contents, dict):
        return None
    name = message.get("id", "")
    if isinstance(contents.get("trades"), list):
        return [row for trade in contents["trades"] for row in _trade(name, trade)]
    if {"markets", "oraclePrices", "trading"} & set(contents):
        return [
            row
            for kind in ("markets", "oraclePrices", "trading")
            for key, market in contents.get(kind, {}).items()
            for row in _market(key, market)
        ]
    if message.get("channel") == "v4_orderbook":
        pairs = (("bid", contents.get("bids", [])), ("ask", contents.get("asks", [])))
        return [Row("book", name, side, *_level(level), None) for side, levels in pairs for level in levels]
    return None


def _trade(name: str, trade: dict[str, Any]) -> list[Row]:
    side, price, size, at = trade["side"], float(trade["price"]), float(trade["size"]), _ms(trade["createdAt"])
    rows = []
    if trade.get("type") != "DELEVERAGED":
        rows.append(Row("trade", name, side.lower(), price, size, at))
    if trade.get("type") in ("LIQUIDATED", "DELEVERAGED"):
        rows.append(Row("liquidation", name, {"SELL": "long", "BUY": "short"}[side], price, size, at))
    return rows


def _market(name: str, market: dict[str, Any]) -> list[Row]:
    at = _ms(market["effectiveAt"]) if "effectiveAt" in market else None
    rows = []
    if "oraclePrice" in market:
        rows.append(Row("mark", name, "", float(market["oraclePrice"]), None, at))
    if "openInterest" in market:
        rows.append(Row("open_interest", name, "", None, float(market["openInterest"]), None))
    return rows


def _level(level: Any) -> tuple[float, float]:
    price, size = (level["price"], level["size"]) if isinstance(level, dict) else level
    return float(price), float(size)


def _ms(text: str) -> int:
    return round((datetime.fromisoformat(text) - _EPOCH) / timedelta(milliseconds=1))
