"""Health and GetServerStatus through a real server and the real client."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from forcedmove_client import AsyncClient, Client, Health, UnavailableError
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.rpc.server import SERVICES, serve
from forcedmove_server.rpc.server_status import EngineFigures
from tests.integration.fake_engine import FakeEngine, eventually, serving


async def test_every_service_serves_from_the_first_map_until_the_drain() -> None:
    engine = FakeEngine()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        names = ("", *SERVICES)
        assert {await client.health(name) for name in names} == {Health.NOT_SERVING}
        engine.step()
        await eventually(lambda: server.hub.tick)
        for name in names:
            async with asyncio.timeout(5):
                while await client.health(name) is not Health.SERVING:  # noqa: ASYNC110  a state of the server
                    await asyncio.sleep(0.002)
        assert await client.health("forcedmove.v1.NoSuchService") is Health.SERVICE_UNKNOWN
        assert await client.health("x" * 300) is Health.SERVICE_UNKNOWN  # a length of two bytes
        await server._health.enter_graceful_shutdown()
        assert {await client.health(name) for name in names} == {Health.NOT_SERVING}


async def test_health_of_nobody_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(UnavailableError):
            await client.health(timeout_s=1.0)


async def test_status_before_the_first_map() -> None:
    async with serving(FakeEngine()) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        status = await client.server_status()
    assert (status.ticks, status.symbols, status.streams) == (0, 0, 0)
    assert np.isnat(status.event_time)
    assert status.resident_bytes > 1 << 20
    assert {each.kind for each in status.questions} == {"scan", "forecast"}


async def test_status_counts_what_streams_get() -> None:
    engine = FakeEngine()
    engine.step()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        async with client.subscribe("BTC") as frames:
            waiting = asyncio.ensure_future(anext(frames))
            await eventually(lambda: server.hub.views == 1)
            engine.step()  # a view that nobody read before comes with the next tick
            first = await waiting
            engine.step()
            await anext(frames)
            await eventually(lambda: server.hub.traffic.frames == 2)
            status = await client.server_status()
        assert (status.streams, status.subscribers, status.views) == (1, 1, 1)
        assert (status.ticks, status.symbols, status.sent_frames, status.conflated_frames) == (3, 2, 2, 0)
        assert status.sent_bytes > first.grid.size  # at least a byte per cell: the first frame is whole
        assert str(status.event_time) == str(np.datetime64(engine.latest().event_time_ns, "ns"))
        encode = next(each for each in status.stages if each.stage == "encode")
        assert encode.count >= 1
        assert 0 < encode.last_s <= encode.sum_s
        await eventually(lambda: server.hub.streams == 0)
        assert (await client.server_status()).views == 0


async def test_what_the_engines_owner_knows_is_told() -> None:
    engine, stages = FakeEngine(), StageTimes("map")
    stages.timed("map", sum, range(1_000))
    stages.end_tick()
    figures = EngineFigures("cuda", stages.read, lambda: (3, 10))
    server = await serve(engine, port=0, figures=figures)
    try:
        async with AsyncClient(f"127.0.0.1:{server.port}") as client:
            status = await client.server_status()
    finally:
        await server.drain(0.1)
        engine.close()
    assert (status.backend, status.device_used_bytes, status.device_total_bytes) == ("cuda", 3, 10)
    assert [(each.stage, each.count) for each in status.stages] == [("map", 1), ("encode", 0), ("publish", 0)]


async def test_the_blocking_client_has_both() -> None:
    async with serving(FakeEngine()) as server:

        def ask() -> tuple[Health, int]:
            with Client(f"127.0.0.1:{server.port}") as client:
                return client.health(), client.server_status().ticks

        assert await asyncio.to_thread(ask) == (Health.NOT_SERVING, 0)
