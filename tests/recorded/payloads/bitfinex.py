"""Bitfinex: sizes are coins, signs are sides (the taker's of trades, the position's of liquidations).

Data come under channel numbers; the samples announce two of them. Of a liquidation the price is field 11.
"""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 4, "mark": 5, "open_interest": 3, "liquidation": 4, "book": 12}
_ANNOUNCED = {127758: ("deriv", "tBTCF0:USTF0"), 386841: ("liquidations", "")}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, list) or len(message) == 0:
        return None
    if isinstance(message[0], list):
        return _rest(message)
    if message[1] == "hb":
        return []
    if isinstance(message[0], dict):
        kind, name = message[0]["channel"], message[0].get("symbol", "")
        kind = "raw" if message[0].get("prec") == "R0" else kind
    elif isinstance(message[-1], str):
        kind, name = {"status": "deriv"}.get(message[-2], message[-2]), "t" + message[-1]
    elif message[0] in _ANNOUNCED:
        kind, name = _ANNOUNCED[message[0]]
    else:
        return None
    match kind:
        case "trades" if message[1] == "te":
            return [_trade(name, message[2])]
        case "trades" if message[1] == "tu":
            return []
        case "trades":
            return [_trade(name, row) for row in message[1]]
        case "book":
            levels = message[1] if isinstance(message[1][0], list) else [message[1]]
            return [_level(name, *level) for level in levels]
        case "deriv":
            return _status(name, message[1])
        case "liquidations":
            return [_liquidation(row) for row in message[1]]
    return None


def _rest(rows: list[list[Any]]) -> list[Row] | None:
    if rows[0][0] == "pos":
        return [_liquidation(row) for row in rows]
    if isinstance(rows[0][0], str):
        return [found for row in rows for found in _status(row[0], row[1:])]
    return None


def _trade(name: str, row: list[Any]) -> Row:
    _, at, amount, price = row
    return Row("trade", name, "buy" if amount > 0 else "sell", float(price), abs(amount), at)


def _level(name: str, price: float, orders: int, amount: float) -> Row:
    return Row("book", name, "bid" if amount > 0 else "ask", float(price), abs(amount) if orders else 0.0, None)


def _status(name: str, row: list[Any]) -> list[Row]:
    rows = []
    if len(row) > 14:
        rows.append(Row("mark", name, "", row[14], None, row[0]))
    if len(row) > 17:
        rows.append(Row("open_interest", name, "", None, row[17], row[0]))
    return rows


def _liquidation(row: list[Any]) -> Row:
    side = "long" if row[5] > 0 else "short"
    return Row("liquidation", row[4], side, float(row[11]), abs(row[5]), row[2])
