"""Aster (https://asterdex.github.io/aster-api-website/futures-v3/): Binance's wire on one path, linear contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from forcedmove_server.collectors.venues.aster import Aster
from tests.emulator.venue import Answer, RestRequest
from tests.emulator.venues.binance import BinanceEmulator


class AsterEmulator(BinanceEmulator):
    """Linear perpetuals, and the symbol that the venue tests itself with."""

    collector = Aster
    hosts = frozenset({"fstream.asterdex.com", "fapi.asterdex.com", "sapi.asterdex.com"})
    numbered = False
    places = ("fstream.asterdex.com", "fstream.asterdex.com", "")
    rest: ClassVar[tuple[str, ...]] = ("/fapi/v3",)

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}USDT" for s in symbols] + ["BTCUSD1"]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/api/v3/exchangeInfo":  # spot
            return Answer({"timezone": "UTC", "symbols": []})
        answer = super().answer(request)
        if answer is not None and request.path == "/fapi/v3/exchangeInfo":
            first: dict[str, Any] = answer.content["symbols"][0]
            answer.content["symbols"].append({**first, "symbol": "TESTUSDT", "pair": "TESTUSDT", "baseAsset": "TEST"})
        return answer


EMULATOR = AsterEmulator
