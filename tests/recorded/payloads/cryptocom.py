"""Crypto.com: sizes are coins; most of the samples are of spot, which is not read."""

from __future__ import annotations

from typing import Any

from tests.recorded.payloads import Row

AT_LEAST = {"open_interest": 2}


def expected(message: Any) -> list[Row] | None:
    if not isinstance(message, dict) or not isinstance(message.get("result"), dict):
        return None
    result = message["result"]
    channel = result.get("channel") or message.get("method")
    if channel in ("ticker", "public/get-tickers"):
        return [
            Row("open_interest", row["i"], "", None, float(row["oi"]), row["t"])
            for row in result["data"]
            if row["i"].endswith("USD-PERP")
        ]
    if channel in ("trade", "book", "book.update", "public/get-trades"):
        names = {row.get("i", result.get("instrument_name")) for row in result["data"]}
        assert not any(name.endswith("-PERP") for name in names), "of trades and books all samples are of spot"
        return []
    return None
