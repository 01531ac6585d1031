"""Binance: sides of liquidations are orders'; COIN-M counts contracts of 100 USD (BTC) or 10 USD."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 33, "mark": 31, "open_interest": 16, "liquidation": 4, "book": 4788}
_EARLIEST_MS = 1_230_768_000_000  # samples of the documentation have times of 1970


def expected(message: Any) -> list[Row] | None:
    if isinstance(message, list):
        return _list(message)
    if not isinstance(message, dict):
        return None
    stream, content = message.get("stream", ""), message
    if stream:
        content = message["data"]
        if isinstance(content, list):
            return _list(content)
    at = content.get("T") or content.get("E") or 0
    match content.get("e"):
        case "aggTrade" | "trade" if at > _EARLIEST_MS and _known(content["s"]):
            if content.get("X") == "INSURANCE_FUND":
                return []
            side = "sell" if content["m"] else "buy"
            return [Row("trade", content["s"], side, float(content["p"]), _size(content["s"], content["q"]), at)]
        case "markPriceUpdate":
            return _list([content])
        case "forceOrder":
            order = content["o"]
            side = {"SELL": "long", "BUY": "short"}[order["S"]]
            quantity = _size(order["s"], order["z"])
            return [Row("liquidation", order["s"], side, float(order["ap"]), quantity, order["T"])]
        case "depthUpdate" if stream:
            return list(_book(content["s"], content["b"], content["a"], at))
        case None if "lastUpdateId" in content and "bids" in content:
            symbol = content.get("symbol") or stream.split("@")[0].upper()
            return list(_book(symbol, content["bids"], content["asks"], content.get("T"))) if symbol else None
        case None if "openInterest" in content or "markPrice" in content:
            return _list([content])
    return None


def _list(rows: list[Any]) -> list[Row] | None:
    """Mark prices of the stream, or what REST says of several symbols."""
    found = []
    for row in rows:
        if not isinstance(row, dict):
            return None
        name = row["s"] if row.get("e") == "markPriceUpdate" else row.get("symbol")
        if not name:
            return None
        at = int(row.get("E") or row.get("time") or row.get("timestamp") or 0)
        price = row.get("p") if "e" in row else row.get("markPrice")
        if not _known(name) or not at:
            continue
        if price and float(price):
            found.append(Row("mark", name, "", float(price), None, at))
        interest = row.get("openInterest") or row.get("sumOpenInterest")
        if interest:
            found.append(Row("open_interest", name, "", None, _size(name, interest), at))
    return found or None


def _book(symbol: str, bids: Iterable[Any], asks: Iterable[Any], at: int | None) -> Iterable[Row]:
    for side, levels in (("bid", bids), ("ask", asks)):
        for price, quantity in levels:
            yield Row("book", symbol, side, float(price), _size(symbol, quantity), at)


def _known(symbol: str) -> bool:
    """BUSD is not mapped."""
    return re.fullmatch(r"[A-Z0-9]+(USDT|USDC)(_\d{6})?|[A-Z0-9]+USD_(PERP|\d{6})", symbol) is not None


def _size(symbol: str, quantity: str) -> float:
    if "USD_" not in symbol:
        return float(quantity)
    return float(quantity) * (100 if symbol.startswith("BTC") else 10)
