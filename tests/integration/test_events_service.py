"""EventService over gRPC: a real server and the real client, a log that a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import events_pb2, events_pb2_grpc
from forcedmove_client import AsyncClient, Client, HistoryGoneError, InvalidArgumentError, UnknownNameError
from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.engine.clusters.log import EventLog
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.unit.event_samples import OUTCOME, START_NS, event


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine()
    made.events = EventLog(made.epoch, kept=200)
    return made


def log(engine: FakeEngine, count: int, **other: Any) -> None:
    for _ in range(count):
        engine.events.append(event(engine.events.next_seq, engine.epoch, **other))


async def taken(stream: AsyncIterator[Any], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(stream), 10)).seq for _ in range(count)]


async def test_an_event_arrives_as_it_was_logged(engine: FakeEngine, client: AsyncClient) -> None:
    log(engine, 1)
    log(engine, 1, kind=EventKind.RESOLVED, touch=(), outcome=OUTCOME, total_p95_usd=None, reason="a cascade followed")
    armed, resolved = (await client.list_events()).events
    assert (armed.event_id, armed.seq, armed.arm, armed.type) == ("1-1", 1, 1, "armed")
    assert (armed.symbol, armed.side, armed.cluster_id, armed.tick) == ("BTC", "long", 17, 4)
    assert armed.time == np.datetime64(START_NS + 10**9, "ns")
    assert armed.venues == {"binance": 10e6, "bybit": 8e6}
    assert armed.leverages == {25.0: 12e6, 50.0: 6e6}
    assert (armed.mean_age_s, armed.total_p95_usd, armed.notional_usd) == (5_400.0, 110e6, 18e6)
    assert armed.touch == {300.0: 0.0, 3_600.0: 0.001, 86_400.0: 0.51}
    assert (armed.chain.depth, armed.chain.total_usd, armed.chain_venues) == (
        3,
        63e6,
        ("binance", "bybit", "hyperliquid", "okx"),
    )
    assert armed.outcome is None
    outcome = resolved.outcome
    assert resolved.total_p95_usd is None
    assert outcome is not None
    assert (outcome.cascade, outcome.levels, outcome.lead_time_s, outcome.total_usd) == (True, 4, 60.0, 60e6)
    assert outcome.floor_at == np.datetime64(OUTCOME.floor_ns, "ns")


async def test_a_stream_replays_then_goes_on(engine: FakeEngine, client: AsyncClient) -> None:
    log(engine, 70)  # more than one message holds
    async with client.events(from_seq=3) as stream:
        assert await taken(stream, 68) == list(range(3, 71))
        log(engine, 5)
        assert await taken(stream, 5) == [71, 72, 73, 74, 75]
        assert stream.next_seq == 76


async def test_without_a_number_it_begins_now(engine: FakeEngine, client: AsyncClient) -> None:
    log(engine, 3)
    async with client.events() as stream:
        first = asyncio.create_task(taken(stream, 1))
        await eventually(lambda: engine.events._listeners)
        log(engine, 1)
        assert await first == [4]
    await eventually(lambda: not engine.events._listeners)  # and the server has let go


async def test_symbols_and_types_are_filtered_by_the_server(engine: FakeEngine, client: AsyncClient) -> None:
    for symbol in ("BTC", "ETH"):
        for kind in (EventKind.ARMED, EventKind.TRIGGERED):
            log(engine, 1, symbol=symbol, kind=kind)
    page = await client.list_events("binance:ETHUSDT", types="triggered")
    assert [e.seq for e in page.events] == [4]
    async with client.events("ETH", types=["armed", "triggered"], from_seq=1) as stream:
        assert await taken(stream, 2) == [3, 4]
    with pytest.raises(UnknownNameError):
        await client.list_events("DOGE")
    with pytest.raises(InvalidArgumentError, match="types = 'fired'"):
        await client.list_events(types="fired")  # type: ignore[arg-type]


async def test_pages_have_a_limit(engine: FakeEngine, client: AsyncClient) -> None:
    log(engine, 10)
    page = await client.list_events(limit=4)
    assert ([e.seq for e in page.events], page.next_seq, page.first_seq, page.last_seq) == ([1, 2, 3, 4], 5, 1, 10)
    rest = await client.list_events(from_seq=page.next_seq, epoch=page.epoch)
    assert [e.seq for e in rest.events] == [5, 6, 7, 8, 9, 10]
    with pytest.raises(InvalidArgumentError, match="limit = 1001"):
        await client.list_events(limit=1_001)


async def test_what_is_gone_is_said(engine: FakeEngine, client: AsyncClient) -> None:
    log(engine, 300)
    with pytest.raises(HistoryGoneError, match="from_seq = 100: events 101 to 300 are kept"):
        await anext(client.events(from_seq=100))
    with pytest.raises(HistoryGoneError, match="events 101 to 300 are kept"):
        await client.list_events(from_seq=302)
    with pytest.raises(HistoryGoneError, match="has restarted"):
        await client.list_events(from_seq=5, epoch=77)


async def test_statuses_and_heartbeats_on_the_wire(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(heartbeat_s=0.05)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = events_pb2_grpc.EventServiceStub(channel)
        call = stub.WatchEvents(events_pb2.WatchEventsRequest())
        for _ in range(3):
            sign = await asyncio.wait_for(call.read(), 5)
            assert (len(sign.events), sign.epoch, sign.next_seq) == (0, 1, 1)
        call.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.ListEvents(events_pb2.ListEventsRequest(from_seq=9))
        assert told.value.code() is grpc.StatusCode.OUT_OF_RANGE
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.ListEvents(events_pb2.ListEventsRequest(types=[99]))
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_server_that_ends_its_streams_sends_what_was_logged_before(engine: FakeEngine) -> None:
    async with (
        serving(engine) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = events_pb2_grpc.EventServiceStub(channel).WatchEvents(events_pb2.WatchEventsRequest())
        await asyncio.wait_for(call.read(), 5)  # a heartbeat: the stream waits for news
        log(engine, 100)  # more than one message holds
        server.hub.end_streams()
        got: list[int] = []

        async def read() -> None:
            while (message := await call.read()) is not grpc.aio.EOF:
                got.extend(one.seq for one in message.events)

        with pytest.raises(grpc.aio.AioRpcError) as told:
            await asyncio.wait_for(read(), 10)
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert got == list(range(1, 101))


async def test_there_is_room_for_so_many_streams(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(max_streams=1)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = events_pb2_grpc.EventServiceStub(channel)
        first = stub.WatchEvents(events_pb2.WatchEventsRequest())
        await asyncio.wait_for(first.read(), 5)
        second = stub.WatchEvents(events_pb2.WatchEventsRequest())
        assert await asyncio.wait_for(second.code(), 5) is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()


async def test_a_stream_outlives_its_server_and_says_that_it_began_anew(engine: FakeEngine) -> None:
    async with serving(engine) as first:
        port = first.port
        client = AsyncClient(f"127.0.0.1:{port}", reconnect_timeout_s=20)
        log(engine, 2)
        stream = client.events(from_seq=1)
        assert await taken(stream, 2) == [1, 2]
    reader = asyncio.create_task(taken(stream, 3))
    again = FakeEngine(epoch=2)
    for seq in (1, 2, 3):
        again.events.append(event(seq, 2))
    async with serving(again, port=port):
        assert await reader == [1, 2, 3]
        assert stream.stats.restarts == 1
        assert stream.stats.reconnects >= 1
    await client.close()


async def test_the_blocking_client_has_the_same(engine: FakeEngine, server: RpcServer) -> None:
    log(engine, 3)

    def work() -> list[int]:
        with Client(f"127.0.0.1:{server.port}") as client:
            assert client.list_events(limit=1).last_seq == 3
            with client.events(from_seq=1) as stream:
                return [next(stream).seq for _ in range(3)]

    assert await asyncio.to_thread(work) == [1, 2, 3]
