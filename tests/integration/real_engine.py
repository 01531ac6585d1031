"""A real engine fed with a small market of two venues, and its server, for services that answer from its maps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from forcedmove_server.config import Config
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from tests.integration.fake_engine import eventually
from tests.unit.market_feed import minute, two_venue_registry


@asynccontextmanager
async def fed_engine(config: Config) -> AsyncIterator[Engine]:
    """An engine that has taken in three minutes and shown a map of them."""
    started = Engine(config, two_venue_registry())
    started.start()
    for number in range(3):
        started.put(minute(number))
    await eventually(lambda: started._latest is not None and started.pipeline.events["open_interest"] == 12, 60)
    yield started
    await asyncio.to_thread(started.stop)
    assert started.failure is None


@asynccontextmanager
async def served(engine: Engine, limits: Limits | None = None) -> AsyncIterator[RpcServer]:
    """A server in front of it, drained at the end."""
    running = await serve(engine, port=0, limits=limits)
    try:
        yield running
    finally:
        await running.drain(grace_s=0.2)
