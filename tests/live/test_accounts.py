"""Public accounts: what an answer means, and that every account is asked, told and forgiven by itself."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from forcedmove_server.app import feed_exact
from forcedmove_server.collectors.accounts import follow_accounts, read_account
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.config import Config, EngineConfig, ExactConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.errors import MalformedMessage, NotReadyError
from forcedmove_server.market.positions import ExactPosition, PositionAck, PositionChange, PositionKey
from tests.live.scripted import scripted
from tests.live.waiting import eventually, running
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

ADDRESSES = tuple("0x" + digit * 40 for digit in "aB")


def row(coin: str, size: str, level: str | None, entry: str = "101000.0") -> dict[str, Any]:
    return {
        "type": "oneWay",
        "position": {
            "coin": coin,
            "szi": size,
            "leverage": {"type": "cross", "value": 20},
            "entryPx": entry,
            "positionValue": "1.0",
            "unrealizedPnl": "0.0",
            "returnOnEquity": "0.0",
            "liquidationPx": level,
            "marginUsed": "1.0",
            "maxLeverage": 40,
            "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
        },
    }


def answer(*rows: dict[str, Any]) -> str:
    summary = {"accountValue": "1.0", "totalNtlPos": "1.0", "totalRawUsd": "1.0", "totalMarginUsed": "1.0"}
    return json.dumps(
        {
            "marginSummary": summary,
            "crossMarginSummary": summary,
            "crossMaintenanceMarginUsed": "0.1",
            "withdrawable": "0.0",
            "assetPositions": list(rows),
            "time": 1_700_000_000_000,
        }
    )


def test_what_an_answer_says() -> None:
    content = answer(
        row("BTC", "1.5", "90000.5"),
        row("ETH", "-20", None, "3400.5"),
        row("kPEPE", "-3000.0", "0.02", "0.012"),
        row("xyz:GOLD", "1", "2000.0"),
        row("SOL", "0.0", None),
    )
    assert read_account(content.encode(), "0xa") == (
        ExactPosition(
            PositionKey("0xa", "hyperliquid:BTC", 0), 1.5, liquidation_price_usd=90000.5, entry_price_usd=101000.0
        ),
        ExactPosition(PositionKey("0xa", "hyperliquid:ETH", 1), 20.0, entry_price_usd=3400.5),
        ExactPosition(
            PositionKey("0xa", "hyperliquid:kPEPE", 1),
            3_000_000.0,
            liquidation_price_usd=pytest.approx(2e-5),
            entry_price_usd=pytest.approx(1.2e-5),
        ),
    )
    assert read_account(answer().encode(), "0xa") == ()


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "{}", answer(row("BTC", "NaN", None)), answer(row("BTC", "much", None)), '{"a": 1']
)
def test_what_cannot_be_read_is_malformed(content: str) -> None:
    with pytest.raises(MalformedMessage, match="hyperliquid"):
        read_account(content.encode(), "0xa")


class Exchange:
    """Answers ``clearinghouseState`` by address; counts and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[int], web.Response]] = {}

    async def handle(self, request: web.Request) -> web.Response:
        wanted = json.loads(await request.read())
        assert (request.method, request.path, wanted["type"]) == ("POST", "/info", "clearinghouseState")
        self.asked.append(wanted["user"])
        return self.answers[wanted["user"]](self.asked.count(wanted["user"]))


@contextlib.asynccontextmanager
async def following(
    exchange: Exchange, tell: Callable[[PositionChange], Awaitable[PositionAck]], interval_s: float = 0.02
) -> AsyncIterator[None]:
    async with scripted(exchange.handle) as base, http_session() as session:
        network = Network(session, Addresses())
        async with running(follow_accounts((*ADDRESSES, ADDRESSES[0]), f"{base}/info", interval_s, network, tell)):
            yield


async def test_every_account_is_a_producer_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    exchange, told = Exchange(), list[PositionChange]()
    first, second = (address.lower() for address in ADDRESSES)
    exchange.answers[first] = lambda n: web.Response(text=answer(row("BTC", str(n), "90000.0")))
    exchange.answers[second] = lambda n: web.Response(status=500) if n < 3 else web.Response(text="{")

    async def tell(change: PositionChange) -> PositionAck:
        told.append(change)
        if len(told) == 1:
            raise NotReadyError("not yet")
        return PositionAck(True, change.sequence, 1, 0, 0, 60.0)

    with caplog.at_level(logging.WARNING):
        async with following(exchange, tell):
            await eventually(lambda: len(told) > 2 and exchange.asked.count(second) > 2, "both again and again")
    assert {change.producer for change in told} == {f"account:{first}"}
    assert all(change.replace and change.representative and change.lenient for change in told)
    assert [change.positions[0].quantity for change in told] == [float(n + 1) for n in range(len(told))]
    assert [change.sequence for change in told] == sorted({change.sequence for change in told})
    # one line for each that fails, and no address in it
    assert len(caplog.records) == 2
    assert "0x" not in caplog.text


async def test_who_is_asked_too_often_is_left_alone() -> None:
    exchange, told = Exchange(), list[PositionChange]()
    first, second = (address.lower() for address in ADDRESSES)
    exchange.answers[first] = lambda n: web.Response(status=429, headers={"Retry-After": "1"})
    exchange.answers[second] = lambda n: web.Response(text=answer())

    async def tell(change: PositionChange) -> PositionAck:
        told.append(change)
        return PositionAck(True, change.sequence, 0, 0, 0, 60.0)

    async with following(exchange, tell):
        await eventually(lambda: exchange.asked.count(first) == 1, "the first question")
        before = len(told)
        await eventually(lambda: exchange.asked.count(first) == 2, "another, a second later")
    assert len(told) - before <= 2, "the pause is everybody's"


async def test_a_server_takes_them_in_as_configured(tmp_path: Any) -> None:
    exchange = Exchange()
    for address in ADDRESSES:
        exchange.answers[address.lower()] = lambda n: web.Response(
            text=answer(row("BTC", "250.0", "80000.0"), row("DOGE", "1.0", None), row("BTC", "1.0", "99000000.0"))
        )
    listed = tmp_path / "mine.csv"
    listed.write_text("market,side,quantity,liquidation_price_usd\nbinance:BTCUSDT,short,100,120000\n")
    async with scripted(exchange.handle) as base:
        config = Config(
            engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins),
            exact=ExactConfig(file=str(listed), hyperliquid_accounts=ADDRESSES, hyperliquid_url=f"{base}/info"),
        )
        engine = Engine(config, two_venue_registry())
        engine.start()
        try:
            async with running(feed_exact(config.exact, engine)):
                for number in range(2):
                    engine.put(minute(number))
                exact = engine.pipeline.exact
                await eventually(
                    lambda: exact.live((0, 1)).tolist() == [[0, 100_000], [500_000, 0]], "all that is known", 60
                )
        finally:
            engine.stop()
        assert engine.failure is None
        market, side, quantity, _ = exact.visible()
        assert (market.tolist(), side.tolist(), quantity.tolist()) == ([1, 1], [0, 0], [250_000.0] * 2)
