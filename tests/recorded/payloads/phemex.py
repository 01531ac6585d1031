"""Phemex: coin-margined prices are scaled by 10000, times are nanoseconds; spot has ids that begin with ``s``."""

from __future__ import annotations

import math
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 9, "mark": 5, "open_interest": 4, "book": 500}
_COLUMNS = {"symbol": 0, "openInterestRv": 7, "markRp": 9}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict):
        return None
    name = message.get("symbol", "")
    if name.startswith("s"):
        return []
    scaled = name.endswith("USD")
    size_unit = (1.0 if name == "BTCUSD" else math.nan) if scaled else 1.0
    price_unit = 10_000 if scaled else 1
    trades = message.get("trades_p") or message.get("trades")
    if trades:
        return [
            Row("trade", name, side.lower(), float(price) / price_unit, float(size) * size_unit, at // 1_000_000)
            for at, side, price, size in trades
        ]
    book = message.get("orderbook_p") or message.get("book")
    if book:
        at = message["timestamp"] // 1_000_000
        return [
            Row("book", name, side, float(price) / price_unit, float(size) * size_unit, at)
            for side, levels in (("bid", book["bids"]), ("ask", book["asks"]))
            for price, size in levels
        ]
    if "market24h" in message:
        ticker, at = message["market24h"], message["timestamp"] // 1_000_000
        unit = 1.0 if ticker["symbol"] == "BTCUSD" else math.nan
        return [
            Row("mark", ticker["symbol"], "", ticker["markPrice"] / 10_000, None, at),
            Row("open_interest", ticker["symbol"], "", None, ticker["openInterest"] * unit, at),
        ]
    if message.get("method") == "perp_market24h_pack_p.update":
        columns = {field: place for place, field in enumerate(message["fields"])} if "fields" in message else _COLUMNS
        rows = []
        for values in message["data"]:
            symbol, at = values[columns["symbol"]], int(message["timestamp"]) // 1_000_000
            rows.append(Row("mark", symbol, "", float(values[columns["markRp"]]), None, at))
            interest = float(values[columns["openInterestRv"]])
            if interest:  # frames of 2022 have 0 of every market
                rows.append(Row("open_interest", symbol, "", None, interest, at))
        return rows
    ticker = message.get("result")
    if isinstance(ticker, dict) and "markPriceRp" in ticker:
        at = int(ticker["timestamp"]) // 1_000_000
        return [
            Row("mark", ticker["symbol"], "", float(ticker["markPriceRp"]), None, at),
            Row("open_interest", ticker["symbol"], "", None, float(ticker["openInterestRv"]), at),
        ]
    return None
