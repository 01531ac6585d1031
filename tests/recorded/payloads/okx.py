"""OKX v5: sizes are contracts; a liquidation has one row per detail."""

from __future__ import annotations

import math
import re
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 6, "mark": 4, "open_interest": 10, "liquidation": 3, "book": 2396}
_CTVAL = {"BTC": 0.01, "ETH": 0.1, "ADA": 100.0, "LTC": 1.0, "XRP": 100.0}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or "data" not in message or "table" in message:
        return None
    channel = message.get("arg", {}).get("channel", "")
    rows = message["data"]
    if channel in ("books", "books-l2-tbt", "books5"):
        name = message["arg"]["instId"]
        return [
            Row("book", name, side, float(level[0]), float(level[1]) * _size(name), int(book["ts"]))
            for book in rows
            for side, levels in (("bid", book["bids"]), ("ask", book["asks"]))
            for level in levels
            if _future(name)
        ]
    if channel not in ("", "trades", "mark-price", "open-interest", "liquidation-orders"):
        return None
    found: list[Row] = []
    for row in rows:
        if not isinstance(row, dict) or "instId" not in row:
            return None
        name = row["instId"]
        if not _future(name):
            continue
        if "details" in row:
            found += [
                Row("liquidation", name, d["posSide"], float(d["bkPx"]), float(d["sz"]) * _size(name), int(d["ts"]))
                for d in row["details"]
            ]
        elif "tradeId" in row:
            quantity = float(row["sz"]) * _size(name)
            found.append(Row("trade", name, row["side"], float(row["px"]), quantity, int(row["ts"])))
        elif "markPx" in row:
            found.append(Row("mark", name, "", float(row["markPx"]), None, int(row["ts"])))
        elif "oi" in row:
            quantity = float(row["oi"]) * _size(name) if "-USD-" in name else float(row["oiCcy"])
            found.append(Row("open_interest", name, "", None, quantity, int(row["ts"])))
    return found


def _future(name: str) -> bool:
    return re.fullmatch(r"\w+-USD[TC]?-(SWAP|\d{6})", name) is not None


def _size(name: str) -> float:
    coin, quote, _ = name.split("-") if name.count("-") == 2 else (name, "", "")
    return {"BTC": 100.0}.get(coin, 10.0) if quote == "USD" else _CTVAL.get(coin, math.nan)
