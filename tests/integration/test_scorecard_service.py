"""GetScorecard, and the scores in frames, through a real server and the real client."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import astuple, replace

import grpc
import pytest

from forcedmove.v1 import scorecard_pb2, scorecard_pb2_grpc
from forcedmove_client import (
    AsyncClient,
    Client,
    InvalidArgumentError,
    LimitExceededError,
    ServerError,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from forcedmove_server.scorecard.summary import ShortScore, Summary, Where
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.unit.scorecard_sample import full_summary, market_row


async def test_the_part_that_was_asked_for(engine: FakeEngine, client: AsyncClient) -> None:
    engine.scored = full_summary
    engine.scored_rows = (market_row(), market_row("okx", "ETH", 1, "naive"))
    whole = await client.scorecard()
    assert (whole.venue, whole.symbol, whole.side, whole.rows) == (None, None, None, ())
    assert whole.headline.bits.value == full_summary().headline.bits.value
    part = await client.scorecard(venue="OKX", symbol="okx:ETHUSDT", side="short", rows=True)
    assert (part.venue, part.symbol, part.side) == ("okx", "ETH", "short")
    assert [(row.venue, row.symbol, row.side, row.map) for row in part.rows] == [("okx", "ETH", "short", "naive")]
    assert len((await client.scorecard(rows=True)).rows) == 2


async def test_an_empty_scorecard(client: AsyncClient) -> None:
    card = await client.scorecard(rows=True)
    assert card.begin_time is None
    assert card.headline.released.value is None
    assert card.headline.released.reason
    assert card.rows == ()
    assert len(card.to_pandas()) == len(card.figures) > 0


async def test_a_server_without_a_scorecard_says_so(engine: FakeEngine, server: RpcServer, client: AsyncClient) -> None:
    engine.scored = None
    for rows in (False, True):
        with pytest.raises(UnavailableError, match=r"no scorecard is kept: scorecard\.enabled = false"):
            await client.scorecard(rows=rows)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await scorecard_pb2_grpc.ScorecardServiceStub(channel).GetScorecard(scorecard_pb2.GetScorecardRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_refusals_name_what_was_given(engine: FakeEngine, client: AsyncClient) -> None:
    asked: list[Where] = []

    def summarise(where: Where) -> Summary:
        asked.append(where)
        return full_summary(where)

    engine.scored = summarise
    with pytest.raises(UnknownNameError, match="venue 'mtgox'; known: binance, bybit, okx"):
        await client.scorecard(venue="mtgox")
    with pytest.raises(UnknownNameError, match="symbol 'DOGE'; known: BTC, ETH"):
        await client.scorecard(symbol="DOGE")
    with pytest.raises(InvalidArgumentError, match="side = 'up': must be one of long, short"):
        await client.scorecard(side="up")  # type: ignore[arg-type]
    assert not asked


async def test_more_rows_than_an_answer_holds(engine: FakeEngine) -> None:
    engine.scored = full_summary
    engine.scored_rows = (market_row(), *(market_row("okx") for _ in range(2_000)))
    async with (
        serving(engine, Limits(max_answer_bytes=100 << 10)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(LimitExceededError, match="rows do not fit the 102400 bytes"):
            await client.scorecard(rows=True)
        assert len((await client.scorecard(venue="binance", rows=True)).rows) == 1
        assert (await client.scorecard()).rows == ()


async def test_summaries_are_made_one_at_a_time(
    engine: FakeEngine, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, running, most = asyncio.get_running_loop(), 0, 0

    def ask(where: Where) -> Future[Summary]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        future: Future[Summary] = Future()

        def finish() -> None:
            nonlocal running
            running -= 1
            future.set_result(full_summary(where))

        loop.call_later(0.02, finish)
        return future

    monkeypatch.setattr(engine, "scorecard", ask)
    cards = await asyncio.gather(*(client.scorecard(symbol=symbol) for symbol in ("BTC", "ETH", "BTC", "ETH")))
    assert [card.symbol for card in cards] == ["BTC", "ETH", "BTC", "ETH"]
    assert most == 1


async def test_a_caller_that_leaves_holds_nobody_up(
    engine: FakeEngine, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Future[Summary]] = []

    def ask(where: Where) -> Future[Summary]:
        asked.append(Future())
        return asked[-1]

    monkeypatch.setattr(engine, "scorecard", ask)
    leaving = asyncio.create_task(client.scorecard())
    await eventually(lambda: asked)
    waiting = asyncio.create_task(client.scorecard())
    leaving.cancel()
    await eventually(lambda: len(asked) == 2)
    assert asked[0].cancelled()
    asked[1].set_result(full_summary())
    assert (await waiting).headline.map == "ours"


async def test_a_bug_ends_the_call_alone(
    engine: FakeEngine, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(where: Where) -> Summary:
        raise ZeroDivisionError("secret")

    engine.scored = broken
    with pytest.raises(ServerError, match=r"INTERNAL.*ZeroDivisionError") as failed:
        await client.scorecard()
    assert "secret" not in str(failed.value)
    assert "Traceback" in caplog.text
    engine.scored = full_summary
    assert (await client.scorecard()).headline.map == "ours"


async def test_the_blocking_client(engine: FakeEngine, server: RpcServer) -> None:
    engine.scored = full_summary

    def ask() -> tuple[str | None, int]:
        with Client(f"127.0.0.1:{server.port}") as client:
            card = client.scorecard(symbol="ETH", side="long")
            return card.symbol, len(card.figures)

    symbol, figures = await asyncio.to_thread(ask)
    assert symbol == "ETH"
    assert figures > 200


async def test_frames_carry_the_score_of_their_symbol(engine: FakeEngine, client: AsyncClient) -> None:
    stream = client.subscribe(["BTC"], price_range=0)
    pending = asyncio.create_task(anext(stream))
    await eventually(lambda: engine.watched)
    engine.step()
    assert (await pending).score is None
    score = ShortScore(0.25, 31, None, 12)
    for expected in (score, score, replace(score, released=0.125, moves=50), None):
        engine.stamp("BTC", expected)
        engine.step()
        frame = await anext(stream)
        assert (None if frame.score is None else astuple(frame.score)) == (
            None if expected is None else astuple(expected)
        )
    engine.stamp("ETH", score)
    engine.step()
    both = await client.snapshot()
    assert both["BTC"].score is None
    assert both["ETH"].score is not None
    assert astuple(both["ETH"].score) == astuple(score)
