"""Streams through a real server: what a reader has is what the engine has, bit for bit."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import heatmap_pb2_grpc, model_pb2
from forcedmove_client import AsyncClient, MapFrame, Subscription
from forcedmove_client.assembly import SymbolState
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import LEVERAGES, FakeEngine, eventually, next_frames, serving, subscribe_request

WHOLE: dict[str, Any] = {"price_range": 0}


async def started(engine: FakeEngine, stream: Subscription) -> MapFrame:
    """Return a stream's first frame: the engine ticks once its wish has arrived."""
    before = engine.watched.total()
    first = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched.total() > before)
    engine.step()
    return await first


async def caught_up(engine: FakeEngine, stream: Subscription, symbol: str = "BTC") -> MapFrame:
    """Read until the newest frame of a symbol."""
    while True:
        frame = await anext(stream)
        if frame.symbol == symbol and frame.seq == engine.latest().maps[symbol].seq:
            return frame


VIEWS = [
    ViewSpec(),
    ViewSpec(keep=("venue", "side", "leverage", "price")),
    ViewSpec(venues=("okx", "binance"), keep=("venue", "price")),
    ViewSpec(sides=("short",), leverage_min=5, leverage_max=25, keep=("leverage", "price"), weighting="fresh"),
    ViewSpec(price_range_fraction=0.25),
]


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: "-".join(spec.keep))
async def test_deltas_add_up_to_the_map(engine: FakeEngine, client: AsyncClient, spec: ViewSpec) -> None:
    random = np.random.default_rng(5)
    stream = client.subscribe(
        ["BTC"],
        venues=spec.venues,
        sides=spec.sides,
        leverage=(spec.leverage_min, spec.leverage_max),
        keep=spec.keep,
        weighting=spec.weighting,
        price_range=spec.price_range_fraction,
    )
    spec = dataclasses.replace(spec, venues=tuple(v for v in engine.venues if v in spec.venues))  # the registry's order
    frame = await started(engine, stream)
    for _ in range(60):
        rendered = engine.view("BTC", spec)
        np.testing.assert_array_equal(frame.grid, rendered.values, strict=True)
        assert (frame.axes, frame.venues, frame.sides) == (rendered.axes, rendered.venues, rendered.sides)
        assert frame.leverages == rendered.leverages
        assert frame.price_low[1] == rendered.first_bin * rendered.bin_width_usd
        assert frame.seq == engine.latest().maps["BTC"].seq
        assert not frame.grid.flags.writeable
        if random.random() < 0.1:
            engine.recentre("BTC", int(random.integers(-3, 4)))
        engine.step(changed_share=float(random.choice([0.0, 0.001, 0.02, 0.9])))
        frame = await anext(stream)
    assert stream.stats.resyncs == stream.stats.skipped == stream.stats.reconnects == 0


