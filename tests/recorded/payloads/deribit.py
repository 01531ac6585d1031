"""Deribit: amounts in US dollars on inverse contracts, in coins on linear ones; options and combos are not read."""

from __future__ import annotations

import re
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 26, "mark": 8, "open_interest": 8, "liquidation": 1, "book": 130}
_FUTURE = re.compile(r"[A-Z]+(_USDC)?-(PERPETUAL|\d{1,2}[A-Z]{3}\d{2})")


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if message.get("method") == "subscription":
        kind, content = message["params"]["channel"].split(".")[0], message["params"]["data"]
        if kind == "trades":
            return [row for trade in content for row in _trade(trade)]
        if kind == "ticker":
            return _state(content)
        return _book(content) if kind == "book" else None
    result = message.get("result")
    if isinstance(result, dict) and "trades" in result:
        return [row for trade in result["trades"] for row in _trade(trade)]
    if isinstance(result, dict) and "instrument_name" in result and "open_interest" in result:
        return _state(result) + (_book(result) if "bids" in result else [])
    if isinstance(result, list) and result and isinstance(result[0], dict) and "open_interest" in result[0]:
        return [row for summary in result for row in _state(summary)]
    return None


def _trade(trade: dict[str, Any]) -> list[Row]:
    name, side = trade["instrument_name"], trade["direction"]
    if not _FUTURE.fullmatch(name):
        return []
    price, size, at = float(trade["price"]), float(trade["amount"]), trade["timestamp"]
    rows = [Row("trade", name, side, price, size, at)]
    if trade.get("liquidation") == "T":
        rows.append(Row("liquidation", name, {"sell": "long", "buy": "short"}[side], price, size, at))
    assert trade.get("liquidation") in (None, "T"), "no other flag is among the samples"
    return rows


def _state(state: dict[str, Any]) -> list[Row]:
    name, at = state["instrument_name"], state.get("timestamp") or state["creation_timestamp"]
    if not _FUTURE.fullmatch(name):
        return []
    interest = Row("open_interest", name, "", None, float(state["open_interest"]), at)
    return [Row("mark", name, "", float(state["mark_price"]), None, at), interest]


def _book(book: dict[str, Any]) -> list[Row]:
    name, at = book["instrument_name"], book["timestamp"]
    if not _FUTURE.fullmatch(name):
        return []
    sides = (("bid", book["bids"]), ("ask", book["asks"]))
    return [Row("book", name, side, float(lv[-2]), float(lv[-1]), at) for side, levels in sides for lv in levels]
