"""Forecasts over gRPC: a real engine, a real server, the real client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from forcedmove_client import AsyncClient, Forecast, InvalidArgumentError
from forcedmove_server.config import Config, EngineConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import eventually
from tests.integration.real_engine import fed_engine, served
from tests.unit.market_feed import ENGINE, minute

CONFIG = Config(engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins))


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fed_engine(CONFIG) as started:
        yield started


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine) as running:
        yield running


@pytest.mark.parametrize("move", [-0.05, 0.04])
async def test_a_forecast_says_how_sure_it_is(client: AsyncClient, move: float) -> None:
    found = await client.forecast("BTC", move=move, paths=500, seed=7, coupling_s=0.0, curve_points=16)
    chain, way = found.chain, 1 if move > 0 else -1
    assert chain == await client.simulate("BTC", move=move)
    assert found.paths is not None
    assert (found.paths.paths, found.paths.seed) == (500, 7)
    assert [quantile.probability for quantile in found.paths.quantiles] == [0.05, 0.5, 0.95]
    ends = [way * quantile.terminal_price for quantile in found.paths.quantiles]
    assert ends == sorted(ends)
    assert ends[0] < ends[-1]
    totals = [quantile.total_usd for quantile in found.paths.quantiles]
    assert totals[0] < totals[1] < totals[2]
    assert totals[0] < chain.total_usd < totals[2]
    assert len(found.paths.level_probabilities) == chain.depth
    assert found.by_venue is not None
    assert found.by_venue.terminal_price == chain.terminal_price, "venues that are coupled at once are the pooled chain"
    assert found.by_venue.total_usd == pytest.approx(chain.total_usd, abs=0.01)
    assert {venue.venue for venue in found.by_venue.venues} == {"binance", "hyperliquid"}
    assert len(found.curve) == 16
    assert all(way * (point.terminal_price - point.shock_price) >= 0 for point in found.curve)
    curve = [way * point.terminal_price for point in found.curve]
    assert curve == sorted(curve)
    assert [point.side for point in found.tipping_points] == ["long", "short"]
    assert {book.market for book in found.books} == {"binance:BTCUSDT", "hyperliquid:BTC", "binance:BTCUSD_PERP"}
    assert all(0 < book.bid_reach < 0.01 and not book.stale for book in found.books)
    names = {assumption.name for assumption in found.assumptions}
    assert names >= {"path_notional", "path_depth", "coupling", "depth_withdrawal", "impact", "book_age"}
    again = await client.forecast("BTC", move=move, paths=500, seed=7, coupling_s=0.0, curve_points=16)
    assert again == found
    other = await client.forecast("BTC", move=move, paths=500, seed=8)
    assert other.paths is not None
    assert other.paths.quantiles != found.paths.quantiles


async def test_a_book_of_ones_own_takes_the_place_of_the_visible_one(client: AsyncClient) -> None:
    seen = await client.forecast("BTC", move=-0.03, paths=0)
    mark = seen.chain.start_price
    wall = await client.forecast("BTC", move=-0.03, paths=0, coupling_s=1.0, bids=[(mark * 0.969, 1e6)])
    assert seen.paths is wall.paths is None
    assert abs(wall.chain.terminal_price - mark) <= abs(seen.chain.terminal_price - mark)
    assert wall.chain.terminal_price >= mark * 0.968, "a wall of a million coins holds"
    assert wall.books == ()
    assert "given_book" in {assumption.name for assumption in wall.assumptions}
    assert wall.by_venue is not None
    assert wall.by_venue.settled


async def test_a_shock_that_takes_its_time_meets_books_that_refill(client: AsyncClient) -> None:
    at_once = await client.forecast("BTC", move=-0.05, paths=500, seed=7)
    slow = await client.forecast("BTC", move=-0.05, paths=500, seed=7, duration_s=1200.0, curve_points=16)
    assert slow.chain.terminal_price >= at_once.chain.terminal_price
    assert slow.paths is not None
    assert slow.paths.quantiles[0].terminal_price > slow.chain.shock_price, "it may end before it gets there"
    told = {assumption.name: assumption for assumption in slow.assumptions}
    assert told["withdrawal_span"].value == 0.25
    assert told["impact_recovery"].value == pytest.approx(0.65 + 0.35 * 65 / 1200)
    assert told["path_shock"].value > 0
    assert not {"withdrawal_span", "impact_recovery", "path_shock"} & {found.name for found in at_once.assumptions}
    curve = [-point.terminal_price for point in slow.curve]
    assert curve == sorted(curve)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"paths": 20_001}, "paths = 20001: must lie in 0 .. 20000"),
    ({"curve_points": 513}, "curve_points = 513"),
    ({"coupling_s": 61.0}, "coupling_s = 61"),
    ({"duration_s": -1.0}, "duration_s = -1"),
    ({"duration_s": float("nan")}, "duration_s = nan"),
    ({"coupling_s": -1.0}, "coupling_s = -1"),
    ({"coupling_s": float("nan")}, "coupling_s = nan"),
    ({"bids": [(1e9, 1.0)]}, "book.bids = .*other side of the mark"),
    ({"asks": [(float("nan"), 1.0)]}, "book.asks"),
    ({"bids": [(50_000.0, -1.0)]}, "book.bids"),
    ({"bids": [(50_000.0, 1.0)] * 2001}, "book.bids = 2001: at most 2000"),
    ({"seed": -1}, "seed = -1"),
]


@pytest.mark.parametrize(("asked", "message"), BAD, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_is_refused_by_name(client: AsyncClient, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await client.forecast("BTC", move=-0.03, **{"paths": 10} | asked)


async def test_books_that_nobody_tells_of_any_more_leave(client: AsyncClient, engine: Engine) -> None:
    before = await client.forecast("BTC", move=-0.03, paths=0)
    for number in range(3, 15):
        await asyncio.to_thread(engine.put, minute(number, books=False))

    async def newest() -> Forecast:
        return await client.forecast("BTC", move=-0.03, paths=0)

    await eventually(lambda: engine.pipeline.events["open_interest"] == 60, 60)
    found = await newest()
    for _ in range(200):
        if all(book.stale for book in found.books):
            break
        await asyncio.sleep(0.05)
        found = await newest()
    assert all(book.stale and book.age_ms > 600_000 for book in found.books)
    assert not any(book.stale for book in before.books)
    assert {a.text for a in found.assumptions if a.name == "impact"} == {
        "depth: 0 visible books, beyond them the square-root law with this Y"
    }
