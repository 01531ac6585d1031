"""An emulated Bybit that is being traded on, for what runs as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

from forcedmove_server.collectors.records import Trade
from tests.emulator.server import EmulatorServer
from tests.emulator.truth import Truth
from tests.emulator.venues.bybit import BybitEmulator

_STEP_S = 0.01


class Market:
    """The emulator, its trades, and those of them that somebody saw who subscribed to everything."""

    def __init__(self, server: EmulatorServer, emulator: BybitEmulator) -> None:
        self.server, self.emulator = server, emulator
        self.trades: list[Trade] = []
        self.seen: list[Trade] = []

    @property
    def urls(self) -> dict[str, str]:
        return self.server.urls

    def subscribed(self) -> bool:
        """Whether every market's every topic is."""
        topics: set[str] = set().union(*(one.session.topics for one in self.server._connections["bybit"]))
        return len(topics) == 4 * len(self.emulator.listings)

    def config(self, folder: Path, more: str = "") -> Path:
        """A config file whose source is this market."""
        urls = "\n".join(f'"{host}" = "{base}"' for host, base in self.urls.items())
        file = folder / "live.toml"
        file.write_text(
            f'{more}\n[[sources]]\nkind = "live"\nname = "live"\nvenues = ["bybit"]\nsymbols = ["BTC", "ETH"]\n'
            f"[sources.urls]\n{urls}\n"
        )
        return file


@contextlib.asynccontextmanager
async def traded_market() -> AsyncIterator[Market]:
    """Trade on it all the time."""
    emulator = BybitEmulator(BybitEmulator.native_ids(("BTC", "ETH")))
    truth = Truth(emulator.listings, seed=5)
    async with EmulatorServer([emulator]) as server:
        market = Market(server, emulator)

        async def trade() -> None:
            for event in truth.initial(time.time_ns()):
                server.publish("bybit", event)
            for step in itertools.count():
                for mark in truth.marks(time.time_ns()) if step % 20 == 0 else ():
                    server.publish("bybit", mark)
                event = truth.event(time.time_ns())
                if isinstance(event, Trade):
                    market.trades.append(event)
                    market.seen += [event] if market.subscribed() else []
                server.publish("bybit", event)
                await asyncio.sleep(_STEP_S)

        trading = asyncio.create_task(trade())
        try:
            yield market
        finally:
            trading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await trading
