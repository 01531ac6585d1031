"""What a stream promises: every frame or the newest, credit, cut-offs, resuming, fragments, formats, farewells."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import heatmap_pb2, heatmap_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    HistoryGoneError,
    InvalidArgumentError,
    MapFrame,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_client.assembly import SymbolState
from forcedmove_client.checking import StreamChecker
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.limits import Limits
from tests.integration.fake_engine import FakeEngine, eventually, serving, subscribe_request
from tests.integration.faulty_wire import faulty_wire

WHOLE: dict[str, Any] = {"price_range": 0}
EVERY: dict[str, Any] = {"price_range": 0, "delivery": "every"}
ALL_AXES = ("venue", "side", "leverage")
Response = heatmap_pb2.SubscribeResponse


def heatmaps(channel: Any) -> Any:
    return heatmap_pb2_grpc.HeatmapServiceStub(channel)


async def drained(stream: Any) -> None:
    async for _ in stream:
        pass


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def first_of(engine: FakeEngine, stream: Any) -> MapFrame:
    """Return a stream's first frame; it comes with the tick after the subscription."""
    pending = asyncio.ensure_future(anext(stream))
    before = engine.watched.total()
    await eventually(lambda: engine.watched.total() > before or pending.done())
    engine.step()
    return await pending


async def response_with(call: Any, field: str) -> Response:
    """Read on until a response has a field."""
    async with asyncio.timeout(10):
        while True:
            response = await call.read()
            if field == "frames" and response.frames:
                return response
            if field != "frames" and response.HasField(field):
                return response


