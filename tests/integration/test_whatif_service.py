"""WhatIf over gRPC: a real engine on a small market, a real server, the real client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forcedmove_client import AsyncClient, InvalidArgumentError, UnknownNameError
from forcedmove_client.sync import Client
from forcedmove_server.config import Config, EngineConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import eventually
from tests.integration.real_engine import served
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

MINE: dict[str, Any] = {
    "venue": "binance", "symbol": "BTC", "side": "long", "entry_price": 98_000.0, "quantity": 12.345, "leverage": 25.0
}  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    config = Config(engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins))
    engine = Engine(config, two_venue_registry())
    engine.start()
    for number in range(3):
        engine.put(minute(number))
    await eventually(lambda: engine._latest is not None and engine.pipeline.events["open_interest"] == 12, 60)
    async with served(engine) as running:
        yield running
    await asyncio.to_thread(engine.stop)
    assert engine.failure is None


async def test_the_answer_agrees_with_the_margin_service_and_with_simulate(client: AsyncClient) -> None:
    found = await client.what_if(**MINE)
    price = await client.liquidation_price(**MINE)
    assert found.liquidation == price
    # the ladder's third slice: 1.21M of value at 1 %, 1 500 off
    assert price.price == pytest.approx(
        (98_000 * 0.96 - price.maintenance_amount / 12.345) / (1 - price.maintenance_rate)
    )
    own = found.outlook
    assert own.liquidation_price == price.price
    assert own.distance == pytest.approx(price.price / found.mark_price - 1)
    assert own.shock is not None
    assert own.distance <= own.shock < 0
    assert found.nearest is not None
    again = await client.simulate("BTC", price=found.nearest.shock_price)
    assert again == found.nearest
    assert again.terminal_price <= price.price
    assert [touch.horizon_s for touch in own.touches] == [3_600.0, 86_400.0]
    for touch in own.touches:
        assert 0 <= touch.alone <= touch.with_cascade <= 1
    assert len(found.by_leverage) == 8  # the usual ones and its own
    assert {one.name for one in found.assumptions} >= {"impact", "own_position", "with_cascade"}


async def test_nothing_of_the_position_stays(client: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """The map is the same afterwards, and no log names any number of the position, also where it is refused."""
    before = await client.snapshot("BTC", keep=("venue", "side", "leverage", "price"), price_range=0)
    with caplog.at_level(logging.DEBUG):
        await client.what_if(**MINE, move=-0.03)
        with pytest.raises(InvalidArgumentError):
            await client.what_if(**(MINE | {"leverage": 0.12345}))
    after = await client.snapshot("BTC", keep=("venue", "side", "leverage", "price"), price_range=0)
    assert (before["BTC"].grid == after["BTC"].grid).all()
    assert "12.345" not in caplog.text
    assert "0.12345" not in caplog.text


async def test_books_shocks_and_tables(client: AsyncClient) -> None:
    walled = await client.what_if(
        **MINE, move=-0.02, bids=[(95_000.0, 1e6)], asks=[(99_000.0, 1.0)], book_ends=True, horizons_s=[600.0],
        leverages=[5.0, 500.0], added_margins=[1_000.0],
    )  # fmt: skip
    assert walled.shock is not None
    assert walled.shock.terminal_price >= 94_950  # 95 billion rest at 95 000
    assert [touch.horizon_s for touch in walled.outlook.touches] == [600.0]
    assert walled.by_leverage[0].outlook is not None
    assert walled.by_leverage[1].outlook is None
    assert "500" in walled.by_leverage[1].refused
    assert [row.value for row in walled.by_added_margin] == [1_000.0]


async def test_refusals_name_the_field(client: AsyncClient) -> None:
    for more, told in (
        ({"quantity": -1.0}, r"position\.quantity = -1"),
        ({"entry_price": 0.0}, r"position\.entry_price_usd = 0"),
        ({"leverage": 500.0}, r"position\.leverage = 500"),
        ({"venue": ""}, r"position\.venue"),
        ({"symbol": " "}, r"position\.symbol"),
        ({"horizons_s": [-1.0]}, "horizons_s = -1"),
        ({"price": -5.0}, "price_usd = -5"),
        ({"move": -0.94}, "price_usd = .* must lie in the map's window"),
        ({"move": -0.96}, r"move_fraction = -0\.96: must lie in -0\.95 \.\. 5"),
        ({"price": 1.0, "move": 0.1}, "at most one"),
        ({"bids": [(200_000.0, 1.0)]}, r"book\.bids"),
        ({"asks": [(200_000.0, 1.0)] * 2_001}, r"book\.asks = 2001"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            await client.what_if(**(MINE | more))
    for more in ({"venue": "nosuch"}, {"symbol": "NOSUCH"}):
        with pytest.raises(UnknownNameError, match=r"(?i)nosuch"):
            await client.what_if(**(MINE | more))


async def test_the_blocking_client(server: RpcServer) -> None:
    def ask() -> float | None:
        with Client(f"127.0.0.1:{server.port}") as blocking:
            return blocking.what_if(**MINE).outlook.liquidation_price

    assert await asyncio.to_thread(ask) == pytest.approx(94_700, rel=0.01)
