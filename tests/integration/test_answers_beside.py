"""Questions about shocks and positions over gRPC: no tick waits, readers take turns, what is too large is named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import cascade_pb2, cascade_pb2_grpc, whatif_pb2, whatif_pb2_grpc
from forcedmove_client import AsyncClient, InvalidArgumentError, LimitExceededError, UnavailableError
from forcedmove_client.errors import is_quota
from forcedmove_kernels.fixed_point import LONG, MAX_ROW_CENTS, SHORT
from forcedmove_server.config import Config, EngineConfig
from forcedmove_server.engine import taken as taken_module
from forcedmove_server.engine import whatif as whatif_module
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import eventually
from tests.integration.real_engine import served
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

CONFIG = Config(engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins))
MINE: dict[str, Any] = {
    "venue": "binance", "symbol": "BTC", "side": "long", "entry_price": 98_000.0, "quantity": 12.345, "leverage": 25.0
}  # fmt: skip
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    started = Engine(CONFIG, two_venue_registry())
    started.start()
    for number in range(3):
        started.put(minute(number))
    await eventually(lambda: started.pipeline.now_ns == minute(2).until_ns, 60)
    number = started.ticks
    await eventually(lambda: (tick := started._latest) and tick.number > number + 1 and not tick.changed, 60)
    yield started
    await asyncio.to_thread(started.stop)
    assert started.failure is None


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine, Limits(answers_waiting=1)) as running:
        yield running


@pytest.fixture(params=["forecast", "what_if"])
def ask(request: pytest.FixtureRequest, server: RpcServer) -> Ask:
    """Asks the one or the other."""

    async def asked(timeout_s: float = 30.0) -> Any:
        async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=timeout_s) as client:
            if request.param == "forecast":
                return await client.forecast("BTC", move=-0.03, paths=2_000)
            return await client.what_if(**MINE)

    return asked


class Held:
    """Holds answers on their threads until they are let go."""

    def __init__(self) -> None:
        self.begun, self.threads = 0, set[str]()
        self.let_go = threading.Event()

    def holding(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any) -> Any:
            self.begun += 1
            self.threads.add(threading.current_thread().name)
            assert self.let_go.wait(30)
            return work(*arguments)

        return held


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    holds = Held()
    monkeypatch.setattr(taken_module, "forecast", holds.holding(taken_module.forecast))
    monkeypatch.setattr(whatif_module, "what_if", holds.holding(whatif_module.what_if))
    yield holds
    holds.let_go.set()


async def test_ticks_are_taken_while_an_answer_is_computed(ask: Ask, engine: Engine, held: Held) -> None:
    running = asyncio.create_task(ask())
    await eventually(lambda: held.begun == 1)
    number, symbol_seq = engine.ticks, engine.latest().maps["BTC"].seq
    await asyncio.to_thread(engine.put, minute(3))
    await eventually(lambda: engine.ticks >= number + 10)
    await eventually(lambda: engine.latest().maps["BTC"].seq > symbol_seq)
    assert not running.done()
    assert "engine" not in held.threads
    held.let_go.set()
    await running


async def test_an_answer_is_that_of_the_tick_it_was_taken_from(client: AsyncClient, engine: Engine, held: Held) -> None:
    """Nothing that comes while it waits for its thread shows in it: books, feeds, cohorts."""
    wanted: dict[str, Any] = {"move": -0.03, "paths": 500, "seed": 3, "coupling_s": 5.0, "curve_points": 8}
    held.let_go.set()
    before = await client.forecast("BTC", **wanted)
    held.let_go.clear()
    running = asyncio.create_task(client.forecast("BTC", **wanted))
    await eventually(lambda: held.begun == 2)
    seq = engine.latest().maps["BTC"].seq
    for number in range(3, 6):
        await asyncio.to_thread(engine.put, minute(number))
    await eventually(
        lambda: engine.pipeline.events["open_interest"] == 24 and engine.latest().maps["BTC"].seq > seq, 60
    )
    held.let_go.set()
    assert await running == before
    assert await client.forecast("BTC", **wanted) != before


async def test_who_finds_the_queue_full_is_told_to_ask_again(ask: Ask, server: RpcServer, held: Held) -> None:
    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await eventually(lambda: held.begun == 1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        simulate = cascade_pb2_grpc.CascadeServiceStub(channel).Simulate  # type: ignore[no-untyped-call]
        await eventually(lambda: server.questions["forecast"]._taken == 2)
        with pytest.raises(grpc.aio.AioRpcError, match="2 questions are being answered") as caught:
            await simulate(cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=-0.01))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert is_quota(caught.value)
    with pytest.raises(LimitExceededError, match="ask again"):
        await ask()
    held.let_go.set()
    await asyncio.gather(first, second)
    await ask()


async def test_a_deadline_that_passes_in_the_queue_computes_nothing(ask: Ask, server: RpcServer, held: Held) -> None:
    first = asyncio.create_task(ask())
    await eventually(lambda: held.begun == 1)
    with pytest.raises(UnavailableError):
        await ask(0.2)
    await eventually(lambda: server.questions["forecast"]._taken == 1)
    held.let_go.set()
    await first
    assert held.begun == 1
    await ask()


async def test_work_that_nobody_waits_for_keeps_its_thread_to_the_end(ask: Ask, server: RpcServer, held: Held) -> None:
    with pytest.raises(UnavailableError):
        await ask(0.4)
    assert held.begun == 1
    next_one = asyncio.create_task(ask())
    await eventually(lambda: server.questions["forecast"]._taken == 2)
    await asyncio.sleep(0.05)
    assert held.begun == 1, "two at once"
    held.let_go.set()
    await next_one


@pytest.mark.parametrize(("side", "name"), [(LONG, "longs"), (SHORT, "shorts")])
async def test_a_symbol_that_holds_more_than_kernels_take_is_named(
    engine: Engine, server: RpcServer, side: int, name: str
) -> None:
    """A contract's size that was misunderstood: no chain can be followed, whichever way the question goes."""
    state = engine._states["BTC"]
    crowded = state.profile.copy()
    crowded[side, 5:7] = MAX_ROW_CENTS, 1
    engine._states["BTC"] = replace(state, profile=crowded)
    symbol, told = "BTC", f"BTC: notional_usd of {name} = 14"
    position = {"venue": "binance", "symbol": symbol, "side": 1, "entry_price_usd": 98e3, "quantity": 1, "leverage": 25}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        simulate = cascade_pb2_grpc.CascadeServiceStub(channel).Simulate  # type: ignore[no-untyped-call]
        what_if = whatif_pb2_grpc.WhatIfServiceStub(channel).WhatIf  # type: ignore[no-untyped-call]
        for ask, question in (
            (simulate, cascade_pb2.SimulateRequest(symbol=symbol, move_fraction=-0.02)),
            (simulate, cascade_pb2.SimulateRequest(symbol=symbol, move_fraction=0.02, paths=100, coupling_s=1.0)),
            (what_if, whatif_pb2.WhatIfRequest(position=position)),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=told) as caught:
                # one after the other: a call begins when it is made, and this server takes two
                await ask(question, timeout=30)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            (details,) = [v for k, v in caught.value.trailing_metadata() or () if k == "grpc-status-details-bin"]
            assert b"google.rpc.PreconditionFailure" in details
            assert f"BTC.notional_usd of {name}".encode() in details


