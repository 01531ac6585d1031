"""The feed of ticks: what a reader behind a gateway has is what the engine had, whatever the gateway does meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove.v1 import heatmap_pb2_grpc
from forcedmove_client import AsyncClient, HistoryGoneError
from forcedmove_client.assembly import SymbolState
from forcedmove_client.checking import StreamChecker
from forcedmove_server.config import Config
from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.errors import (
    GoingAwayError,
)
from forcedmove_server.gateway import wire
from forcedmove_server.gateway.feed import BACKLOG, TickFeed, _Follower
from forcedmove_server.gateway.remote import RemoteEngine
from forcedmove_server.gateway.totals import GatewayTotals
from forcedmove_server.gateway.wire import Report
from tests.integration.fake_engine import FakeEngine, eventually, subscribe_request
from tests.integration.gateway_front import UNLIMITED, engine_process, gateway
from tests.integration.real_engine import fed_engine

WHOLE: dict[str, Any] = {"price_range": 0}


class History:
    """Every watched rendering that an engine published, by symbol and seq."""

    def __init__(self, engine: FakeEngine) -> None:
        self._grids: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self._engine = engine
        engine.on_tick(self._note)

    def _note(self, tick: Tick) -> None:
        for symbol in tick.changed:
            self._grids[symbol, tick.maps[symbol].seq] = self._engine.view(symbol, ViewSpec()).values

    def check(self, symbol: str, state: SymbolState) -> None:
        np.testing.assert_array_equal(state._elements, self._grids[symbol, state.seq])


class Reading:
    """A raw stream that checks every frame against what the engine published under its number."""

    def __init__(self, port: int, history: History) -> None:
        self.states = {"BTC": SymbolState(), "ETH": SymbolState()}
        self.frames = self.skipped = self.gaps = 0
        #: of those skipped, the ones that came before there was anything to skip from
        self.early = 0
        self._port, self._history = port, history

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
            await call.write(subscribe_request())
            while True:
                response = await call.read()
                self.skipped += response.skipped_frames
                if not all(state.seq for state in self.states.values()):
                    self.early += response.skipped_frames
                for frame in response.frames:
                    state = self.states[frame.symbol]
                    if state.seq:
                        self.gaps += frame.seq - state.seq - 1
                    state.apply(frame)
                    self._history.check(frame.symbol, state)
                    self.frames += 1


def held(remote: RemoteEngine, gate: threading.Event) -> None:
    """Have a gateway take ticks only while a gate is open."""
    take = remote._take

    def waiting(raw: bytes) -> None:
        gate.wait()
        take(raw)

    remote._take = waiting  # type: ignore[method-assign]


OPERATIONS = st.lists(
    st.sampled_from(["step", "burst", "quiet", "shut", "open", "recentre", "reader", "leave", "gateway"]), max_size=25
)


@settings(max_examples=25)
@given(OPERATIONS)
def test_frames_are_the_engines_whatever_gateways_do(operations: list[str]) -> None:
    asyncio.run(scenario(operations))


async def scenario(operations: list[str]) -> None:
    """Readers on a gateway that stalls, a second gateway that comes and goes, and views that come and go."""
    engine = FakeEngine(bins=512)
    history, gate = History(engine), threading.Event()
    gate.set()
    engine.step()
    async with engine_process(engine) as inner, gateway(inner.address) as first:
        await first.server.first_map.wait()
        held(first.remote, gate)
        readings: list[tuple[Reading, asyncio.Task[None]]] = []

        def read(port: int) -> tuple[Reading, asyncio.Task[None]]:
            reading = Reading(port, history)
            return reading, asyncio.create_task(reading.run())

        readings.append(read(first.server.port))
        for operation in operations:
            if operation == "step":
                await asyncio.to_thread(engine.step)
            elif operation == "burst":
                await asyncio.to_thread(engine.step, 2 * BACKLOG, 0.5)
            elif operation == "quiet":
                engine.quiet ^= {"ETH"}
            elif operation == "shut":
                gate.clear()
            elif operation == "open":
                gate.set()
            elif operation == "recentre":
                engine.recentre("BTC", 3)
            elif operation == "reader" and len(readings) < 4:
                readings.append(read(first.server.port))
            elif operation == "leave" and len(readings) > 1:
                await left(readings.pop())
            elif operation == "gateway":
                async with gateway(inner.address, 2) as second:
                    await second.server.first_map.wait()
                    other = read(second.server.port)
                    await settled(engine, [other])
                    await left(other)
        gate.set()
        engine.quiet.clear()
        await settled(engine, readings)
        for reading, task in readings:
            # what was lost on the way is what was told
            assert reading.gaps <= reading.skipped <= reading.gaps + reading.early
            await left((reading, task))
        await eventually(lambda: not engine.watched)
    engine.close()


async def settled(engine: FakeEngine, readings: list[tuple[Reading, asyncio.Task[None]]]) -> None:
    """Tick until every reader has begun, then wait until all have what is newest."""

    def begun() -> bool:
        engine.step()
        return all(task.done() or all(state.seq for state in each.states.values()) for each, task in readings)

    await eventually(begun)
    await eventually(lambda: all(task.done() or caught_up(engine, each) for each, task in readings))


def caught_up(engine: FakeEngine, reading: Reading) -> bool:
    return all(reading.states[symbol].seq == newest.seq for symbol, newest in engine.latest().maps.items())


async def left(reading: tuple[Reading, asyncio.Task[None]]) -> None:
    task = reading[1]
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


async def test_a_gateway_that_falls_behind_gets_the_newest_and_its_readers_are_told() -> None:
    engine = FakeEngine(bins=20_000)
    history, gate = History(engine), threading.Event()
    gate.set()
    engine.step()
    async with engine_process(engine) as inner, gateway(inner.address) as outer:
        await outer.server.first_map.wait()
        held(outer.remote, gate)
        reading = Reading(outer.server.port, history)
        task = asyncio.create_task(reading.run())
        await eventually(lambda: engine.watched.total() == 2)
        engine.step()
        await eventually(lambda: task.done() or caught_up(engine, reading))
        gate.clear()
        # nothing of this waits for the gateway: the engine's thread is done when step returns
        await eventually(lambda: (engine.step(changed_share=0.9), inner.totals.merged_ticks > 3 * BACKLOG)[1])
        (follower,) = inner.feed._followers
        assert len(follower.ticks) <= BACKLOG
        gate.set()
        await eventually(lambda: task.done() or caught_up(engine, reading))
        assert reading.gaps == reading.skipped > BACKLOG
        assert outer.server.hub.traffic.conflated >= reading.skipped
        await left((reading, task))
    engine.close()


async def read_to_the_end(stream: Any, seqs: list[int]) -> None:
    async with asyncio.timeout(20):
        async for frame in stream:
            seqs.append(frame.seq)  # noqa: PERF401  what came before the end counts


async def test_a_reader_of_every_frame_is_cut_off_at_a_gap_and_told_where_to_resume() -> None:
    engine, gate, checker = FakeEngine(bins=20_000), threading.Event(), StreamChecker()
    gate.set()
    engine.step()
    async with (
        engine_process(engine) as inner,
        gateway(inner.address) as outer,
        AsyncClient(f"127.0.0.1:{outer.server.port}") as client,
    ):
        await outer.server.first_map.wait()
        held(outer.remote, gate)
        stream = client.subscribe("BTC", delivery="every", checker=checker, **WHOLE)
        first = asyncio.create_task(anext(stream))
        await eventually(lambda: engine.watched)
        engine.step()
        begun = await first
        gate.clear()
        await eventually(lambda: (engine.step(changed_share=0.9), inner.totals.merged_ticks > BACKLOG)[1])
        gate.set()
        seqs = [begun.seq]
        with pytest.raises(HistoryGoneError):  # cut off as too slow, it resumes at a place that is not kept
            await read_to_the_end(stream, seqs)
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert (await anext(stream)).seq > seqs[-1] + 1
        assert checker.problems == []
    engine.close()


@asynccontextmanager
async def silent_gateway(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        call: Any = channel.stream_stream(wire.FOLLOW)(metadata=((wire.GATEWAY_KEY, "1"),))
        await call.read()
        yield call


async def test_a_gateway_that_takes_nothing_is_cut_and_the_engine_lets_go_of_its_views() -> None:
    engine = FakeEngine(bins=20_000)
    engine.step()
    async with engine_process(engine, stalled_after_s=0.3) as inner, silent_gateway(inner.address) as call:
        wishes = tuple(wire.Wish(True, symbol, ViewSpec()) for symbol in ("BTC", "ETH"))
        await call.write(wire.encode(wire.Told(wishes)))
        await eventually(lambda: engine.watched.total() == 2)
        await eventually(lambda: (engine.step(changed_share=0.9), not inner.feed._followers)[1])
        assert not engine.watched
        assert not inner.feed._newest
        with suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    engine.close()


async def test_two_gateways_share_what_is_watched_and_each_begins_at_once() -> None:
    engine = FakeEngine()
    engine.step()
    async with (
        engine_process(engine) as inner,
        gateway(inner.address, 1) as one,
        gateway(inner.address, 2) as two,
        AsyncClient(f"127.0.0.1:{one.server.port}") as first,
        AsyncClient(f"127.0.0.1:{two.server.port}") as second,
    ):
        for each in (one, two):
            await each.server.first_map.wait()
        kept = first.subscribe("BTC", **WHOLE)
        waiting = asyncio.create_task(anext(kept))
        await eventually(lambda: engine.watched)
        engine.step()
        early = await waiting
        # nothing ticks from here on
        stream = second.subscribe("BTC", **WHOLE)
        async with asyncio.timeout(10):
            late = await anext(stream)
        np.testing.assert_array_equal(late.grid, early.grid)
        assert (late.epoch, late.seq) == (early.epoch, early.seq)
        assert engine.watched.total() == 1  # one rendering for both
        assert inner.totals.by_gateway().keys() == {1, 2}
        await stream.aclose()
        await eventually(lambda: inner.feed._watchers.total() == 1)
        assert engine.watched.total() == 1
    assert not engine.watched
    engine.close()


async def test_a_feed_that_is_lost_is_told() -> None:
    engine = FakeEngine()
    engine.step()
    async with engine_process(engine) as inner, gateway(inner.address) as outer:
        await outer.server.first_map.wait()
        await inner.server.drain(0)
        with pytest.raises(ExceptionGroup) as lost:
            await outer.following
        assert isinstance(lost.value.exceptions[0], GoingAwayError)
        with pytest.raises(GoingAwayError, match="going away, or starts anew"):
            await asyncio.wrap_future(outer.remote.render("BTC", ViewSpec()))
    engine.close()


async def test_a_real_engines_maps_and_views_arrive_as_they_are() -> None:
    spec = ViewSpec(keep=("venue", "side", "leverage", "price"))
    async with fed_engine(Config()) as engine, engine_process(engine) as inner, gateway(inner.address) as outer:
        await outer.server.first_map.wait()
        assert list(outer.remote.registry) == list(engine.registry)
        symbol_map, view = await asyncio.wrap_future(outer.remote.render("BTC", spec))
        there, rendered = await asyncio.wrap_future(engine.render("BTC", spec))
        assert symbol_map == there
        assert symbol_map.markets[0].margin.multipliers
        assert view.axes_key == rendered.axes_key
        np.testing.assert_array_equal(view.values, rendered.values, strict=True)
        assert outer.remote.latest().maps.keys() == engine.latest().maps.keys()
        assert outer.remote.epoch == engine.epoch


async def test_a_view_that_others_had_comes_behind_the_ticks_that_wait() -> None:
    engine, spec = FakeEngine(("BTC",)), ViewSpec()
    engine.step()
    feed = TickFeed(engine, GatewayTotals(), 10.0)
    other, follower = _Follower(), _Follower()
    feed._followers |= {other, follower}
    wish = wire.Told((wire.Wish(True, "BTC", spec),))
    feed._hear(other, (1, 1), wish)
    for number in (2, 3, 4):
        engine.step()
        await eventually(lambda number=number: feed._tick is not None and feed._tick.number == number)
    feed._hear(follower, (2, 1), wish)
    seqs, views = [], []
    while (message := feed._next(follower)) is not None:
        moment = wire.decode_moment(message)
        seqs += [wire.decode_map(raw).seq for raw in moment.maps]
        views.append([wire.decode_view(raw).revision for raw in moment.views])
    newest = engine.latest().views["BTC", spec].revision
    assert seqs == [2, 3, 4]  # no map is followed by an older one
    assert views == [[newest - 2], [newest - 1], [newest]]
    assert feed._next(follower) is None
    feed._hear(
        follower, (2, 1), wish
    )  # another reader of the same view: nothing has changed, and it comes all the same
    again = feed._next(follower)
    assert again is not None
    assert [wire.decode_view(raw).revision for raw in wire.decode_moment(again).views] == [newest]
    feed.close()
    engine.close()


async def test_reports_reach_the_engine_process_and_its_status() -> None:
    engine = FakeEngine()
    engine.step()
    async with engine_process(engine) as inner, gateway(inner.address, 7) as outer:
        outer.remote.report(Report(streams=4, subscribers=3, views=2, sent_bytes=99))
        await eventually(lambda: inner.totals.streams == 4)
        async with AsyncClient(f"127.0.0.1:{outer.server.port}") as client:
            status = await client.server_status()
        assert (status.streams, status.subscribers, status.views, status.sent_bytes) == (4, 3, 2, 99)
    await eventually(lambda: inner.totals.streams == 0)
    engine.close()
