"""Paradex as JSON: sizes are coins, of which a ``k`` in front makes thousands; the side is the taker's."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 2, "mark": 3, "open_interest": 3}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if "results" in message:
        rows = message["results"]
        return [row for one in rows for row in _row(one)] if {"mark_price", "trade_type"} & set(rows[0]) else None
    params = message.get("params", {})
    if params.get("channel", "").partition(".")[0] in ("trades", "markets_summary"):
        return _row(params["data"])
    return None


def _row(content: dict[str, Any]) -> list[Row]:
    name, at = content.get("market") or content["symbol"], content["created_at"]
    units = 1000.0 if name[0] == "k" else 1.0
    if "trade_type" in content:
        price, size = float(content["price"]) / units, float(content["size"]) * units
        return [Row("trade", name, content["side"].lower(), price, size, at)]
    mark = Row("mark", name, "", float(content["mark_price"]) / units, None, at)
    return [mark, Row("open_interest", name, "", None, float(content["open_interest"]) * units, at)]
