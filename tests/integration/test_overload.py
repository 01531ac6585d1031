"""An overloaded server refuses new calls by class, and answers whoever it answers already."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import grpc
import pytest

from forcedmove.v1 import heatmap_pb2, server_status_pb2
from forcedmove_server.config import OverloadConfig
from forcedmove_server.errors import QuotaError
from forcedmove_server.rpc.admission import KINDS, Admission, Gate
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.methods import METHODS
from tests.integration.fake_engine import FakeEngine, eventually, next_frames, serving, subscribe_request
from tests.integration.test_access import DESCRIBED, status_of

SUBSCRIBE = "/forcedmove.v1.HeatmapService/Subscribe"
SNAPSHOT = "/forcedmove.v1.HeatmapService/GetSnapshot"
SCORECARD = "/forcedmove.v1.ScorecardService/GetScorecard"
STATUS = "/forcedmove.v1.StatusService/GetServerStatus"


def shut(admission: Admission) -> None:
    """Let nobody in, from now until the next windows have let the shares recover."""
    for gate in admission.gates.values():
        gate.shares = dict.fromkeys(gate.shares, 0.0)


async def held(engine: FakeEngine) -> threading.Event:
    """Keep the engine's thread from answering until the event is set."""
    go, busy = threading.Event(), threading.Event()

    def wait() -> None:
        busy.set()
        go.wait(30)

    engine._submit(wait)
    await asyncio.to_thread(busy.wait, 10)
    return go


async def crowd(admission: Admission) -> None:
    """Ask as many do, so that a wait is a queue."""
    while True:
        for _ in range(100):
            with suppress(QuotaError):
                admission.admit("read")
        await asyncio.sleep(0.01)


async def test_one_caller_is_not_refused_because_the_machine_is_slow() -> None:
    engine = FakeEngine()
    engine.step()
    async with serving(engine, Limits(overload=OverloadConfig(engine_delay_ms=10))) as server:
        go = await held(engine)
        await eventually(lambda: server.admission.gates["engine"].wait_s > 0.3)
        assert server.admission.gates["engine"].shares == dict.fromkeys(KINDS, 1.0)
        go.set()
        assert (await status_of(server.port, SNAPSHOT, None))[0] is grpc.StatusCode.OK


def test_every_method_but_status_has_a_class() -> None:
    assert {name for name in DESCRIBED if METHODS[name].kind is None} == {STATUS}
    assert {METHODS[name].kind for name in DESCRIBED} == {None, *KINDS}


@pytest.mark.parametrize("name", sorted(set(DESCRIBED) - {STATUS}))
async def test_a_shed_call_is_told_when_to_come_again_before_its_request_is_parsed(name: str) -> None:
    engine = FakeEngine()
    engine.step()
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        shut(server.admission)
        method = DESCRIBED[name]
        kind = ("unary", "stream")
        make = getattr(channel, f"{kind[method.client_streaming]}_{kind[method.server_streaming]}")
        rubbish = b"\xff" * 50
        # a stream of requests is refused before the first: gRPC would make INTERNAL of a write to what has ended
        call = make(name)(*(() if method.client_streaming else (rubbish,)), timeout=5.0)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "overloaded" in await call.details()
        details = dict(await call.trailing_metadata())["grpc-status-details-bin"]
        assert b"google.rpc.RetryInfo" in details
        assert b"OVERLOADED" in details
        assert server.admission.shed[METHODS[name].kind] == 1


