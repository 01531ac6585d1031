"""Backpack: sizes and open interest are coins, times of streams microseconds; the buyer made or took."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"trade": 1, "open_interest": 1}


def expected(message: Any) -> list[Row] | None:
    if isinstance(message, list):
        if "openInterest" not in message[0]:
            return None
        return [
            Row("open_interest", row["symbol"], "", None, float(row["openInterest"]), row["timestamp"])
            for row in message
        ]
    content = message.get("data")
    if message.get("stream", "").partition(".")[0] != "trade":
        return None
    side = "sell" if content["m"] else "buy"
    return [Row("trade", content["s"], side, float(content["p"]), float(content["q"]), int(content["T"]) // 1_000)]