async def test_a_symbol_that_holds_just_what_kernels_take_is_answered(engine: Engine, client: AsyncClient) -> None:
    state = engine._states["BTC"]
    crowded = np.zeros_like(state.profile)
    crowded[:, state.cell(97_000.0)] = MAX_ROW_CENTS
    cents = {"binance": crowded}
    engine._states["BTC"] = replace(state, profile=crowded, venue_cents=cents)
    found = await client.forecast("BTC", move=-0.02, paths=50, coupling_s=1.0, curve_points=4)
    assert found.chain.total_usd == MAX_ROW_CENTS / 100
    assert (await client.what_if(**MINE, move=-0.02)).shock is not None


async def test_a_grid_that_is_too_large_is_refused_before_it_is_made(
    client: AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken_module, "MAX_GRID_BYTES", 1 << 10)
    monkeypatch.setattr(engine.pipeline.store.resident, "leverage_grid", None)
    with pytest.raises(
        LimitExceededError, match=r"paths = 10: the 3 rows of BTC have \d+ bytes in windows of 1024 bins"
    ):
        await client.forecast("BTC", move=-0.02, paths=10)
    assert (await client.forecast("BTC", move=-0.02, paths=0)).paths is None


HUGE, TINY = 1e308, 5e-324
EXTREME: list[tuple[str, dict[str, Any], str]] = [
    ("forecast", {"price": HUGE}, r"price_usd = 1e\+308: must lie in the map's window"),
    ("forecast", {"price": TINY}, r"price_usd = 5e-324: must lie in the map's window"),
    ("forecast", {"move": 4.9}, "price_usd = .*: must lie in the map's window"),
    ("forecast", {"move": 99.0}, r"move_fraction = 99\.0: must lie in -0\.95 \.\. 5"),
    ("forecast", {"move": -0.03, "asks": [(1.0, HUGE)]}, r"book\.asks"),
    ("forecast", {"move": -0.03, "asks": [(HUGE, HUGE)]}, r"book\.asks"),
    ("forecast", {"move": -0.03, "bids": [(90_000.0, 1e9)]}, r"book\.bids"),
    ("forecast", {"move": -0.03, "coupling_s": HUGE}, r"coupling_s = 1e\+308"),
    ("forecast", {"move": -0.03, "duration_s": HUGE}, r"duration_s = 1e\+308"),
    ("what_if", {"price": HUGE}, r"price_usd = 1e\+308: must lie in the map's window"),
    ("what_if", {"entry_price": HUGE}, r"position\.entry_price_usd = 1e\+308"),
    ("what_if", {"quantity": HUGE}, r"position\.quantity = 1e\+308"),
    ("what_if", {"quantity": TINY}, r"position\.quantity = 5e-324: must be a number at least 1e-18"),
    ("what_if", {"leverage": HUGE}, r"position\.leverage = 1e\+308"),
    ("what_if", {"horizons_s": [HUGE]}, r"horizons_s = 1e\+308"),
    ("what_if", {"added_margins": [float("inf")]}, "added_margins = inf"),
    ("what_if", {"leverages": [2.0] * 33}, "leverages = 33: at most 32"),
]


@pytest.mark.parametrize(("method", "asked", "message"), EXTREME, ids=lambda value: str(value)[:40])
async def test_numbers_beyond_all_windows_are_refused_by_name(
    client: AsyncClient, method: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await (client.forecast("BTC", **asked) if method == "forecast" else client.what_if(**(MINE | asked)))


async def test_extreme_numbers_that_mean_something_are_answered(client: AsyncClient) -> None:
    """A level far outside the window is far away; an order there rests in the outer cell."""
    far = await client.forecast(
        "BTC", move=-0.03, paths=20, coupling_s=1.0, asks=[(HUGE, 1e-300)], bids=[(TINY, 1e300)]
    )
    assert far.paths is not None
    short = await client.what_if(**(MINE | {"side": "short", "leverage": 1.0}), added_margins=[1e12, TINY, HUGE])
    assert short.outlook.shock is None
    refused = await client.what_if(**MINE, leverages=[HUGE, TINY], horizons_s=[TINY])
    assert all(row.outlook is None and row.refused for row in refused.by_leverage)
    assert refused.outlook.touches[0].alone == 0.0
