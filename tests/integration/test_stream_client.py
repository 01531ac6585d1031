"""The client against a real server: reconnecting, resynchronising, questions, health, and the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from forcedmove.v1 import heatmap_pb2, heatmap_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    Client,
    InvalidArgumentError,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.errors import InputError
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from tests.integration.fake_engine import FakeEngine, eventually, next_frames, serving, subscribe_request

WHOLE: dict[str, Any] = {"price_range": 0}
NAN = float("nan")


async def test_a_restarted_server_is_taken_up_with_a_snapshot(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(epoch=1)
    async with serving(engine) as server:
        engine.step()
        client = AsyncClient(f"127.0.0.1:{server.port}")
        stream = client.subscribe("BTC", **WHOLE)
        first = asyncio.create_task(anext(stream))
        await eventually(lambda: engine.watched)
        engine.step()
        assert (await first).epoch == 1
        waiting = asyncio.create_task(anext(stream))
    engine = FakeEngine(epoch=2, seed=9)
    async with serving(engine, port=server.port):
        engine.step()
        await eventually(lambda: engine.watched)
        engine.step()
        frame = await waiting
        assert (frame.epoch, frame.seq) == (2, 2)
        np.testing.assert_array_equal(frame.grid, engine.view("BTC", ViewSpec()).values)
        engine.step()
        np.testing.assert_array_equal((await anext(stream)).grid, engine.view("BTC", ViewSpec()).values)
        assert stream.stats.reconnects >= 1
        assert stream.stats.resyncs == 0
        assert "going away" in caplog.text
        await client.close()


async def test_a_stream_waits_for_the_first_map(engine: FakeEngine) -> None:
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        with pytest.raises(UnavailableError, match="no map yet"):
            await client.symbols()
        stream = client.subscribe("BTC")
        first = asyncio.create_task(anext(stream))
        await eventually(lambda: stream.stats.reconnects)
        engine.run(0.01)
        assert (await first).symbol == "BTC"


async def test_all_symbols_are_those_of_the_venue(engine: FakeEngine, client: AsyncClient) -> None:
    engine.delisted = {"BTC"}
    for arguments in ({"venues": "binance"}, {"venues": "binance", "symbols": "ETH"}):
        assert list(await client.snapshot(**arguments)) == ["ETH"]
        stream = client.subscribe(**arguments)
        first = asyncio.create_task(anext(stream))
        await eventually(lambda: engine.watched)
        engine.step()
        assert (await first).symbol == "ETH"
        await stream.aclose()
        await eventually(lambda: not engine.watched)
    for named in (["ETH", "BTC"], ["BTC"]):
        with pytest.raises(UnknownNameError, match="venue 'binance'"):
            await client.snapshot(named, venues="binance")
        with pytest.raises(UnknownNameError, match="venue 'binance'"):
            await anext(client.subscribe(named, venues="binance"))
    engine.delisted = {"BTC", "ETH"}
    with pytest.raises(UnknownNameError, match="venue 'binance'"):
        await client.snapshot(venues="binance")
    with pytest.raises(UnknownNameError, match="venue 'binance'"):
        await anext(client.subscribe(venues="binance"))


async def test_giving_up_after_the_reconnect_timeout(server: RpcServer) -> None:
    await server.drain(0)
    async with AsyncClient(f"127.0.0.1:{server.port}", reconnect_timeout_s=0.2) as client:
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port}"):
            await anext(client.subscribe("BTC"))
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port}"):
            await client.snapshot("BTC")


async def test_silence_counts_as_a_lost_connection(engine: FakeEngine) -> None:
    async with serving(engine, Limits(heartbeat_s=60)) as server:
        engine.step()
        async with AsyncClient(f"127.0.0.1:{server.port}", silence_timeout_s=0.05, reconnect_timeout_s=0.0) as client:
            with pytest.raises(UnavailableError, match=r"no message for 0\.05 s"):
                await anext(client.subscribe("BTC"))


async def test_a_frame_that_does_not_fit_is_asked_for_again(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe(["BTC", "ETH"], **WHOLE)
    first = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched)
    engine.step()
    await first
    await anext(stream)
    state = stream._states["BTC"]
    assert state._elements is not None
    broken = state._elements.copy()
    broken[0, 0] += 1
    state._elements = broken  # as if a bit had flipped: the next checksum does not match
    engine.step(changed_share=0.001)
    frames = [await anext(stream) for _ in range(2)]
    assert {frame.symbol for frame in frames} == {"BTC", "ETH"}
    assert stream.stats.resyncs == 1
    for frame in frames:
        np.testing.assert_array_equal(frame.grid, engine.view(frame.symbol, ViewSpec()).values)
    state = stream._states["ETH"]
    state.seq -= 1  # as if a frame had been lost
    engine.step(changed_share=0.001)
    while stream.stats.frames < 6:
        await anext(stream)
    assert stream.stats.resyncs == 2


async def test_frames_of_an_earlier_request_are_dropped(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe("BTC", **WHOLE)
    first = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched)
    engine.step()
    await first
    stale = heatmap_pb2.SubscribeResponse(request_id=stream._request_id - 1, skipped_frames=2)
    stale.frames.add(symbol="BTC", seq=99).update.SetInParent()  # would not fit
    await stream._accept(stale)
    assert stream.stats.resyncs == 0
    assert not stream._ready
    engine.step()
    frame = await anext(stream)
    assert (frame.skipped, stream.stats.skipped) == (0, 0)  # the server counts again from what was resumed
    np.testing.assert_array_equal(frame.grid, engine.view("BTC", ViewSpec()).values)


async def test_cancelling_a_read_does_not_end_the_stream(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe("BTC", **WHOLE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.05)
    again = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched)
    await eventually(lambda: (engine.step(), again.done())[1])
    assert (await again).symbol == "BTC"
    waiting = asyncio.create_task(caught(stream))
    await asyncio.sleep(0)
    await stream.aclose()
    assert await waiting is None


async def caught(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_questions(engine: FakeEngine, client: AsyncClient) -> None:
    maps = await client.snapshot(["ETH", "okx:BTCUSDT"], **WHOLE)
    assert list(maps) == ["ETH", "BTC"]
    np.testing.assert_array_equal(maps["BTC"].grid, engine.view("BTC", ViewSpec()).values, strict=True)
    assert maps["BTC"].assumptions
    assert list(await client.snapshot()) == ["BTC", "ETH"]
    mark = engine.latest().maps["BTC"].mark_price_usd
    bitcoin, ether = await client.symbols()
    assert (bitcoin.symbol, ether.symbol) == ("BTC", "ETH")
    assert (bitcoin.mark_price, bitcoin.open_interest_usd, bitcoin.cohorts) == (mark, 30 * mark, 21)
    venues = await client.venues()
    assert [venue.venue for venue in venues] == ["binance", "bybit", "okx"]
    rules = venues[0].rules
    assert list(rules) == ["binance:BTCUSDT", "binance:ETHUSDT"]
    rule = rules["binance:BTCUSDT"]
    assert (rule.formula, rule.confidence, rule.tiers_as_of, rule.tiers_stale) == ("L1", "DOC", "2026-09-29", True)
    assert (rule.max_leverage, rule.error_bp, rule.cross_width_share) == (125.0, 0.4, 0.1)
    assert venues[0].events == 6
    down = await client.simulate("BTC", move=-0.02)
    assert (down.side, down.shock_price, down.depth) == ("long", mark * 0.98, 1)
    assert (await client.simulate("BTC", price=mark * 2)).side == "short"


async def test_health_follows_the_first_map_and_the_drain(engine: FakeEngine) -> None:
    statuses = health_pb2.HealthCheckResponse
    server = await serve(engine, port=0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def status(service: str = "") -> int:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            return int(answer.status)

        names = ["", *(f"forcedmove.v1.{name}Service" for name in ("Heatmap", "Cascade", "Margin", "Scorecard"))]
        assert [await status(name) for name in names] == [statuses.NOT_SERVING] * 5
        stub = heatmap_pb2_grpc.HeatmapServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetSnapshot(heatmap_pb2.GetSnapshotRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert b"google.rpc.RetryInfo" in dict(refused.value.trailing_metadata())["grpc-status-details-bin"]

        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == statuses.NOT_SERVING
        engine.step()
        assert (await watch.read()).status == statuses.SERVING
        for name in names:
            await eventually_async(lambda name=name: status(name), statuses.SERVING)

        call = stub.Subscribe()
        await call.write(subscribe_request())
        await eventually(lambda: engine.watched)
        engine.step()
        await next_frames(call)
        drained = asyncio.create_task(server.drain(0.5))
        assert (await watch.read()).status == statuses.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await next_frames(call)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "going away" in (ended.value.details() or "")
        watch.cancel()
        await drained
    assert not engine.watched
    assert not engine._callbacks
    engine.close()


async def eventually_async(ask: Callable[[], Any], expected: object) -> None:
    for _ in range(200):
        if await ask() == expected:
            return
    raise AssertionError(f"never {expected}")


async def test_reflection_describes_the_services_when_asked_to(engine: FakeEngine) -> None:
    def names(server: RpcServer) -> set[str]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    services = {f"forcedmove.v1.{name}Service" for name in ("Heatmap", "Cascade", "Margin", "Scorecard")}
    async with serving(engine, reflects=True) as server:
        assert services <= await asyncio.to_thread(names, server)


async def test_a_port_in_use_is_named(engine: FakeEngine, server: RpcServer) -> None:
    with pytest.raises(InputError, match=rf"server\.port = '127\.0\.0\.1:{server.port}'"):
        await serve(engine, port=server.port)
    assert len(engine._callbacks) == 1


async def test_blocking_client(engine: FakeEngine, server: RpcServer) -> None:
    def session() -> None:
        with Client(f"127.0.0.1:{server.port}") as client:
            assert [symbol.symbol for symbol in client.symbols()] == ["BTC", "ETH"]
            assert len(client.venues()) == 3
            assert client.simulate("BTC", move=0.01).side == "short"
            assert list(client.snapshot("BTC")) == ["BTC"]
            with pytest.raises(UnknownNameError):
                client.snapshot("DOGE")
            engine.run(0.01)
            with client.subscribe("BTC", **WHOLE) as stream:
                frames = [frame for frame, _ in zip(stream, range(5), strict=False)]
            assert [frame.symbol for frame in frames] == ["BTC"] * 5
            assert stream.stats.frames >= 5
            assert list(stream) == []
            with pytest.raises(InvalidArgumentError):
                next(client.subscribe("BTC", max_rate_hz=-1))
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.symbols()

    await asyncio.to_thread(session)
