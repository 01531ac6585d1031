"""XT.COM: sizes are contracts, open interest of one market coins. Times of websocket samples are made up."""

from __future__ import annotations

import math
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 1, "mark": 1, "open_interest": 1}
_SIZES = {"btc_usdt": 0.0001, "eth_usdt": 0.01}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or "returnCode" not in message:
        return None
    result = message["result"]
    if isinstance(result, dict) and "openInterest" in result:
        return [Row("open_interest", result["symbol"], "", None, float(result["openInterest"]), result["time"])]
    if isinstance(result, list) and result and "m" in result[0]:
        return [_row(row) for row in result]
    return None


def _row(row: dict[str, Any]) -> Row:
    if row["m"] in ("BID", "ASK"):
        size = float(row["a"]) * _SIZES.get(row["s"], math.nan)
        return Row("trade", row["s"], {"BID": "buy", "ASK": "sell"}[row["m"]], float(row["p"]), size, row["t"])
    return Row("mark", row["s"], "", float(row["m"]), None, row["t"])
