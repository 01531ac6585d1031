"""What a gateway hands on: bytes, metadata, statuses with details, deadlines and cancellation, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from forcedmove.v1 import cascade_pb2, events_pb2, heatmap_pb2, scan_pb2
from forcedmove_client import AsyncClient, LimitExceededError
from forcedmove_server.access.store import TokenStore
from forcedmove_server.access.tokens import create_token
from forcedmove_server.config import Config, SecurityConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.errors import GoingAwayError, NotAllowedError
from forcedmove_server.gateway.relay import Relay
from forcedmove_server.gateway.server import SERVED
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.methods import METHODS
from forcedmove_server.rpc.server import SERVICES
from forcedmove_server.rpc.status import DETAILS_KEY, guarded
from tests.integration.fake_engine import FakeEngine, eventually
from tests.integration.gateway_front import Gateway, engine_process, gateway
from tests.integration.real_engine import fed_engine
from tests.integration.test_access import DESCRIBED

SIMULATE = "/forcedmove.v1.CascadeService/Simulate"
SCAN = "/forcedmove.v1.ScanService/Scan"
WATCH_EVENTS = "/forcedmove.v1.EventService/WatchEvents"
MARGIN = "/forcedmove.v1.MarginService/GetLiquidationPrice"
SNAPSHOT = "/forcedmove.v1.HeatmapService/GetSnapshot"
STATUS = "/forcedmove.v1.StatusService/GetServerStatus"


class Upstream:
    """An engine process' server that does what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.metadata: dict[str, Any] = {}
        self.left_s: float | None = None
        self.cancelled = asyncio.Event()
        self.reached = asyncio.Event()
        self.behaviour: Any = None

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def call(request: bytes, context: Any) -> Any:
            self.requests.append(request)
            self.metadata = dict(context.invocation_metadata())
            self.left_s = context.time_remaining()
            self.reached.set()
            try:
                return await self.behaviour(context)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        if DESCRIBED[details.method].server_streaming:
            return grpc.unary_stream_rpc_method_handler(call)
        return grpc.unary_unary_rpc_method_handler(call)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, upstream: Upstream) -> None:
        self.service = upstream.service  # type: ignore[method-assign]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any: ...


@pytest.fixture
async def relayed(tmp_path: Path) -> AsyncIterator[tuple[Upstream, Relay, grpc.aio.Channel]]:
    """A relay between an upstream on a unix socket and a channel of a client."""
    upstream, inner, outer = Upstream(), grpc.aio.server(), grpc.aio.server()
    inner.add_generic_rpc_handlers((_Handler(upstream),))
    inner.add_insecure_port(f"unix:{tmp_path}/s")
    await inner.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        relay = Relay(channel, SERVICES, SERVED)
        outer.add_generic_rpc_handlers((relay,))
        port = outer.add_insecure_port("127.0.0.1:0")
        await outer.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as client:
            yield upstream, relay, client
        await outer.stop(0)
    await inner.stop(0)


async def test_bytes_and_metadata_pass_both_ways_and_secrets_do_not(relayed: Any) -> None:
    upstream, _, client = relayed

    async def behaviour(context: Any) -> bytes:
        await context.send_initial_metadata((("began", "yes"),))
        context.set_trailing_metadata((("ended", "yes"), ("raw-bin", b"\x00\xff")))
        return b"\xff\x00 no message of any kind"

    upstream.behaviour = behaviour
    sent = b"\x0a\x03BTC\xfa\x07\x02hi"  # a field that nobody knows
    call = client.unary_unary(MARGIN)(sent, metadata=(("trace", "7"), ("authorization", "Bearer secret")))
    assert await call == b"\xff\x00 no message of any kind"
    assert upstream.requests == [sent]
    assert upstream.metadata["trace"] == "7"
    assert "authorization" not in upstream.metadata
    assert dict(await call.initial_metadata())["began"] == "yes"
    trailers = dict(await call.trailing_metadata())
    assert (trailers["ended"], trailers["raw-bin"]) == ("yes", b"\x00\xff")


