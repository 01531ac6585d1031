"""PositionsService over gRPC: a real engine, a real server, the real client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import model_pb2, positions_pb2, positions_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    InvalidArgumentError,
    LimitExceededError,
    MapFrame,
    Position,
    PositionKey,
    UnknownNameError,
)
from forcedmove_client.sync import Client
from forcedmove_server.config import Config, EngineConfig, ExactConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import eventually
from tests.integration.real_engine import fed_engine, served
from tests.unit.market_feed import ENGINE, minute

LONG = PositionKey("binance", "BTCUSDT", "long", "sub-1")
SHORT = PositionKey("hyperliquid", "BTC", "short")
CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins),
    exact=ExactConfig(max_markets=4, max_positions=1_500, max_producers=2),
)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fed_engine(CONFIG) as started:
        yield started


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine) as running:
        yield running


async def whole(client: AsyncClient) -> MapFrame:
    keep: Any = ("venue", "side", "leverage", "price")
    return (await client.snapshot("BTC", keep=keep, price_range=0))["BTC"]


def cell(frame: MapFrame, venue: str, side: str, leverage: float, price: float) -> float:
    """Notional of the bin that a price lies in."""
    (at,) = np.flatnonzero((frame.price_low <= price) & (price < frame.price_high))
    return float(frame.select(venue=venue, side=side, leverage=leverage)[at])  # type: ignore[arg-type]


async def test_what_is_set_is_in_the_next_snapshot_and_what_is_cleared_is_inferred_again(client: AsyncClient) -> None:
    before = await whole(client)
    answer = await client.set_positions(
        [
            Position(LONG, quantity=2_000, liquidation_price=90_020, leverage=12),
            Position(SHORT, notional_usd=50e6, liquidation_price=107_330, entry_price=95_000),
        ],
        producer="desk",
    )
    assert (answer.applied, answer.live, answer.waiting) == (True, 2, 0)
    frame = await whole(client)
    more = cell(frame, "binance", "long", 10, 90_020) - cell(before, "binance", "long", 10, 90_020)
    assert more == pytest.approx(2_000 * 90_025, rel=0.02)
    tiers = [leverage for leverage in frame.leverages if cell(frame, "hyperliquid", "short", leverage, 107_330) > 40e6]
    assert tiers == [8.0]
    for market in frame.markets:
        if market.market in ("binance:BTCUSDT", "hyperliquid:BTC"):
            assert market.live_long == pytest.approx(market.open_interest, rel=0.005)
            assert market.live_short == pytest.approx(market.open_interest, rel=0.005)
    # the inferred part is less by as much
    assert frame.grid.sum() == pytest.approx(before.grid.sum(), rel=0.01)
    assert {one.name for one in frame.assumptions} >= {"exact_positions"}
    assert not any("sub-1" in one.text or "desk" in one.text for one in frame.assumptions)
    assert (await client.clear_positions("desk")).applied
    after = await whole(client)
    assert cell(after, "binance", "long", 10, 90_020) == pytest.approx(
        cell(before, "binance", "long", 10, 90_020), rel=0.01, abs=10
    )
    assert after.grid.sum() == pytest.approx(before.grid.sum(), rel=0.001)
    assert "exact_positions" not in {one.name for one in after.assumptions}


async def test_positions_are_handed_back_to_who_names_the_producer(client: AsyncClient) -> None:
    opened = np.datetime64("2023-11-14T10:00:00", "ns")
    told = Position(LONG, quantity=3, liquidation_price=90_020, leverage=12, entry_price=98_000, opened_at=opened)
    await client.set_positions([told, Position(SHORT, quantity=1)], producer="desk", sequence=7)
    held = await client.positions("desk")
    assert held.sequence == 7
    assert 3_500 < held.expires_in_s <= 3_600
    assert [(one.state, one.quantity, one.tier_leverage) for one in held.positions] == [
        ("live", 3.0, 10.0),
        ("live", 1.0, 2.0),
    ]
    assert held.positions[0].position == told
    assert held.positions[1].position.liquidation_price is None
    for other in ("desk2", "DESK"):
        assert (await client.positions(other)).positions == ()


async def test_a_crossed_position_says_so(engine: Engine, client: AsyncClient) -> None:
    mark = (await client.snapshot("BTC"))["BTC"].mark_price
    await client.set_positions([Position(LONG, quantity=3, liquidation_price=mark - 400)], producer="desk")
    fallen = minute(3)
    own = fallen.mark_prices["market"] == 0
    fallen.mark_prices["price"][own] *= 1 - 2e-4 * np.arange(own.sum())
    engine.put(fallen)
    await eventually(lambda: engine.pipeline.exact.crossed_quantity[0] == 3)
    assert (await client.positions("desk")).positions[0].state == "crossed"
    again = Position(LONG, quantity=3, liquidation_price=mark - 400)
    with pytest.raises(InvalidArgumentError, match=r"positions\[0\]\.liquidation_price_usd.*has been crossed"):
        await client.set_positions([again], producer="desk")


async def test_a_repeated_request_is_answered_and_changes_nothing(client: AsyncClient) -> None:
    first = await client.set_positions([Position(LONG, quantity=3, liquidation_price=90_000)], producer="d", sequence=5)
    again = await client.set_positions([], producer="d", sequence=5)
    assert (first.applied, again.applied, again.sequence, again.live) == (True, False, 5, 1)
    assert not (await client.clear_positions("d", sequence=4)).applied
    assert (await client.set_positions([], producer="d", replace=False, removed=[LONG], sequence=6)).live == 0


@pytest.mark.parametrize(
    ("positions", "producer", "error", "text"),
    [
        ([Position(LONG, quantity=3, liquidation_price=200_000)], "d", InvalidArgumentError, "below the mark"),
        ([Position(LONG, quantity=-3)], "d", InvalidArgumentError, r"positions\[0\]\.quantity = -3\.0"),
        (
            [Position(SHORT, quantity=1), Position(LONG, quantity=3, leverage=-1)],
            "d",
            InvalidArgumentError,
            r"positions\[1\]\.leverage = -1",
        ),
        (
            [Position(SHORT, quantity=1), Position(SHORT, quantity=2)],
            "d",
            InvalidArgumentError,
            r"positions\[1\] = 'hyperliquid:BTC': told twice",
        ),
        ([Position(PositionKey("mtgox", "BTCUSD", "long"), quantity=1)], "d", UnknownNameError, "mtgox:BTCUSD"),
        ([Position(PositionKey("binance", "", "long"), quantity=1)], "d", InvalidArgumentError, r"key\.symbol = ''"),
        ([], "", InvalidArgumentError, "producer = ''"),
        ([], "account:0xabc", InvalidArgumentError, "producer = 'account:0xabc'"),
        ([], "x" * 65, InvalidArgumentError, "1 to 64 letters"),
        (
            [Position(PositionKey("binance", "BTCUSDT", "long", str(k)), quantity=0.01) for k in range(1_501)],
            "d",
            LimitExceededError,
            r"1501 positions, exact\.max_positions is 1500",
        ),
    ],
)
async def test_refusals_name_field_and_value(
    client: AsyncClient, positions: list[Position], producer: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await client.set_positions(positions, producer=producer)


async def test_what_the_wire_itself_may_hold(server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = positions_pb2_grpc.PositionsServiceStub(channel)
        key = positions_pb2.PositionKey(venue="binance", symbol="BTCUSDT", side=model_pb2.SIDE_LONG)
        for positions, text in (
            ([positions_pb2.Position(key=key)], "positions[0].size"),
            ([positions_pb2.Position(quantity=1)], "positions[0].key.venue = ''"),
            ([positions_pb2.Position(key=key, quantity=float("inf"))], "positions[0].quantity = inf"),
            (
                [positions_pb2.Position(key=positions_pb2.PositionKey(venue="binance", symbol="BTCUSDT"), quantity=1)],
                "positions[0].key.side = 0",
            ),
            ([positions_pb2.Position(key=key, quantity=1)] * 1_001, "positions = 1001: at most 1000"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.SetPositions(
                    positions_pb2.SetPositionsRequest(producer="d", sequence=1, positions=positions)
                )
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert text in (refused.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError, match="sequence = 0"):
            await stub.SetPositions(positions_pb2.SetPositionsRequest(producer="d"))


async def test_there_is_room_for_so_many_producers(client: AsyncClient) -> None:
    one = [Position(LONG, quantity=1, liquidation_price=90_000)]
    await client.set_positions([], producer="z")  # who has nothing to tell takes no place
    for name in ("a", "b"):
        await client.set_positions(one, producer=name)
    with pytest.raises(LimitExceededError, match=r"2 producers.*exact\.max_producers"):
        await client.set_positions(one, producer="c")


async def test_large_changes_are_several_requests(client: AsyncClient) -> None:
    many = [Position(PositionKey("binance", "BTCUSDT", "long", str(k)), quantity=0.01) for k in range(1_400)]
    assert (await client.set_positions(many, producer="d")).live == 1_400
    assert (await client.set_positions(many[:3], producer="d")).live == 3


async def test_the_blocking_client_has_the_same(server: RpcServer) -> None:
    def ask() -> Any:
        with Client(f"127.0.0.1:{server.port}") as client:
            client.set_positions([Position(LONG, quantity=3, liquidation_price=90_000)], producer="d")
            held = client.positions("d")
            client.clear_positions("d")
            return held, client.positions("d")

    held, cleared = await asyncio.to_thread(ask)
    assert [one.position.key for one in held.positions] == [LONG]
    assert (cleared.positions, cleared.sequence > held.sequence) == ((), True)


async def test_what_is_known_is_certain(client: AsyncClient) -> None:
    known = Position(LONG, quantity=10_000, liquidation_price=90_020, leverage=12)
    before = (await client.snapshot("BTC", price_range=0, band_level=0.9))["BTC"]
    await client.set_positions([known], producer="desk")
    frame = (await client.snapshot("BTC", price_range=0, band_level=0.9))["BTC"]
    assert frame.band is not None
    assert before.band is not None
    assert (frame.band.low <= frame.grid).all()
    assert (frame.grid <= frame.band.high).all()
    (at,) = np.flatnonzero((frame.price_low <= 90_020) & (frame.price_high > 90_020))
    longs = frame.sides.index("long")
    assert frame.band.low[longs, at] > 0.95 * 10_000 * 90_000
    assert frame.band.high[longs, at] < frame.grid[longs, at] + 2 * before.band.high[longs, at]
