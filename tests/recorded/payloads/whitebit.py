"""WhiteBIT: open interest of the list of futures is coins; the other samples are of spot."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"open_interest": 1}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    if message.get("method") == "trades_update":
        return None if message["params"][0].endswith("_PERP") else []
    result = message.get("result")
    if isinstance(result, list) and result and "open_interest" in result[0]:
        return [Row("open_interest", row["ticker_id"], "", None, float(row["open_interest"]), None) for row in result]
    return None
