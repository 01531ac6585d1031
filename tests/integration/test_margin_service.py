"""GetLiquidationPrice through a real server and the real client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from forcedmove.v1 import margin_pb2, margin_pb2_grpc, model_pb2
from forcedmove_client import AsyncClient, Client, InvalidArgumentError, OtherPosition, UnknownNameError
from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.rpc.server import serve
from tests.integration.fake_engine import FakeEngine


@pytest.fixture
async def target() -> AsyncIterator[str]:
    engine = FakeEngine()
    server = await serve(engine, port=0, book=shipped_book())
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.drain(0.1)


async def test_isolated_by_the_venues_own_ladder(target: str) -> None:
    """Before there is any map: the question concerns the rules alone."""
    async with AsyncClient(target) as client:
        found = await client.liquidation_price(
            venue="binance", symbol="BTC", side="long", entry_price=98_000.0, quantity=40.0, leverage=50.0
        )
    assert found.price == pytest.approx((98_000 * 0.98 - 12_000 / 40) / (1 - 0.01), rel=1e-12)
    assert (found.status, found.bankruptcy_price, found.tier) == ("liquidatable", 96_040.0, 4)
    assert (found.formula, found.confidence, found.trigger, found.first_step_share) == ("L1", "REC", "mark", 1.0)
    assert "2026-09-29" in found.tiers


async def test_cross_and_inverse_and_statements(target: str) -> None:
    async with AsyncClient(target) as client:
        cross = await client.liquidation_price(
            venue="binance", side="long", entry_price=1456.84, quantity=3683.979, balance=1_535_443.01,
            others=[OtherPosition(109.488, 32_481.98, 31_967.27, 0.025, 16_300.0)],
            maintenance_rate=0.1, maintenance_amount=135_365.0,
        )  # fmt: skip
        assert cross.price == pytest.approx(1153.26, rel=1e-5)
        inverse = await client.liquidation_price(
            venue="krakenfutures", side="long", entry_price=8_000.0, quantity=1_000.0, contract="inverse", margin=0.01,
            maintenance_rate=0.01,
        )  # fmt: skip
        assert inverse.price == pytest.approx(7481, rel=1e-4)
        legacy = await client.liquidation_price(
            venue="bybit", side="short", entry_price=8_000.0, quantity=1.0, leverage=40.0, maintenance_rate=0.005,
            formula="L4",
        )  # fmt: skip
        assert legacy.price == pytest.approx(8_160.0, rel=1e-12)
        never = await client.liquidation_price(
            venue="bybit", side="short", entry_price=100.0, quantity=1.0, contract="inverse", leverage=1.0
        )
        assert (never.status, never.price, never.bankruptcy_price) == ("never", None, None)
        added = await client.liquidation_price(
            venue="bybit", side="long", entry_price=40_000.0, quantity=1.0, leverage=50.0, extra_margin=3_000.0,
            maintenance_rate=0.005,
        )  # fmt: skip
        assert added.price == pytest.approx(36_380.25, abs=0.005)
        # Beside a balance the leverage is the setting, which HTX's rate depends on.
        setting = {"venue": "htx", "side": "long", "entry_price": 50_000.0, "quantity": 1.0, "balance": 5_000.0}
        high = await client.liquidation_price(**setting, leverage=125.0)  # type: ignore[arg-type]
        assert high.maintenance_rate == pytest.approx(0.65 / 125)
        beyond = await client.liquidation_price(
            venue="bybit", side="long", entry_price=100.0, leverage=150.0, maintenance_rate=0.001, max_leverage=200.0
        )
        assert beyond.price is not None


async def test_refusals_name_the_field(target: str) -> None:
    position = {"venue": "binance", "side": "long", "entry_price": 98_000.0, "quantity": 1.0}
    async with AsyncClient(target) as client:
        for more, told in (
            ({"leverage": 500.0}, "leverage = 500"),
            ({"leverage": 10.0, "quantity": -1.0}, "quantity = -1"),
            ({"leverage": 10.0, "quantity": 0.0}, "quantity = 0.0"),
            ({"leverage": 10.0, "contract_size": 0.0}, "contract_size = 0.0"),
            ({"leverage": 10.0, "symbol": "B" * 9_999}, "symbol = 'B+\\.\\.\\.': is longer than 64 characters"),
            ({"balance": 1.0, "others": [OtherPosition(1e308, 1.0, 1e308)]}, r"account.positions.quantity = 1e\+308"),
            ({"balance": 1.0, "others": [OtherPosition(1.0, -1.0, 1.0)]}, "account.positions.entry_price_usd = -1"),
            ({"leverage": float("nan")}, "leverage = nan"),
            ({"margin": 1.0}, "margin = 1.0: is not above the maintenance margin"),
            ({"leverage": 10.0, "symbol": "BTC/USD:BTC", "contract": "linear"}, "contract"),
            ({"balance": 10.0, "others": [OtherPosition(0.0, 1.0, 1.0)]}, "account.positions.quantity"),
            ({"leverage": 10.0, "formula": "I1"}, "formula"),
        ):
            with pytest.raises(InvalidArgumentError, match=told):
                await client.liquidation_price(**(position | more))  # type: ignore[arg-type]
        with pytest.raises(UnknownNameError, match="NOSUCH"):
            await client.liquidation_price(**(position | {"symbol": "NOSUCH", "leverage": 2.0}))  # type: ignore[arg-type]
        for more, told in (
            ({}, "leverage = None"),
            ({"margin": 1.0, "balance": 2.0}, "margin = 1.0, balance = 2.0"),
            ({"margin": 1.0, "others": [OtherPosition(1.0, 1.0, 1.0)]}, "balance = None"),
        ):
            with pytest.raises(InvalidArgumentError, match=told):
                await client.liquidation_price(**(position | more))  # type: ignore[arg-type]


async def test_refusals_on_the_wire(target: str) -> None:
    """What a client of another language can get wrong."""
    good = margin_pb2.GetLiquidationPriceRequest(
        venue="binance", side=model_pb2.SIDE_LONG, entry_price_usd=100.0, leverage=10.0
    )
    async with grpc.aio.insecure_channel(target) as channel:
        stub = margin_pb2_grpc.MarginServiceStub(channel)

        async def refused(**fields: object) -> str:
            request = margin_pb2.GetLiquidationPriceRequest()
            request.CopyFrom(good)
            for name, value in fields.items():
                request.ClearField(name) if value is None else setattr(request, name, value)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetLiquidationPrice(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            return str(caught.value.details())

        assert "side" in await refused(side=None)
        assert "collateral" in await refused(leverage=None)
        assert "contract_type" in await refused(contract_type=7)
        assert "maintenance_rate = None" in await refused(venue="")
        assert "maintenance_rate = 2.0" in await refused(maintenance_rate=2.0)
        assert "fee_rate = 0.5" in await refused(maintenance_rate=0.01, fee_rate=0.5)
        assert "entry_price_usd = -1.0" in await refused(entry_price_usd=-1.0)
        many = margin_pb2.GetLiquidationPriceRequest()
        many.CopyFrom(good)
        many.account.balance = 1.0
        for _ in range(1_001):
            many.account.positions.add(quantity=1.0, entry_price_usd=1.0, mark_price_usd=1.0)
        with pytest.raises(grpc.aio.AioRpcError, match=r"account\.positions = 1001"):
            await stub.GetLiquidationPrice(many)
        assert (await stub.GetLiquidationPrice(good)).formula == "L1"


async def test_the_blocking_client(target: str) -> None:
    import asyncio

    def ask() -> float | None:
        with Client(target) as client:
            return client.liquidation_price(venue="okx", side="short", entry_price=98_000.0, leverage=10.0).price

    assert await asyncio.to_thread(ask) == pytest.approx(98_000 * 1.1 / (1 + 0.004 + 0.0005))
