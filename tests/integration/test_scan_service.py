"""Scan over gRPC: a real engine on a small market, a real server, the real client."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import scan_pb2, scan_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    InvalidArgumentError,
    LimitExceededError,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_client.sync import Client
from forcedmove_server.config import Config, EngineConfig, ScanConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc import scan as scan_module
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.integration.real_engine import fed_engine, served
from tests.unit.market_feed import ENGINE, minute

SHOCKS = (-0.03, -0.01, 0.01, 0.03)
CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins),
    scan=ScanConfig(max_running=1, max_shocks=300, max_chains=1_000, max_paths=2_000_000),
)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fed_engine(CONFIG) as started:
        yield started


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine, Limits(scan=CONFIG.scan)) as running:
        yield running


async def test_every_shock_is_answered_as_simulate_answers_it(client: AsyncClient) -> None:
    found = await client.scan(SHOCKS, horizon_s=3_600)
    assert (found.estimate.symbols, found.estimate.chains, found.estimate.paths) == (2, 8, 0)
    assert set(found.symbols) == {"BTC", "ETH"}
    assert (found.summary.scanned, found.summary.filtered, found.summary.missing) == (2, 0, 0)
    for symbol, one in found.symbols.items():
        for k, shock in enumerate(SHOCKS):
            chain = await client.simulate(symbol, move=shock)
            assert one.mark_price == chain.start_price
            assert (one.terminal_price[k], one.fired_usd[k]) == (chain.terminal_price, chain.total_usd)
            assert (one.levels[k], one.amplification[k]) == (chain.depth, chain.amplification)
        assert one.path_terminal is None
        assert one.max_fragility == one.fragility.max()
        assert one.fired_usd.sum() > 0
    values = dict(found.summary.ranking)
    assert [values[one.symbol] for one in found.ranked] == sorted(values.values(), reverse=True)  # type: ignore[type-var]
    assert {one.name for one in found.summary.assumptions} >= {"latent_book", "touch", "volatility"}


async def test_paths_filters_venues_and_top(client: AsyncClient) -> None:
    whole = await client.scan(SHOCKS, paths=200, seed=3, sort="loss")
    again = await client.scan(SHOCKS, "BTC", paths=200, seed=3)
    btc = whole.symbols["BTC"]
    assert btc.path_terminal is not None
    assert btc.path_fired_usd is not None
    np.testing.assert_array_equal(again.symbols["BTC"].path_terminal, btc.path_terminal)
    assert btc.path_terminal.shape == (3, 4)
    assert np.all(np.diff(np.abs(btc.path_terminal - btc.mark_price), axis=0) >= 0)
    assert np.all(np.diff(btc.path_fired_usd, axis=0) >= 0)
    one = await client.scan(SHOCKS, top=1, sort="loss")
    assert len(one.ranked) == 1
    assert len(one.symbols) == 2
    there = await client.scan(SHOCKS, venues="hyperliquid")
    assert list(there.symbols) == ["BTC"]
    assert there.summary.missing == 1
    assert 0 < there.symbols["BTC"].notional_usd < btc.notional_usd
    large = await client.scan(SHOCKS, min_notional_usd=btc.notional_usd)
    assert list(large.symbols) == ["BTC"]
    assert large.summary.filtered == 1


async def test_a_scan_leaves_as_a_table(client: AsyncClient) -> None:
    found = await client.scan(SHOCKS, paths=50)
    table = found.to_pandas()
    assert len(table) == 8
    assert table["rank"].tolist() == [1] * 4 + [2] * 4
    assert list(table.columns[:4]) == ["rank", "symbol", "mark_price", "shock"]
    assert {"path_terminal_p05", "path_fired_usd_p95", "tipping_down"} <= set(table.columns)
    assert found.to_arrow().schema.field("beyond_window").type == "bool"


async def test_the_stream_says_what_comes_before_it_computes(client: AsyncClient) -> None:
    stream = client.iter_scan(SHOCKS)
    first = await anext(stream)
    assert stream.estimate is not None
    assert stream.summary is None
    rest = [one async for one in stream]
    assert {first.symbol, *(one.symbol for one in rest)} == {"BTC", "ETH"}
    assert stream.summary is not None
    estimate = await client.estimate_scan(SHOCKS, paths=100)
    assert (estimate.chains, estimate.paths) == (8, 800)
    assert estimate.seconds > 0
    assert estimate.working_bytes > 0


async def test_the_blocking_client(server: RpcServer, client: AsyncClient) -> None:
    def scan() -> tuple[list[str], float]:
        with Client(f"127.0.0.1:{server.port}") as blocking:
            found = blocking.scan(SHOCKS)
            stream = blocking.iter_scan(SHOCKS)
            seen = [one.symbol for one in stream]
            assert stream.summary is not None
            assert stream.estimate == blocking.scan(SHOCKS).estimate or stream.estimate is not None
            blocking.iter_scan(SHOCKS).close()
            return seen, found.ranked[0].max_fragility

    seen, fragility = await asyncio.to_thread(scan)
    assert sorted(seen) == ["BTC", "ETH"]
    assert fragility > 0


async def test_what_cannot_be_is_refused_by_name(server: RpcServer, client: AsyncClient) -> None:
    for request, told in (
        ({"shocks": ()}, "shock_fractions"),
        ({"shocks": (0.0,)}, "shock_fractions = 0.0"),
        ({"shocks": (float("nan"),)}, "shock_fractions = nan"),
        ({"shocks": (-0.01,) * 301}, "shock_fractions = 301"),
        ({"shocks": SHOCKS, "horizon_s": 0.0}, "horizon_s = 0.0"),
        ({"shocks": SHOCKS, "min_notional_usd": -1.0}, "min_notional_usd = -1.0"),
        ({"shocks": SHOCKS, "max_distance": float("inf")}, "max_distance_fraction = inf"),
        ({"shocks": SHOCKS, "sort": "size"}, "sort = 'size'"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            await client.scan(**request)  # type: ignore[arg-type]
    for where in ({"symbols": "NOSUCH"}, {"venues": "nosuch"}):
        with pytest.raises(UnknownNameError, match=r"(?i)nosuch"):
            await client.scan(SHOCKS, **where)  # type: ignore[arg-type]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = scan_pb2_grpc.ScanServiceStub(channel).Scan(scan_pb2.ScanRequest(shock_fractions=SHOCKS))
        with pytest.raises(grpc.aio.AioRpcError, match="deadline") as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_limits_come_with_their_numbers(client: AsyncClient) -> None:
    with pytest.raises(LimitExceededError, match=r"20,001 paths of each shock.*scan\.max_paths_per_chain"):
        await client.scan(SHOCKS, paths=20_001)
    with pytest.raises(LimitExceededError, match=r"2,400,000 paths; this server takes 2,000,000 \(scan\.max_paths\)"):
        await client.estimate_scan((-0.01,) * 60, paths=20_000)
    with pytest.raises(LimitExceededError, match=r"1,000,000 paths take about .* MiB, and the call's deadline"):
        await client.scan((-0.01,) * 25, paths=20_000, timeout_s=0.1)


async def test_cancelling_stops_the_work(
    client: AsyncClient, server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow scan that is left after its first symbol computes no further, and gives its place to the next."""
    begun, ended = [], []

    def slowly(backend: Any, book: Any, question: Any, is_cancelled: Any) -> Any:
        begun.append(book.symbol)
        try:
            if len(begun) > 1:
                for _ in range(2_000):
                    scan_symbol(backend, book, question, is_cancelled)
        except Exception as error:
            ended.append(type(error).__name__)
            raise
        return scan_symbol(backend, book, question, is_cancelled)

    scan_symbol = scan_module.scan_symbol
    monkeypatch.setattr(scan_module, "scan_symbol", slowly)
    stream = client.iter_scan(SHOCKS)
    await anext(stream)
    with pytest.raises(LimitExceededError, match=r"1 scans are running.*scan\.max_running"):
        await client.scan(SHOCKS)
    await eventually(lambda: len(begun) == 2)  # on a busy machine the second one may not have begun yet
    await stream.aclose()
    await eventually(lambda: ended == ["CancelledScan"], 10)
    assert len(begun) == 2
    monkeypatch.setattr(scan_module, "scan_symbol", scan_symbol)
    assert len((await client.scan(SHOCKS)).symbols) == 2


