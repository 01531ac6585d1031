"""A gateway in front of a scripted engine, over a real unix socket, in one process: the same port, hub and drain."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import grpc

from forcedmove_server.errors import GoingAwayError
from forcedmove_server.gateway.feed import TickFeed
from forcedmove_server.gateway.remote import RemoteEngine
from forcedmove_server.gateway.server import serve_gateway
from forcedmove_server.gateway.totals import GatewayTotals
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from tests.integration.fake_engine import FakeEngine, eventually

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class EngineProcess(NamedTuple):
    """What would be a process of its own."""

    address: str
    server: RpcServer
    feed: TickFeed
    totals: GatewayTotals


@asynccontextmanager
async def engine_process(
    engine: Any, limits: Limits | None = None, stalled_after_s: float = 10.0, **given: Any
) -> AsyncIterator[EngineProcess]:
    """An internal server with its feed, on a socket in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fm-") as folder:
        totals = GatewayTotals()
        feed = TickFeed(engine, totals, stalled_after_s)
        address = f"unix:{folder}/engine.sock"
        server = await serve(engine, address, limits=limits, streams=totals, internal=(feed.handler(),), **given)
        try:
            yield EngineProcess(address, server, feed, totals)
        finally:
            feed.close()
            await server.drain(grace_s=0.1)


class Gateway(NamedTuple):
    """A gateway that serves."""

    server: RpcServer
    remote: RemoteEngine
    following: asyncio.Task[None]


@asynccontextmanager
async def gateway(
    address: str, number: int = 1, limits: Limits | None = None, port: int = 0, **given: Any
) -> AsyncIterator[Gateway]:
    """A gateway in front of an engine process."""
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        remote = await RemoteEngine.connect(channel, number)
        server = await serve_gateway(remote, channel, "127.0.0.1", port, limits or Limits(), **given)
        following = asyncio.create_task(remote.run())
        try:
            yield Gateway(server, remote, following)
        finally:
            following.cancel()
            await server.drain(grace_s=0.2)
            remote.close()
            with suppress(asyncio.CancelledError, GoingAwayError, ExceptionGroup):
                await following


@asynccontextmanager
async def serving_through_gateway(
    engine: FakeEngine, limits: Limits | None = None, port: int = 0, **access: Any
) -> AsyncIterator[RpcServer]:
    """Like ``fake_engine.serving``, with a gateway in between.

    Subscriptions wait for the tick that the engine has made before them, or is about to make by itself, which is on its
    way to the gateway.
    """
    try:
        async with (
            engine_process(engine, limits) as inner,
            gateway(inner.address, limits=limits, port=port, **access) as outer,
        ):
            hub = outer.server.hub
            subscribe = hub.subscribe

            async def subscribe_then(*arguments: Any) -> None:
                made = engine._tick.number if engine._tick is not None else int(engine._interval_s is not None)
                await eventually(lambda: not made or (hub.tick is not None and hub.tick.number >= made))
                await subscribe(*arguments)

            hub.subscribe = subscribe_then  # type: ignore[method-assign]
            yield outer.server
    finally:
        engine.close()