async def test_every_frame_comes_although_nobody_reads_for_a_while(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        stream = client.subscribe("BTC", checker=checker, **EVERY)
        first = await first_of(engine, stream)
        engine.step(100)
        frames = [await anext(stream) for _ in range(100)]
        assert [frame.seq for frame in frames] == list(range(first.seq + 1, first.seq + 101))
        np.testing.assert_array_equal(frames[-1].grid, engine.view("BTC", ViewSpec()).values)
        assert (stream.stats.skipped, stream.stats.resyncs, checker.problems) == (0, 0, [])


async def test_a_reader_of_every_frame_that_falls_too_far_behind_is_cut_off_and_told_where(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(every_frames=8)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        engine.step()
        call = heatmaps(channel).Subscribe()
        await call.write(subscribe_request(symbols=["BTC"], delivery=heatmap_pb2.DELIVERY_EVERY, max_unacked=1))
        terms = (await response_with(call, "terms")).terms
        assert (terms.max_behind_frames, terms.max_unacked, terms.stalled_after_ms) == (8, 1, 10_000)
        await eventually(lambda: engine.watched)
        engine.step()
        (frame,) = (await response_with(call, "frames")).frames
        engine.step(9)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = dict(await call.trailing_metadata())["grpc-status-details-bin"]
        for told in (b"google.rpc.ErrorInfo", b"SLOW_CONSUMER", b"last_seq", f"BTC={frame.seq}".encode(), b"epoch"):
            assert told in details
        assert b"RetryInfo" not in details  # it may resume at once


async def test_a_resumed_stream_of_every_frame_has_what_came_meanwhile(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with (
        serving(engine) as server,
        faulty_wire(server.port) as wire,
        AsyncClient(f"127.0.0.1:{wire.port}") as client,
    ):
        engine.step()
        stream = client.subscribe(["BTC", "ETH"], checker=checker, **EVERY)
        await first_of(engine, stream)
        await anext(stream)
        for _ in range(3):
            wire.cut()
            await eventually(lambda: not server.hub._readers)
            engine.step(5)
            frames = [await anext(stream) for _ in range(10)]
            assert [frame.skipped for frame in frames] == [0] * 10
        assert {stream._states[symbol].seq for symbol in ("BTC", "ETH")} == {engine.latest().maps["BTC"].seq}
        assert (checker.problems, checker.gaps, stream.stats.reconnects) == ([], 0, 3)


async def test_views_are_kept_for_readers_that_come_back_and_not_for_longer(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(resume_window_s=0.05)) as server,
        faulty_wire(server.port) as wire,
        AsyncClient(f"127.0.0.1:{wire.port}") as client,
    ):
        engine.step()
        stream = client.subscribe("BTC", **EVERY)
        await first_of(engine, stream)
        wire.cut()
        await eventually(lambda: not server.hub._topics)
        assert not engine.watched
        engine.run(0.01)
        with pytest.raises(HistoryGoneError, match=r"resume_seq of BTC = 2: .*not kept"):
            await anext(stream)
        assert (await anext(stream)).seq > 2  # it goes on with a snapshot


async def test_kept_views_make_room_for_those_that_are_read(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(max_views=1)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        engine.step()
        await first_of(engine, stream := client.subscribe("BTC", **EVERY))
        await stream.aclose()
        await eventually(lambda: not server.hub._readers)
        engine.run(0.01)
        assert (await anext(client.subscribe("ETH", **WHOLE))).symbol == "ETH"
        assert list(engine.watched) == [("ETH", ViewSpec())]


async def test_every_frame_after_a_restart_is_out_of_range_once(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with serving(engine) as server:
        client = AsyncClient(f"127.0.0.1:{server.port}")
        engine.step()
        stream = client.subscribe("BTC", checker=checker, **EVERY)
        await first_of(engine, stream)
    async with serving(FakeEngine(epoch=2), port=server.port) as again:
        again.hub._engine.run(0.01)  # type: ignore[attr-defined]
        with pytest.raises(HistoryGoneError, match="resume_epoch = 1: the server has restarted, its epoch is 2"):
            await anext(stream)
        assert (await anext(stream)).epoch == 2
        assert checker.problems == []
        await client.close()


async def test_what_a_resumed_reader_of_the_newest_missed_is_told(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with (
        serving(engine) as server,
        faulty_wire(server.port) as wire,
        AsyncClient(f"127.0.0.1:{wire.port}") as client,
        AsyncClient(f"127.0.0.1:{server.port}") as direct,
    ):
        engine.step()
        stream = client.subscribe("BTC", checker=checker, **WHOLE)
        other = direct.subscribe("BTC", **WHOLE)  # keeps the view alive
        await first_of(engine, other)
        await first_of(engine, stream)
        before = stream._states["BTC"].seq
        wire.cut()
        await eventually(lambda: len(server.hub._readers) == 1)
        engine.step(6)
        frame = await anext(stream)
        assert frame.seq == engine.latest().maps["BTC"].seq
        assert frame.skipped == checker.gaps == frame.seq - before - 1 > 4
        assert checker.problems == []


async def test_no_more_responses_than_agreed_are_on_their_way(engine: FakeEngine) -> None:
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        call = heatmaps(channel).Subscribe()
        await call.write(subscribe_request(symbols=["BTC"], max_unacked=2))
        await eventually(lambda: engine.watched)
        for _ in range(6):
            engine.step()
            await asyncio.sleep(0.01)
        (reader,) = server.hub._readers
        assert reader.number == 2
        numbers, skipped = [], 0
        for _ in range(3):
            response = await response_with(call, "frames")
            numbers.append(response.number)
            skipped += response.skipped_frames
            if response.number == 2:
                await call.write(heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=2)))
        assert (numbers, skipped) == ([1, 2, 3], 3)
        await call.write(heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=9)))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await call.details() == "ack.number = 9: the newest response has number 3"


async def test_a_consumer_that_stops_is_cut_off_and_goes_on_when_it_comes_back(engine: FakeEngine) -> None:
    checker = StreamChecker()
    limits = Limits(stalled_after_s=0.1, heartbeat_s=0.03)
    async with serving(engine, limits) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        engine.run(0.005)
        stream = client.subscribe("BTC", checker=checker, **WHOLE)
        await anext(stream)
        await eventually(lambda: not server.hub._readers)
        for _ in range(20):
            frame = await anext(stream)
        assert (stream.stats.cut_offs, stream.stats.reconnects) == (1, 0)
        assert (frame.seq > 1, checker.gaps > 0, checker.problems) == (True, True, [])


async def test_a_reader_without_acknowledgements_is_cut_off_when_the_wire_is_full(engine: FakeEngine) -> None:
    engine.close()
    engine = FakeEngine(bins=50_000)
    options = (("grpc.http2.bdp_probe", 0),)
    async with (
        serving(engine, Limits(stalled_after_s=0.2)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel,
    ):
        engine.step()
        call = heatmaps(channel).Watch(heatmap_pb2.WatchRequest(subscription=heatmap_pb2.Subscription(symbols=["BTC"])))
        await eventually(lambda: engine.watched)
        await eventually(lambda: (engine.step(changed_share=0.9), not server.hub._readers)[1])
        with pytest.raises(grpc.aio.AioRpcError, match=r"slow consumer: nothing was read for 0\.2 s") as caught:
            await read_all(call)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_who_was_cut_off_and_does_not_read_it_keeps_its_place(engine: FakeEngine) -> None:
    """Else any number of them could each leave a message in the server's memory."""
    engine.close()
    engine = FakeEngine(bins=50_000)
    async with (
        asyncio.timeout(20),
        serving(engine, Limits(stalled_after_s=0.2, max_streams=2)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", (("grpc.http2.bdp_probe", 0),)) as channel,
    ):
        engine.step()
        wanted = heatmap_pb2.WatchRequest(subscription=heatmap_pb2.Subscription(symbols=["BTC"]))
        stalled = [heatmaps(channel).Watch(wanted) for _ in range(2)]
        await eventually(lambda: len(server.hub._readers) == 2)
        await eventually(lambda: (engine.step(changed_share=0.9), not server.hub._readers)[1])
        with pytest.raises(grpc.aio.AioRpcError, match="2 streams are open, which is this server's limit"):
            await read_all(heatmaps(channel).Watch(wanted))
        stalled[0].cancel()
        await eventually(lambda: server.hub.streams == 1)
        assert (await heatmaps(channel).Watch(wanted).read()).HasField("terms")


async def test_views_that_were_replaced_are_not_kept_for_who_comes_back(engine: FakeEngine) -> None:
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        stream = client.subscribe("BTC", **EVERY)
        await first_of(engine, stream)
        for percent in range(1, 6):
            await stream.change(price_range=percent / 100)
            pending = asyncio.ensure_future(anext(stream))
            await eventually(lambda pending=pending: (engine.step(), pending.done())[1])
        assert server.hub.views == 1
        await stream.aclose()
        await eventually(lambda: not server.hub._readers)
        assert server.hub.views == 1  # kept for a while


async def test_what_is_left_of_a_long_frame_is_not_sent_once_something_else_is_wanted(engine: FakeEngine) -> None:
    limits = Limits(max_message_bytes=300)
    async with serving(engine, limits) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        call = heatmaps(channel).Subscribe()
        await call.write(subscribe_request(1, symbols=["BTC"], max_unacked=1))
        await eventually(lambda: engine.watched)
        engine.step()
        assert (await response_with(call, "fragment")).fragment.count > 2
        await call.write(subscribe_request(2, symbols=["ETH"], max_unacked=8))
        assert (await response_with(call, "terms")).request_id == 2
        await call.write(heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=1)))
        await eventually(lambda: {symbol for symbol, _ in list(engine.watched)} == {"ETH"})
        engine.step()
        response = await response_with(call, "fragment")
        assert (response.request_id, response.fragment.index) == (2, 0)


async def test_symbols_in_another_order_are_the_same(engine: FakeEngine) -> None:
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        one, other = (client.subscribe(symbols, **WHOLE) for symbols in (("BTC", "ETH"), ("ETH", "BTC")))
        await first_of(engine, one)
        assert (await anext(other)).seq >= 1
        assert (len(server.hub._flocks), server.hub.views, server.hub.subscribers) == (1, 2, 2)


async def test_watch_brings_what_subscribe_brings(engine: FakeEngine) -> None:
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        wanted = heatmap_pb2.Subscription(symbols=["BTC"], max_rate_hz=0)
        call = heatmaps(channel).Watch(heatmap_pb2.WatchRequest(subscription=wanted))
        assert (await call.read()).terms.delivery == heatmap_pb2.DELIVERY_LATEST
        await eventually(lambda: engine.watched)
        state = SymbolState()
        for number in range(1, 4):
            engine.step()
            response = await response_with(call, "frames")
            assert (response.number, response.request_id) == (number, 0)
            made = state.apply(response.frames[0])
        np.testing.assert_array_equal(made.grid, engine.view("BTC", ViewSpec()).values)
        heads = (await response_with(call, "heartbeat")).heartbeat.head_seq
        assert dict(heads) == {"BTC": made.seq}
        refused = heatmaps(channel).Watch(
            heatmap_pb2.WatchRequest(subscription=heatmap_pb2.Subscription(max_unacked=1))
        )
        with pytest.raises(grpc.aio.AioRpcError, match=r"subscription.max_unacked = 1: must be 0"):
            await refused.read()


async def test_a_stream_changes_what_it_wants_and_pings(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.run(0.01)
        stream = client.subscribe("BTC", checker=checker, **WHOLE)
        await anext(stream)
        await stream.change(symbols=["ETH", "BTC"])
        assert {(await anext(stream)).symbol for _ in range(6)} == {"BTC", "ETH"}
        await stream.change(symbols="ETH", keep="venue")
        assert {((await anext(stream)).symbol, frame.axes) for _ in range(3) if (frame := await anext(stream))} == {
            ("ETH", ("venue", "price"))
        }
        ping = asyncio.create_task(stream.ping())
        while not ping.done():
            await anext(stream)
        assert 0 < ping.result() < 10
        assert checker.problems == []
        with pytest.raises(InvalidArgumentError, match="max_unacked = 65"):
            await stream.change(max_unacked=65)
        await stream.change(symbols="nothing")
        with pytest.raises(UnknownNameError):
            await drained(stream)


async def test_a_ping_without_a_connection_says_so(client: AsyncClient) -> None:
    with pytest.raises(UnavailableError, match="no connection"):
        await client.subscribe("BTC").ping()


async def test_too_many_pings_are_refused(engine: FakeEngine) -> None:
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = heatmaps(channel).Subscribe()
        await eventually(lambda: server.hub._readers)
        (reader,) = server.hub._readers
        reader.pings.extend(range(16))  # nobody has woken the writer
        await call.write(heatmap_pb2.SubscribeRequest(ping=heatmap_pb2.Ping(nonce=17)))
        assert "pings wait for their pongs" in await call.details()


async def test_a_server_that_goes_away_says_so_on_the_stream(engine: FakeEngine) -> None:
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        call = heatmaps(channel).Subscribe()
        await call.write(subscribe_request(symbols=["BTC"]))
        await response_with(call, "terms")
        draining = asyncio.create_task(server.drain(grace_s=5))
        assert (await response_with(call, "going_away")).going_away.retry_after_ms == 500
        with pytest.raises(grpc.aio.AioRpcError, match="going away") as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        await draining