@pytest.mark.parametrize("path", [MARGIN, SCAN])
async def test_a_status_passes_with_message_and_details(relayed: Any, path: str) -> None:
    upstream, _, client = relayed

    async def behaviour(context: Any) -> None:
        if path == SCAN:
            await context.write(b"\x0a\x00")
            await context.write(b"\x0a\x00")
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "odd: ü", ((DETAILS_KEY, b"\x08\x09"),))

    upstream.behaviour = behaviour
    found = await ended(client, path, b"")
    assert found == (
        [b"\x0a\x00"] * (2 if path == SCAN else 0),
        grpc.StatusCode.FAILED_PRECONDITION,
        "odd: ü",
        {DETAILS_KEY: b"\x08\x09"},
    )


@pytest.mark.parametrize("path", [SIMULATE, SCAN])
async def test_a_deadline_passes_and_so_does_its_end(relayed: Any, path: str) -> None:
    upstream, _, client = relayed
    upstream.behaviour = lambda _: asyncio.Event().wait()
    make = client.unary_stream if path == SCAN else client.unary_unary
    call = make(path)(b"", timeout=0.5)
    await upstream.reached.wait()
    assert 0 < upstream.left_s < 0.6  # it is rounded up on the way
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await (call.read() if path == SCAN else call)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await upstream.cancelled.wait()


@pytest.mark.parametrize("path", [MARGIN, SCAN, WATCH_EVENTS])
async def test_cancelling_reaches_the_engine_process(relayed: Any, path: str) -> None:
    upstream, _, client = relayed
    upstream.behaviour = lambda _: asyncio.Event().wait()
    streams = DESCRIBED[path].server_streaming
    call = (client.unary_stream if streams else client.unary_unary)(path)(b"")
    async with asyncio.timeout(5):
        await upstream.reached.wait()
        call.cancel()
        await upstream.cancelled.wait()


async def test_a_reader_that_does_not_take_holds_the_handler_up_and_gets_everything(relayed: Any) -> None:
    upstream, _, client = relayed
    written = 0

    async def behaviour(context: Any) -> None:
        nonlocal written
        for number in range(64):
            await context.write(number.to_bytes(4, "big") + bytes(1 << 18))
            written += 1

    upstream.behaviour = behaviour
    call = client.unary_stream(SCAN)(b"")
    await upstream.reached.wait()
    before = -1
    while before != written:  # until it stands still
        before = written
        await asyncio.sleep(0.2)
    assert written < 64
    numbers = [int.from_bytes(message[:4], "big") async for message in call]
    assert numbers == list(range(64))


async def test_streams_end_with_the_gateway_and_questions_do_not(relayed: Any) -> None:
    upstream, relay, client = relayed
    finish = asyncio.Event()

    async def behaviour(context: Any) -> None:
        await context.write(b"\x0a\x00")
        await finish.wait()

    upstream.behaviour = behaviour
    events, scan = client.unary_stream(WATCH_EVENTS)(b""), client.unary_stream(SCAN)(b"")
    assert await events.read() == await scan.read() == b"\x0a\x00"
    relay.end(GoingAwayError("the server is going away"))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await events.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert b"RetryInfo" in dict(ended.value.trailing_metadata())[DETAILS_KEY]
    finish.set()
    assert await scan.read() is grpc.aio.EOF
    assert await scan.code() is grpc.StatusCode.OK


