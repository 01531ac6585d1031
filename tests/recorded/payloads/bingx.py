"""BingX: linear sizes are coins, coin-margined ones contracts; open interest is USDT. Spot has the same ids."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 2, "open_interest_usd": 1}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or "success" in message:  # only spot says success
        return None
    content = message.get("data")
    if message.get("dataType", "").endswith("@trade"):
        trades = content if isinstance(content, list) else [content]
        return [
            Row(
                "trade",
                trade["s"],
                "sell" if trade["m"] else "buy",
                float(trade["p"]),
                float(trade["q"]) * (100.0 if trade["s"] == "BTC-USD" else 1.0),
                trade["T"],
            )
            for trade in trades
        ]
    if isinstance(content, dict) and "openInterest" in content:
        return [Row("open_interest_usd", content["symbol"], "", None, float(content["openInterest"]), content["time"])]
    return None
