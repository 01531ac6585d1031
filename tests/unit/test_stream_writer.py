"""What happens while a response is being written is not forgotten, also after one that left nothing to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.errors import ServerFailedError, SlowConsumerError
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.stream_writer import StreamWriter
from forcedmove_server.rpc.subscriber import Subscriber
from tests.integration.fake_engine import FakeEngine

Response = heatmap_pb2.SubscribeResponse
#: heartbeats would wake a writer that sleeps over something
LIMITS = Limits(heartbeat_s=60.0)


class Call:
    """A call whose writes take until they are let through."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[heatmap_pb2.SubscribeResponse] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, message: bytes) -> None:
        self.written.put_nowait(Response.FromString(message))
        await self.gate.wait()

    async def next(self) -> heatmap_pb2.SubscribeResponse:
        return await asyncio.wait_for(self.written.get(), 5.0)


class Stream:
    """A reader in step, and the engine behind it."""

    def __init__(self, engine: FakeEngine, hub: Hub) -> None:
        self.engine, self.hub, self.call = engine, hub, Call()
        self.reader: Subscriber = hub.add_reader()

    async def ask(self, request_id: int) -> None:
        await self.hub.subscribe(self.reader, Subscription(("BTC",), ViewSpec(), request_id))

    async def write_a_tick(self) -> int:
        """Have the response to a tick under way; returns its frame's seq."""
        self.call.gate.clear()
        await asyncio.to_thread(self.engine.step)
        return (await self.call.next()).frames[0].seq


@asynccontextmanager
async def stream_in_step(limits: Limits = LIMITS) -> AsyncIterator[tuple[Stream, asyncio.Task[None]]]:
    """A stream that has got its terms, its first frame, and the response to a tick, which is still being written."""
    engine = FakeEngine(("BTC",))
    engine.step()
    hub = Hub(engine, limits, lambda: None)
    stream = Stream(engine, hub)
    writer = StreamWriter(stream.reader, cast(Any, stream.call), hub, limits)
    writing = asyncio.create_task(writer.run())
    try:
        await stream.ask(1)
        assert (await stream.call.next()).HasField("terms")
        await asyncio.to_thread(engine.step)
        assert (await stream.call.next()).frames[0].prev_seq == 0
        await stream.write_a_tick()
        assert writer._took_shared
        yield stream, writing
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        hub.close()
        engine.close()


async def test_ticks_that_come_meanwhile_follow_as_one() -> None:
    async with stream_in_step() as (stream, _):
        await asyncio.to_thread(stream.engine.step, 2)
        stream.call.gate.set()
        response = await stream.call.next()
        assert (response.frames[0].prev_seq, response.skipped_frames) == (0, 1)
        assert await stream.write_a_tick() == response.frames[0].seq + 1


@pytest.mark.parametrize("count", [1, 3])
async def test_pings_that_come_meanwhile_are_answered(count: int) -> None:
    async with stream_in_step() as (stream, _):
        for nonce in range(count):
            stream.reader.pings.append(nonce)
            stream.reader.wake()
        stream.call.gate.set()
        assert [(await stream.call.next()).pong.nonce for _ in range(count)] == list(range(count))


async def test_a_subscription_that_comes_meanwhile_begins() -> None:
    async with stream_in_step() as (stream, _):
        await stream.ask(2)
        stream.call.gate.set()
        responses = [await stream.call.next() for _ in range(2)]
        assert [response.request_id for response in responses] == [2, 2]
        assert (responses[0].HasField("terms"), len(responses[1].frames)) == (True, 1)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_ends_the_stream(waits: bool) -> None:
    async with stream_in_step() as (stream, writing):
        if waits:
            stream.call.gate.set()
            await asyncio.sleep(0.01)
        stream.reader.fail(ServerFailedError("a bug"))
        stream.call.gate.set()
        with pytest.raises(ServerFailedError):
            await asyncio.wait_for(writing, 5.0)


async def test_a_heartbeat_comes_in_a_pause() -> None:
    async with stream_in_step(Limits(heartbeat_s=0.2)) as (stream, _):
        stream.call.gate.set()
        for _ in range(3):
            assert (await stream.call.next()).HasField("heartbeat")


async def test_a_pause_is_not_a_write_that_takes_too_long() -> None:
    async with stream_in_step(Limits(heartbeat_s=60.0, stalled_after_s=0.2)) as (stream, writing):
        stream.call.gate.set()
        await asyncio.sleep(0.6)
        assert not writing.done()
        await stream.write_a_tick()
        with pytest.raises(SlowConsumerError):  # whereas this one is
            await asyncio.wait_for(writing, 5.0)


async def test_a_wake_behind_a_cancellation_does_nothing() -> None:
    async with stream_in_step() as (stream, writing):
        stream.call.gate.set()
        await asyncio.sleep(0.01)
        writing.cancel()
        stream.reader.wake()
        with pytest.raises(asyncio.CancelledError):
            await writing