async def test_a_frame_says_what_the_engine_knows(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe("binance:BTCUSDT", **WHOLE)
    frame = await started(engine, stream)
    for _ in range(2):
        newest = engine.latest().maps["BTC"]
        assert frame.event_time == np.datetime64(newest.event_time_ns, "ns")
        assert frame.published_time == np.datetime64(engine.latest().published_ns, "ns")
        assert (frame.mark_price, frame.coverage, frame.epoch) == (newest.mark_price_usd, 0.75, 1)
        assert (frame.price_low[0], frame.price_high[-1]) == (0.0, np.inf)
        assert frame.price_low.size == frame.grid.shape[-1]
        assert [market.market for market in frame.markets] == ["binance:BTCUSDT", "bybit:BTCUSDT", "okx:BTCUSDT"]
        assert frame.markets[0].open_interest_age_ms == 900
        assert [cluster.side for cluster in frame.clusters] == ["long", "short"]
        assert frame.clusters[0].venues == {"binance": 2e6}
        assert frame.next_down is not None
        assert frame.next_down.levels[0].venues == ("binance", "okx")
        assert frame.next_up is None
        # assumptions travel with snapshots only, and are carried over
        assert [(a.name, a.value) for a in frame.assumptions] == [("turnover", 0.2), ("prior", None)]
        engine.step()
        frame = await anext(stream)


async def test_no_symbols_means_all_also_later_ones(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe(**WHOLE)
    seen = {(await started(engine, stream)).symbol, (await anext(stream)).symbol}
    assert seen == {"BTC", "ETH"}
    engine.add_symbol("SOL")
    engine.step(2)  # one tick makes the symbol known, the next one has its view
    await eventually(lambda: ("SOL", ViewSpec()) in engine.watched)
    engine.step()
    frame = await caught_up(engine, stream, "SOL")
    np.testing.assert_array_equal(frame.grid, engine.view("SOL", ViewSpec()).values)


async def test_a_joiner_gets_the_latest_frame_at_once(engine: FakeEngine, client: AsyncClient) -> None:
    first = client.subscribe("BTC", **WHOLE)
    await started(engine, first)
    engine.step()
    joined = await anext(client.subscribe("BTC/USDT:USDT", **WHOLE))
    np.testing.assert_array_equal(joined.grid, (await anext(first)).grid)


async def test_twenty_readers_share_one_encoding(engine: FakeEngine, server: RpcServer, client: AsyncClient) -> None:
    streams = [client.subscribe(["BTC", "ETH"], **WHOLE) for _ in range(20)]
    firsts = [asyncio.create_task(anext(stream)) for stream in streams]
    await eventually(lambda: len(server.hub._readers) == 20 and all(r.subscription for r in server.hub._readers))
    assert engine.watched.total() == 2
    engine.step()
    await asyncio.gather(*firsts)
    counts = dataclasses.replace(server.hub.counts)
    for _ in range(10):
        engine.step()
        expected = engine.latest().maps["ETH"].seq
        frames = await asyncio.gather(*(caught_up(engine, stream, "ETH") for stream in streams))
        assert {frame.seq for frame in frames} == {expected}
    assert server.hub.counts.deltas - counts.deltas == 20  # 2 symbols, 10 ticks, whatever the number of readers
    assert server.hub.counts.symbols - counts.symbols == 20
    assert server.hub.counts.snapshots == counts.snapshots


async def test_leaving_gives_every_watch_back(engine: FakeEngine, server: RpcServer, client: AsyncClient) -> None:
    for _ in range(3):
        streams = [client.subscribe(**WHOLE), client.subscribe("BTC", keep="venue"), client.subscribe("ETH", **WHOLE)]
        firsts = [asyncio.create_task(anext(stream)) for stream in streams]
        await eventually(lambda: engine.watched.total() == 3)
        engine.step()
        await asyncio.gather(*firsts)
        await streams[0].aclose()
        await eventually(lambda: engine.watched.total() == 2)
        await streams[1].aclose()
        engine.step()
        pending = asyncio.create_task(caught_up(engine, streams[2], "SOL"))  # never comes
        await asyncio.sleep(0)
        pending.cancel()
        await eventually(lambda: not engine.watched)
        await eventually(lambda: not server.hub._readers)
        assert not server.hub._topics
        dropped = client.subscribe("BTC", **WHOLE)
        await started(engine, dropped)
        del dropped  # as after a break out of the loop
        await eventually(lambda: not engine.watched)


async def test_a_vanished_connection_gives_every_watch_back(engine: FakeEngine, server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
        await call.write(subscribe_request())
        await eventually(lambda: engine.watched)
    await eventually(lambda: not engine.watched)


async def test_a_slow_reader_skips_and_is_told(engine: FakeEngine) -> None:
    engine = replaced(engine, FakeEngine(bins=20_000))
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
        await call.write(subscribe_request())
        await eventually(lambda: engine.watched)
        first = engine.latest().number
        (reader,) = server.hub._readers
        # 160 kB per frame and nobody reads: the transport fills up, then the slots
        await eventually(lambda: (engine.step(changed_share=0.9), reader._skipped > 50)[1])
        last = engine.latest()
        states = {"BTC": SymbolState(), "ETH": SymbolState()}
        received = skipped = 0
        while any(state.seq < last.maps[symbol].seq for symbol, state in states.items()):
            response = await call.read()
            skipped += response.skipped_frames
            for frame in response.frames:
                states[frame.symbol].apply(frame)  # raises where a delta does not fit
                received += 1
        assert skipped > 50
        assert received + skipped == 2 * (last.number - first)  # nothing is lost without being counted
        for symbol, state in states.items():
            np.testing.assert_array_equal(state._elements, engine.view(symbol, ViewSpec()).values)
        engine.step(changed_share=0.001)  # and from here on it gets deltas again
        response = await next_frames(call)
        assert [frame.HasField("update") for frame in response.frames] == [True, True]
        call.cancel()


async def test_max_rate_holds_back_without_calling_it_skipped(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe("BTC", max_rate_hz=20, **WHOLE)
    await started(engine, stream)
    loop = asyncio.get_running_loop()
    begin, frames = loop.time(), 0
    engine.run(0.002)
    while loop.time() - begin < 0.5:
        await anext(stream)
        frames += 1
    assert 5 <= frames <= 12
    assert stream.stats.skipped == stream.stats.resyncs == 0


async def test_heartbeats_while_nothing_changes(engine: FakeEngine) -> None:
    async with serving(engine, Limits(heartbeat_s=0.05)) as server:
        engine.step()
        engine.missed_ticks = 7
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
            await call.write(subscribe_request(5, symbols=["BTC"]))
            await eventually(lambda: engine.watched)
            await call.read()  # may be from before the request came
            for _ in range(3):
                response = await call.read()
                assert not response.frames
                assert response.request_id == 5
                assert response.heartbeat.tick == engine.latest().number
                assert response.heartbeat.event_time_ns == engine.latest().event_time_ns
                assert response.heartbeat.missed_ticks == 7
            call.cancel()


async def test_missed_ticks_are_told_also_on_a_busy_stream(engine: FakeEngine) -> None:
    async with serving(engine, Limits(heartbeat_s=0.05)) as server:
        engine.missed_ticks = 3
        engine.run(0.005)
        async with AsyncClient(f"127.0.0.1:{server.port}") as client, asyncio.timeout(10):
            stream = client.subscribe("BTC", **WHOLE)
            while stream.stats.missed_ticks != 3:
                await anext(stream)


async def test_a_later_request_replaces_the_subscription(engine: FakeEngine, server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
        await call.write(subscribe_request(symbols=["BTC"]))
        await eventually(lambda: engine.watched.keys() == {("BTC", ViewSpec())})
        engine.step()
        response = await next_frames(call)
        assert ([frame.symbol for frame in response.frames], response.request_id) == (["BTC"], 1)
        engine.step()  # on its way when the next request comes
        await eventually(lambda: not any(reader.has_news() for reader in server.hub._readers))
        view = model_pb2.MapView(keep_axes=[model_pb2.AXIS_LEVERAGE])
        await call.write(subscribe_request(2, symbols=["ETH"], view=view))
        spec = ViewSpec(keep=("leverage", "price"))
        await eventually(lambda: engine.watched.keys() == {("ETH", spec)})
        engine.step()
        response = await next_frames(call)
        assert ([frame.symbol for frame in response.frames], response.request_id) == (["BTC"], 1)
        response = await next_frames(call)
        (frame,) = response.frames
        assert (frame.symbol, list(frame.axes[0].leverages)) == ("ETH", list(LEVERAGES))
        assert response.request_id == 2
        call.cancel()


async def test_resume_continues_with_a_delta_where_nothing_was_missed(engine: FakeEngine, server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = heatmap_pb2_grpc.HeatmapServiceStub(channel)
        keeper = stub.Subscribe()  # another reader keeps the views alive
        await keeper.write(subscribe_request())
        await eventually(lambda: engine.watched.total() == 2)
        engine.step()
        seqs = {frame.symbol: frame.seq for frame in (await next_frames(keeper)).frames}
        resume = {"BTC": seqs["BTC"], "ETH": seqs["ETH"] - 1, "NOPE": 3}
        call = stub.Subscribe()
        await call.write(subscribe_request(resume_epoch=1, resume_seq=resume))
        (frame,) = (await next_frames(call)).frames
        assert (frame.symbol, frame.HasField("grid")) == ("ETH", True)  # BTC is up to date
        engine.step()
        frames = {frame.symbol: frame for frame in (await next_frames(call)).frames}
        assert (frames["BTC"].prev_seq, frames["BTC"].HasField("update")) == (seqs["BTC"], True)
        other_epoch = stub.Subscribe()
        await other_epoch.write(subscribe_request(resume_epoch=2, resume_seq=resume))
        assert len((await next_frames(other_epoch)).frames) == 2
        for open_call in (keeper, call, other_epoch):
            open_call.cancel()


async def test_long_messages_are_split_at_frames(engine: FakeEngine) -> None:
    engine = replaced(engine, FakeEngine(("BTC", "ETH", "SOL"), bins=50_000))  # 400 kB per frame
    async with serving(engine) as server:
        engine.step()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
            await call.write(subscribe_request())
            await eventually(lambda: engine.watched.total() == 3)
            engine.step()
            first, second = await next_frames(call), await next_frames(call)
            assert [len(first.frames), len(second.frames)] == [2, 1]
            assert max(first.ByteSize(), second.ByteSize()) <= 1 << 20
            call.cancel()


def replaced(old: FakeEngine, new: FakeEngine) -> FakeEngine:
    old.close()
    return new
