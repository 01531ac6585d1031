"""Aster perpetuals (https://asterdex.github.io/aster-api-website/futures-v3/market-data/), on Binance's wire.

One path has all streams; quantities are coins. ``S`` of ``forceOrder`` is the side of the order, and at most one order
a symbol and second is published, as on Binance. Single trades of the insurance fund are left out. Open interest has no
stream: ``/fapi/v3/openInterest``, in coins and of one side, answers though neither the documentation nor ccxt has it.
ccxt has no liquidations of Aster. That aggregate trades are numbered without holes is not established here.

Symbols that begin with TEST are the venue's own tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.venue import ALL_CHANNELS, listing_of
from forcedmove_server.collectors.venues.binance import BinanceFutures, stream_of
from forcedmove_server.market.instruments import ContractType

_PERPETUAL = re.compile(r"(?!TEST)(?P<coin>[^\W_a-z]+?)(?P<quote>USDT|USD1|USDC|USDF)")


class Aster(BinanceFutures):
    """Linear perpetuals."""

    name = "aster"
    exchanges = ("aster",)
    streams = (stream_of("futures", "wss://fstream.asterdex.com/stream", ALL_CHANNELS, ContractType.LINEAR),)
    rest: ClassVar[Mapping[ContractType, str]] = {ContractType.LINEAR: "https://fapi.asterdex.com/fapi/v3"}
    rest_weight_per_s = 10.0  # the limit is 2400 a minute

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSDT``, ``BTCUSD1``: all are linear perpetuals."""
        match = _PERPETUAL.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], match["quote"]) if match else None

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """As ccxt has it, less the venue's test symbols."""
        return None if str(market["id"]).startswith("TEST") else super().adopt(market)


VENUE = Aster