async def test_a_later_request_that_is_refused_ends_the_call_with_its_status(relayed: Any, tmp_path: Path) -> None:
    upstream, relay, _ = relayed
    upstream.behaviour = lambda _: asyncio.Event().wait()

    async def refuse_the_second(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(requests)
        await anext(requests)
        raise NotAllowedError("not for this producer")

    @guarded
    async def handle(_: object, requests: Any, context: Any) -> None:
        await relay.stream(SCAN, refuse_the_second(aiter(requests)), context, ends=False)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(partial(handle, None))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("some.Service", {"Talk": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(10):
        call: Any = channel.stream_stream("/some.Service/Talk")()
        await call.write(b"1")
        await upstream.reached.wait()
        await call.write(b"2")
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        await upstream.cancelled.wait()
    await server.stop(0)


async def test_what_cannot_be_parsed_is_refused_where_a_quota_looks_at_it(relayed: Any) -> None:
    upstream, _, client = relayed
    upstream.behaviour = lambda _: asyncio.Event().wait()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.unary_unary(SIMULATE)(b"\xff\xff\xff")
    assert refused.value.code() is grpc.StatusCode.UNKNOWN  # what grpcio itself says of such a request
    assert not upstream.requests


async def test_nobody_behind_it_is_unavailable_with_a_time_to_retry(tmp_path: Path) -> None:
    server = grpc.aio.server()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/nobody") as channel:
        server.add_generic_rpc_handlers((Relay(channel, SERVICES, SERVED),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as client:
            for path in (STATUS, WATCH_EVENTS):
                call = client.stream_stream(path)(iter((b"",)), timeout=5)
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
                assert b"RetryInfo" in dict(await call.trailing_metadata())[DETAILS_KEY]
        await server.stop(0)


def test_every_method_is_served_or_relayed() -> None:
    async def relayed_methods() -> set[str]:
        async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
            return set(Relay(channel, SERVICES, SERVED)._handlers)

    ours = {path for path in METHODS if path.startswith("/forcedmove.")}
    assert asyncio.run(relayed_methods()) | SERVED == ours
    assert ours >= SERVED


# --- a real engine behind it -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config() -> Config:
    return Config()


@pytest.fixture
async def real(config: Config) -> AsyncIterator[tuple[Engine, str, Gateway]]:
    async with (
        fed_engine(config) as engine,
        engine_process(engine) as inner,
        gateway(inner.address) as outer,
    ):
        await outer.server.first_map.wait()
        yield engine, inner.address, outer


async def ended(channel: grpc.aio.Channel, path: str, request: bytes) -> tuple[Any, ...]:
    call = channel.stream_stream(path)(iter((request,)), timeout=20)
    messages = []
    try:
        while (message := await call.read()) is not grpc.aio.EOF and len(messages) < 3:
            messages.append(message)
            if path == WATCH_EVENTS:
                break
    except grpc.aio.AioRpcError:
        pass
    if path == WATCH_EVENTS:
        call.cancel()
        return tuple(messages)
    return messages, await call.code(), await call.details(), dict(await call.trailing_metadata())


REQUESTS = {
    SIMULATE: cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=-0.05, paths=100),
    SCAN: scan_pb2.ScanRequest(shock_fractions=[-0.05, 0.05]),
    WATCH_EVENTS: events_pb2.WatchEventsRequest(),
    SNAPSHOT: heatmap_pb2.GetSnapshotRequest(symbols=["BTC"], band_level=0.9),
}


async def test_the_answers_are_those_of_the_engine_process_to_the_byte(real: Any) -> None:
    engine, inner, outer = real
    assert engine.latest().maps
    target = f"127.0.0.1:{outer.server.port}"
    async with grpc.aio.insecure_channel(inner) as direct, grpc.aio.insecure_channel(target) as through:
        for path in sorted(DESCRIBED.keys() - SERVED - {STATUS} | {SNAPSHOT}):
            for request in {b"", REQUESTS.get(path, heatmap_pb2.ListSymbolsRequest()).SerializeToString()}:
                if path == SCAN and request:
                    continue  # says how long it took
                for _ in range(5):  # a tick may fall between the two
                    outer_answer, inner_answer = await ended(through, path, request), await ended(direct, path, request)
                    if outer_answer == inner_answer:
                        break
                assert outer_answer == inner_answer, path
        messages, code, *_ = await ended(through, SCAN, REQUESTS[SCAN].SerializeToString())
        assert code is grpc.StatusCode.OK
        assert messages


async def test_quotas_are_counted_by_the_gateway_before_it_hands_on(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    token = create_token(tokens, "some", ["read", "simulate"], None)
    limits, engine = Limits(security=SecurityConfig(max_cost_per_minute=2, max_streams=1)), FakeEngine()
    engine.step()
    asked = 0
    simulate = engine.simulate

    def counted(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return simulate(*arguments)

    engine.simulate = counted  # type: ignore[method-assign]
    async with (
        engine_process(engine, limits) as inner,
        gateway(inner.address, limits=limits, tokens=TokenStore(tokens)) as outer,
        AsyncClient(f"127.0.0.1:{outer.server.port}", token=token) as client,
    ):
        await client.simulate("BTC", move=-0.02)
        await client.simulate("BTC", move=-0.02)
        with pytest.raises(LimitExceededError, match="max_cost_per_minute"):
            await client.simulate("BTC", move=-0.02)
        assert asked == 2
        async with client.events() as first:
            waiting = asyncio.create_task(anext(first))
            await eventually(lambda: inner.server.hub is not None and engine.events._listeners)
            call = client._channel.unary_stream(WATCH_EVENTS)(b"")
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            waiting.cancel()
    engine.close()
