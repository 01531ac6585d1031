"""Whatever a request says, it is answered with an answer or with a status that tells what is wrong with it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from forcedmove_client import AsyncClient
from forcedmove_server.rpc.methods import METHODS
from tests.integration.fake_engine import eventually
from tests.integration.test_access import DESCRIBED
from tests.rpc_fuzz.driver import LIMITS, NAMES, World, at_handler, complaints, fuzz, seen, world
from tests.rpc_fuzz.good import GOOD
from tests.rpc_fuzz.inputs import Hostile

#: of each way
INPUTS = 3_000


async def well(served: World) -> None:
    """Nothing is held any more, and good questions are answered."""
    server = served.server
    await eventually(lambda: not server.hub.streams and not server.hub.views and not server.admission.in_flight)
    await eventually(lambda: not any(each.running for each in server.questions.values()))
    async with AsyncClient(f"127.0.0.1:{server.port}") as client:
        assert await client.symbols()
        assert set(await client.snapshot("BTC")) == {"BTC"}
        async with client.subscribe("BTC") as frames:
            assert (await anext(frames)).symbol == "BTC"
    await eventually(lambda: not server.hub.streams)


@pytest.mark.parametrize("wire", [False, True], ids=["handlers", "wire"])
async def test_nothing_that_is_asked_breaks_or_leaks(wire: bool) -> None:
    async with world() as served, complaints() as found:
        await fuzz(served, 300, seed=5, wire=wire)  # threads that are made when first needed
        await well(served)
        before = seen()
        report = await fuzz(served, INPUTS, seed=11, wire=wire)
        await well(served)
        assert report.bugs == []
        assert found == []
        assert report.inputs >= INPUTS
        for name in NAMES:
            codes = {code for method, code in report.codes if method == name.rpartition("/")[2]}
            assert codes & {"OK", "CANCELLED"}, name  # some of it gets through
        assert any(code == "INVALID_ARGUMENT" for _, code in report.codes)
        await eventually(lambda: seen().tasks <= before.tasks)
        after = seen()
        assert after.threads <= before.threads + 1  # a pool may have grown to its size
        assert after.files <= before.files + 2


async def test_rubbish_is_told_to_be_rubbish_by_every_method() -> None:
    async with world() as served, complaints() as found:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.port}") as channel:
            for name in (*NAMES, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"):
                streaming = DESCRIBED[name].client_streaming if name in DESCRIBED else False
                call = (
                    channel.stream_stream(name)()
                    if streaming
                    else channel.unary_stream(name)(b"\xff" * 30, timeout=5)
                    if name.endswith(("/Scan", "/WatchEvents", "/Watch"))
                    else channel.unary_unary(name)(b"\xff" * 30, timeout=5)
                )
                if streaming:
                    await call.write(b"\xff" * 30)
                assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.INVALID_ARGUMENT, name
                assert "no message of this method" in await call.details()
            assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            call = channel.unary_unary("/grpc.health.v1.Health/List")(b"")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED  # grpcio's asynchronous package lacks it
        assert found == []


async def test_requests_beyond_the_limit_are_refused_unread() -> None:
    async with world() as served:
        giant = bytes(LIMITS.max_request_bytes + 1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.port}") as channel:
            for name in NAMES:
                if DESCRIBED[name].client_streaming or DESCRIBED[name].server_streaming:
                    continue
                call = channel.unary_unary(name)(giant, timeout=5)
                assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, name
        await well(served)


async def test_good_requests_of_every_method_are_answered() -> None:
    assert {name.rpartition("/")[2] for name in NAMES} == set(GOOD)
    async with world() as served:
        for name in NAMES:
            for good in GOOD[name.rpartition("/")[2]]:
                code = await at_handler(served, name, [good.SerializeToString()], 0.05)
                expected = "CANCELLED" if METHODS[name].holds == "stream" else "OK"
                assert code.name == expected, (name, good)


def test_the_same_seed_makes_the_same_requests() -> None:
    one, two = Hostile(3, 4_096), Hostile(3, 4_096)
    for name in NAMES * 20:
        kind, good = DESCRIBED[name].input_type, GOOD[name.rpartition("/")[2]]
        made = one.request(kind, good)
        assert made == two.request(kind, good)
        assert len(made) <= 4_096
