"""What a server refuses: every error names the field and the value, and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from forcedmove_client import (
    AsyncClient,
    InvalidArgumentError,
    LimitExceededError,
    ServerError,
    UnknownNameError,
)
from forcedmove_server.engine.frames import SymbolMap
from forcedmove_server.rpc.limits import Limits
from tests.integration.fake_engine import FakeEngine, eventually, serving

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
    ({"symbol": "BTC", "move": -1}, InvalidArgumentError, r"move_fraction = -1\.0: must be above -1"),
    ({"symbol": "BTC", "move": float("inf")}, InvalidArgumentError, "move_fraction = inf"),
    ({"symbol": "BTC", "move": 1e300}, InvalidArgumentError, r"move_fraction = 1e\+300: must be at most 100"),
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
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        keep = ("venue", "side", "leverage")
        with pytest.raises(LimitExceededError, match=r"BTC: the view keep=venue,side,leverage,price .*narrow"):
            await anext(client.subscribe(keep=keep, **WHOLE))
        with pytest.raises(LimitExceededError, match=r"BTC: the view keep=venue,side,leverage,price .*narrow"):
            await client.snapshot(keep=keep, **WHOLE)
        with pytest.raises(LimitExceededError, match=r"of 3 maps are more than .* fewer symbols"):
            await client.snapshot(keep=("leverage", "price"), leverage=(0, 25), **WHOLE)
        assert not engine.watched


async def test_a_view_that_grows_too_large_ends_its_stream(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe("BTC", **WHOLE)
    pending = asyncio.create_task(caught(stream))
    await eventually(lambda: engine.watched)
    engine.bins = 600_000
    engine._grids["BTC"] = np.zeros((3, 2, 5, engine.bins + 2))
    engine.step(changed_share=0)
    with pytest.raises(LimitExceededError, match="BTC: the view keep=side,price"):
        await pending


async def test_too_many_streams_are_refused(engine: FakeEngine) -> None:
    async with serving(engine, Limits(max_streams=1)) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        pending = asyncio.create_task(anext(client.subscribe("BTC")))
        await eventually(lambda: server.hub._readers)
        with pytest.raises(LimitExceededError, match="1 streams"):
            await anext(client.subscribe("BTC"))
        pending.cancel()


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
