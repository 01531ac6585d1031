"""What a server refuses: every error names the field and the value, and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forcedmove.v1 import heatmap_pb2, heatmap_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    InvalidArgumentError,
    LimitExceededError,
    ServerError,
    UnknownNameError,
)
from forcedmove_server.engine.frames import SymbolMap, ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from forcedmove_server.rpc.subscriber import Subscriber
from tests.integration.fake_engine import FakeEngine, eventually, serving, subscribe_request

WHOLE: dict[str, Any] = {"price_range": 0}
NAN = float("nan")


BAD_SUBSCRIPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"symbols": "DOGE"}, UnknownNameError, "symbol 'DOGE'.*BTC, ETH"),
    ({"venues": "mtgox"}, UnknownNameError, "venue 'mtgox'.*binance, bybit, okx"),
    ({"symbols": ["BTC"] * 1001}, InvalidArgumentError, "symbols = 1001"),
    ({"leverage": (20, 10)}, InvalidArgumentError, r"view\.leverage_min = 20\.0.*view\.leverage_max = 10\.0"),
    ({"leverage": (-1, 0)}, InvalidArgumentError, r"view\.leverage_min = -1\.0"),
    ({"leverage": (0, NAN)}, InvalidArgumentError, r"view\.leverage_max = nan"),
    ({"leverage": (90, 0)}, InvalidArgumentError, r"view\.leverage_min = 90\.0: selects no"),
    ({"price_range": -0.1}, InvalidArgumentError, r"view\.price_range_fraction = -0\.1"),
    ({"price_range": 1e9}, InvalidArgumentError, r"view\.price_range_fraction = 1000000000\.0: must be at most 100"),
    ({"price_range": float("inf")}, InvalidArgumentError, r"view\.price_range_fraction = inf"),
]
BAD_ON_THE_CLIENT: list[tuple[dict[str, Any], str]] = [
    ({"sides": "sideways"}, "sides = 'sideways': must be one of long, short"),
    ({"keep": ("side", "colour")}, "keep = 'colour'"),
    ({"weighting": "heavy"}, "weighting = 'heavy'"),
    ({"leverage": 5}, "leverage = 5: must be a pair"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_SUBSCRIPTIONS, ids=lambda value: str(value)[:40])
async def test_bad_views_name_field_and_value(
    client: AsyncClient, engine: FakeEngine, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await anext(client.subscribe(**arguments))
    with pytest.raises(error, match=message):
        await client.snapshot(**arguments)
    assert not engine.watched


@pytest.mark.parametrize(("arguments", "message"), BAD_ON_THE_CLIENT, ids=str)
async def test_bad_names_are_refused_before_sending(
    client: AsyncClient, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        client.subscribe(**arguments)


@pytest.mark.parametrize("rate", [-1.0, NAN, float("inf")])
async def test_bad_rates(client: AsyncClient, rate: float) -> None:
    stream = client.subscribe("BTC", max_rate_hz=rate)
    with pytest.raises(InvalidArgumentError, match="max_rate_hz = "):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


BAD_SHOCKS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"symbol": "BTC"}, InvalidArgumentError, "give exactly one"),
    ({"symbol": "BTC", "price": 1, "move": 0.1}, InvalidArgumentError, "give exactly one"),
    ({"symbol": "BTC", "price": NAN}, InvalidArgumentError, "price_usd = nan"),
    ({"symbol": "BTC", "price": 0}, InvalidArgumentError, r"price_usd = 0\.0: must be above 0"),
    ({"symbol": "BTC", "price": -5}, InvalidArgumentError, r"price_usd = -5\.0"),
    ({"symbol": "BTC", "move": -1}, InvalidArgumentError, r"move_fraction = -1\.0: must lie in -0\.95 \.\. 5"),
    ({"symbol": "BTC", "move": float("inf")}, InvalidArgumentError, "move_fraction = inf"),
    ({"symbol": "BTC", "move": 1e300}, InvalidArgumentError, r"move_fraction = 1e\+300: must lie in -0\.95 \.\. 5"),
    ({"symbol": "", "move": -0.1}, InvalidArgumentError, "symbol = ''"),
    ({"symbol": "DOGE", "move": -0.1}, UnknownNameError, "DOGE"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_SHOCKS, ids=str)
async def test_bad_shocks_name_field_and_value(
    client: AsyncClient, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await client.simulate(**arguments)


async def test_views_too_large_for_a_frame_are_refused(engine: FakeEngine) -> None:
    engine.close()
    engine = FakeEngine(("BTC", "ETH", "SOL"), bins=100_000)
    async with (
        serving(engine, Limits(max_frame_bytes=4 << 20)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        engine.step()
        keep = ("venue", "side", "leverage")
        with pytest.raises(LimitExceededError, match=r"BTC: the view keep=venue,side,leverage,price .*narrow"):
            await anext(client.subscribe(keep=keep, **WHOLE))
        with pytest.raises(LimitExceededError, match=r"BTC: the view keep=venue,side,leverage,price .*narrow"):
            await client.snapshot(keep=keep, **WHOLE)
        with pytest.raises(LimitExceededError, match=r"of 3 maps are more than .* fewer symbols"):
            await client.snapshot(keep=("leverage", "price"), leverage=(0, 25), **WHOLE)
        assert not engine.watched


async def test_a_view_that_grows_too_large_ends_its_stream(engine: FakeEngine) -> None:
    async with (
        serving(engine, Limits(max_frame_bytes=4 << 20)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        engine.step()
        stream = client.subscribe("BTC", **WHOLE)
        pending = asyncio.create_task(caught(stream))
        await eventually(lambda: engine.watched)
        engine.bins = 600_000
        engine._grids["BTC"] = np.zeros((3, 2, 5, engine.bins + 2))
        engine.step(changed_share=0)
        with pytest.raises(LimitExceededError, match="BTC: the view keep=side,price"):
            await pending


async def test_too_many_streams_are_refused_until_one_ends(engine: FakeEngine) -> None:
    async with serving(engine, Limits(max_streams=1)) as server:
        engine.step()
        target = f"127.0.0.1:{server.port}"
        async with AsyncClient(target) as client, AsyncClient(target, reconnect_timeout_s=0.2) as hasty:
            held = client.subscribe("BTC")
            pending = asyncio.create_task(anext(held))
            await eventually(lambda: engine.watched)
            with pytest.raises(LimitExceededError, match=r"1 streams .*max_streams"):
                await anext(hasty.subscribe("BTC"))
            waiting = client.subscribe("ETH", **WHOLE)
            second = asyncio.create_task(anext(waiting))
            await eventually(lambda: waiting.stats.reconnects)
            pending.cancel()
            await eventually(lambda: ("ETH", ViewSpec()) in engine.watched)
            engine.step()
            assert (await second).symbol == "ETH"


async def test_too_many_views_are_refused_until_one_is_given_back(engine: FakeEngine) -> None:
    async with serving(engine, Limits(max_views=2)) as server:
        engine.step()
        target = f"127.0.0.1:{server.port}"
        async with AsyncClient(target) as client, AsyncClient(target, reconnect_timeout_s=0.2) as hasty:
            held = client.subscribe(["BTC", "ETH"], **WHOLE)
            pending = asyncio.create_task(caught(held))
            await eventually(lambda: engine.watched.total() == 2)
            shared = asyncio.create_task(caught(client.subscribe("BTC", **WHOLE)))  # the same view costs nothing
            await eventually(lambda: len(server.hub._readers) == 2 and all(r.subscription for r in server.hub._readers))
            with pytest.raises(LimitExceededError, match=r"2 other views .* 1 more .* 2 \(max_views\)"):
                await anext(hasty.subscribe("BTC", keep="venue"))
            waiting = client.subscribe("BTC", keep="venue")
            first = asyncio.create_task(anext(waiting))
            await eventually(lambda: waiting.stats.reconnects)
            await held.aclose()
            await pending
            await eventually(lambda: any("venue" in spec.keep for _, spec in engine.watched))
            engine.step()
            assert (await first).axes == ("venue", "price")
            shared.cancel()
            await waiting.aclose()
            await eventually(lambda: not engine.watched)


async def test_more_views_than_there_can_be_are_refused_for_good(engine: FakeEngine) -> None:
    async with serving(engine, Limits(max_views=1)) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        with pytest.raises(LimitExceededError, match=r"2 symbols is 2 views.* 1 \(max_views\): ask for fewer"):
            await anext(client.subscribe(["BTC", "ETH"]))
        assert not engine.watched


async def test_a_symbol_that_appears_can_be_one_view_too_many(engine: FakeEngine) -> None:
    async with serving(engine, Limits(max_views=2)) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        pending = asyncio.create_task(caught(client.subscribe(**WHOLE)))
        await eventually(lambda: engine.watched.total() == 2)
        engine.add_symbol("SOL")
        engine.step()
        with pytest.raises(LimitExceededError, match="3 symbols is 3 views"):
            await pending
        await eventually(lambda: not engine.watched)


async def test_a_view_of_a_symbol_without_a_map_is_checked_all_the_same(
    engine: FakeEngine, client: AsyncClient
) -> None:
    engine.add_symbol("SOL")  # known, and without a map until the next tick
    for symbols in ("SOL", ["BTC", "SOL"]):
        with pytest.raises(InvalidArgumentError, match=r"leverage_max = 2\.8: no leverage tier"):
            await anext(client.subscribe(symbols, leverage=(2.2, 2.8)))
    with pytest.raises(UnknownNameError, match="venue 'mtgox'"):
        await anext(client.subscribe("SOL", venues="mtgox"))
    assert not engine.watched
    stream = client.subscribe("SOL", **WHOLE)  # while a good one waits
    first = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched)
    engine.step()
    assert (await first).symbol == "SOL"


async def test_a_request_of_an_unknown_kind_is_refused(engine: FakeEngine, server: RpcServer) -> None:
    from_the_future = b"\x08\x07\x4a\x00"  # request_id = 7 and field 9, an empty message
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
        await call.write(heatmap_pb2.SubscribeRequest.FromString(from_the_future))
        with pytest.raises(grpc.aio.AioRpcError, match="request = None: set subscription") as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not engine.watched


async def test_a_bug_in_delivery_ends_the_streams_and_is_reported(
    engine: FakeEngine,
    server: RpcServer,
    client: AsyncClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = asyncio.create_task(server.raise_failure())
    pending = [asyncio.create_task(caught(client.subscribe(symbol))) for symbol in ("BTC", "ETH")]
    await eventually(lambda: engine.watched.total() == 2)

    def broken(self: Subscriber) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Subscriber, "notify", broken)
    with caplog.at_level(logging.ERROR):
        engine.step()
        for stream in pending:
            with pytest.raises(ServerError, match=r"INTERNAL: a bug ended the streams \(ZeroDivisionError\)") as failed:
                await stream
            assert "secret" not in str(failed.value)
    with pytest.raises(ZeroDivisionError):
        await reported
    assert caplog.text.count("Traceback") == 1
    engine.step()  # a second failure changes nothing
    with pytest.raises(ServerError, match="INTERNAL: a bug ended"):
        await anext(client.subscribe("BTC"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(10):
            while (await watch.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                pass
        watch.cancel()


async def test_an_announcement_that_fails_is_reported(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(engine) as server:

        async def broken(*arguments: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(server._health, "set", broken)
        engine.step()
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(10):
                await server.raise_failure()


async def test_a_bug_ends_the_call_and_is_logged(
    engine: FakeEngine, client: AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(symbol: str) -> SymbolMap:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(engine, "_map", broken)
    with caplog.at_level(logging.ERROR), pytest.raises(ServerError, match=r"INTERNAL.*ZeroDivisionError") as failed:
        await client.snapshot("BTC")
    assert "secret" not in str(failed.value)
    assert "Traceback" in caplog.text


async def caught(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"delivery": 7}, r"delivery = 7: must be one of latest"),
        ({"delivery": 2, "max_rate_hz": 1}, r"max_rate_hz = 1.0: must be 0 where delivery is DELIVERY_EVERY"),
        ({"max_unacked": 65}, r"max_unacked = 65: at most 64"),
        ({"encoding": heatmap_pb2.Encoding(quantum_usd=-1)}, r"encoding.quantum_usd = -1.0: must be at least 0"),
        ({"encoding": heatmap_pb2.Encoding(quantum_usd=1e-9)}, r"encoding.quantum_usd = 1e-09: must be 0 or at least"),
        ({"encoding": heatmap_pb2.Encoding(quantum_usd=float("nan"))}, r"encoding.quantum_usd = nan"),
        ({"encoding": heatmap_pb2.Encoding(compression=9)}, r"encoding.compression = 9: must be one of"),
        ({"resume_seq": {str(k): 1 for k in range(1_001)}}, r"resume_seq = 1001: at most 1000"),
    ],
)
async def test_wrong_wishes_are_named(engine: FakeEngine, wrong: dict[str, Any], told: str) -> None:
    async with serving(engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        engine.step()
        stub: Any = heatmap_pb2_grpc.HeatmapServiceStub(channel)
        call = stub.Subscribe()
        await call.write(subscribe_request(**wrong))
        with pytest.raises(grpc.aio.AioRpcError, match=told) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