async def test_streams_that_are_open_go_on_and_status_tells_what_was_shed() -> None:
    engine = FakeEngine()
    engine.run(0.02)
    async with (
        serving(engine, Limits(heartbeat_s=0.05)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        open_stream = await _subscribed(channel)
        shut(server.admission)
        code, *_ = await status_of(server.port, SNAPSHOT, None)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(5):
            assert (await next_frames(open_stream)).frames
        answer = await channel.unary_unary(
            STATUS, response_deserializer=server_status_pb2.GetServerStatusResponse.FromString
        )(b"")
        assert {each.kind: each.calls for each in answer.shed} == {**dict.fromkeys(KINDS, 0), "read": 1}
        assert [each.queue for each in answer.queues] == ["calls", "engine", "snapshots", "answers"]
        assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        open_stream.cancel()


async def test_an_engine_that_does_not_answer_sheds_from_the_bottom_and_lets_in_again() -> None:
    engine = FakeEngine()
    engine.step()
    config = OverloadConfig(engine_delay_ms=60)
    async with serving(engine, Limits(overload=config)) as server:
        gate = server.admission.gates["engine"]
        asking = asyncio.create_task(crowd(server.admission))
        go = await held(engine)
        await eventually(lambda: gate.shares["scan"] < 1.0 and gate.shares["ingest"] == 1.0)
        await eventually(lambda: gate.shares["ingest"] < 1.0)
        assert gate.shares["scan"] < gate.shares["read"] < gate.shares["ingest"]
        assert server.admission.gates["calls"].shares == dict.fromkeys(KINDS, 1.0)
        go.set()
        await eventually(lambda: set(gate.shares.values()) == {1.0})
        asking.cancel()
        assert (await status_of(server.port, SNAPSHOT, None))[0] is grpc.StatusCode.OK


async def test_calls_that_wait_for_the_engine_are_bounded_and_counted_until_they_end() -> None:
    engine = FakeEngine()
    engine.step()
    async with (
        serving(engine, Limits(overload=OverloadConfig(max_in_flight=8, engine_delay_ms=60_000))) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        go = await held(engine)
        calls = [channel.unary_unary(SNAPSHOT)(b"", timeout=20.0) for _ in range(6)]
        await eventually(lambda: server.admission.in_flight == 6)
        code, details, _ = await status_of(server.port, SNAPSHOT, None)
        assert (code, "max_in_flight" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        calls[0].cancel()
        await eventually(lambda: server.admission.in_flight == 5)
        go.set()
        await asyncio.gather(*calls[1:])
        await eventually(lambda: server.admission.in_flight == 0)


async def test_scores_that_wait_leave_room_for_quick_questions() -> None:
    engine = FakeEngine()
    engine.step()
    async with (
        serving(engine, Limits(answers_waiting=2)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        go = await held(engine)
        calls = [channel.unary_unary(SCORECARD)(b"", timeout=20.0) for _ in range(3)]
        await eventually(lambda: server.admission.in_flight == 3)
        code, details, trailers = await status_of(server.port, SCORECARD, None)
        assert (code, "scores" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        assert b"google.rpc.RetryInfo" in trailers
        assert (await status_of(server.port, "/forcedmove.v1.HeatmapService/ListSymbols", None))[0].name == "OK"
        calls[1].cancel()
        await eventually(lambda: server.admission.in_flight == 2)
        go.set()
        await asyncio.gather(calls[0], calls[2])
        assert (await status_of(server.port, SCORECARD, None))[0] is grpc.StatusCode.OK


async def test_queues_are_asked_about_once_a_second_until_somebody_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    saw = Gate.saw

    def counted(gate: Gate, wait_s: float) -> None:
        seen[gate.name] += 1
        saw(gate, wait_s)

    monkeypatch.setattr(Gate, "saw", counted)
    engine = FakeEngine()
    engine.step()
    async with serving(engine) as server:
        await eventually(lambda: len(seen) == len(server.admission.gates))
        seen.clear()
        await asyncio.sleep(0.7)
        assert max(seen.values(), default=0) <= 1
        asking = asyncio.create_task(crowd(server.admission))
        await eventually(lambda: min(seen[gate] for gate in server.admission.gates) >= 3, 5.0)
        asking.cancel()


async def test_the_servers_own_socket_is_open_to_its_user_only_and_goes_with_it() -> None:
    async with serving(FakeEngine()) as server:
        folder = server._probes.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        await eventually(lambda: (folder / "own").exists())
    assert not folder.exists()


async def _subscribed(channel: grpc.aio.Channel) -> Any:
    call = channel.stream_stream(
        SUBSCRIBE,
        request_serializer=heatmap_pb2.SubscribeRequest.SerializeToString,
        response_deserializer=heatmap_pb2.SubscribeResponse.FromString,
    )()
    await call.write(subscribe_request(symbols=["BTC"]))
    await next_frames(call)
    return call