async def test_estimates_follow_the_pace_of_the_machine(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_symbol = scan_module.scan_symbol

    def slowly(*args: Any) -> Any:
        time.sleep(0.15)
        return scan_symbol(*args)

    monkeypatch.setattr(scan_module, "scan_symbol", slowly)
    before = await client.estimate_scan(SHOCKS)
    took = (await client.scan(SHOCKS)).summary.seconds
    after = await client.estimate_scan(SHOCKS)
    assert before.seconds < after.seconds < took


async def test_ticks_go_on_while_scans_run(client: AsyncClient, engine: Engine) -> None:
    before, missed = engine.ticks, engine.missed_ticks
    running = asyncio.create_task(client.scan(tuple(np.linspace(-0.2, -0.001, 60)), paths=5_000))
    third = minute(3)
    engine.put(third)
    await eventually(lambda: engine.ticks > before and engine._latest is not None)
    await running
    await eventually(lambda: engine.ticks - before >= 2)
    assert engine.missed_ticks - missed < engine.ticks - before


async def test_without_a_map_there_is_nothing_to_scan() -> None:
    fake = FakeEngine()
    async with serving(fake) as running, AsyncClient(f"127.0.0.1:{running.port}") as client:
        with pytest.raises(UnavailableError):
            await client.scan(SHOCKS)


def test_defaults_of_the_limits_are_those_of_the_configuration() -> None:
    assert dataclasses.asdict(Limits().scan) == dataclasses.asdict(Config().scan)
