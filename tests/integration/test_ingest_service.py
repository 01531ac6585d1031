"""IngestService over gRPC: a real engine, a real server, the real client, and requests of no client."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from forcedmove.v1 import ingest_pb2, positions_pb2
from forcedmove_client import (
    AccessDeniedError,
    AsyncClient,
    Client,
    HistoryGoneError,
    IngestResult,
    InvalidArgumentError,
    LimitExceededError,
    Position,
    PositionDelta,
    PositionKey,
    TakenOverError,
    UnavailableError,
    UnknownNameError,
)
from forcedmove_server.access.store import TokenStore
from forcedmove_server.access.tokens import create_token
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from tests.integration.fake_engine import eventually
from tests.integration.faulty_wire import faulty_wire
from tests.integration.ingest_streams import (
    APPLIED,
    CONFIG,
    REFUSED,
    REPEATED,
    keep_telling,
    long,
    message,
    raw,
    told,
)
from tests.integration.real_engine import fed_engine, served


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fed_engine(CONFIG) as started:
        yield started


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine) as running:
        yield running


async def test_what_is_told_is_in_the_map_when_it_is_acknowledged(client: AsyncClient) -> None:
    before = (await client.snapshot("BTC", price_range=0))["BTC"]
    async with client.ingest("desk") as stream:
        assert (stream.last_sequence, stream.held) == (0, 0)
        first = await stream.send(deltas=[long(2_000), long(500, 94_000.0)])
        assert await first == IngestResult(1, "applied")
        frame = (await client.snapshot("BTC", price_range=0))["BTC"]
        held = {one.position.entry_price: one for one in (await client.positions("desk")).positions}
        level = held[95_000.0].position.liquidation_price
        assert level is not None
        alone = await client.liquidation_price(
            side="long", entry_price=95_000, venue="binance", symbol="BTCUSDT", leverage=20
        )
        assert level == pytest.approx(alone.price, rel=1e-9)
        (at,) = np.flatnonzero((frame.price_low <= level) & (level < frame.price_high))
        longs = frame.sides.index("long")
        assert frame.grid[longs, at] - before.grid[longs, at] == pytest.approx(2_000 * level, rel=0.05)
        assert frame.grid.sum() == pytest.approx(before.grid.sum(), rel=0.01), "the inferred part is less by as much"
        await stream.send(deltas=[long(-2_000), long(-500, 94_000.0)])
        await stream.send(positions=[Position(PositionKey("hyperliquid", "BTC", "short"), quantity=3)])
        await stream.send(removed=[PositionKey("hyperliquid", "BTC", "short")])
        await stream.send(positions=[Position(PositionKey("hyperliquid", "BTC", "long"), quantity=3)], replace=True)
    assert stream.stats.applied == stream.stats.sent == 5
    (only,) = (await client.positions("desk")).positions
    assert (only.position.key.side, only.quantity) == ("long", 3)
    async with client.ingest("desk") as stream:
        assert (stream.last_sequence, stream.held) == (5, 1)
        assert (await (await stream.send())).sequence == 6


async def test_a_bad_request_loses_none_behind_it(client: AsyncClient, engine: Engine) -> None:
    async with client.ingest("desk") as stream:
        good = [await stream.send(deltas=[long(1)])]
        wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (InvalidArgumentError, r"deltas\[0\]\.quantity = nan", {"deltas": [long(math.nan)]}),
            (
                InvalidArgumentError,
                r"deltas\[1\]\.quantity = -9\.0: is more than the 3",
                {"deltas": [long(1), long(-9)]},
            ),
            (InvalidArgumentError, r"deltas\[0\]\.leverage = 500\.0", {"deltas": [long(1, leverage=500.0)]}),
            (InvalidArgumentError, "has been crossed", {"deltas": [long(1, entry=300_000.0)]}),
            (UnknownNameError, "mtgox:BTCUSD", {"deltas": [PositionDelta("mtgox", "BTCUSD", "long", 1, 1, 2)]}),
            (
                InvalidArgumentError,
                r"positions\[0\]\.quantity",
                {"positions": [Position(PositionKey("binance", "BTCUSDT", "long"), quantity=-1)]},
            ),
            (InvalidArgumentError, "deltas = 1001: at most 1000", {"deltas": [long(0.001)] * 1_001}),
            (
                LimitExceededError,
                r"exact\.max_positions is 1500",
                {
                    "positions": [
                        Position(PositionKey("binance", "BTCUSDT", "long", str(k)), quantity=0.01) for k in range(1_000)
                    ]
                },
            ),
        ]
        refused = []
        for place, (_, _, change) in enumerate(wrong):
            if place == len(wrong) - 1:  # a thousand are held then, and a thousand more are too many
                many = [
                    Position(PositionKey("binance", "ETHUSDT", "long", str(k)), quantity=0.01) for k in range(1_000)
                ]
                good.append(await stream.send(positions=many))
            refused.append(await stream.send(**change))
            good.append(await stream.send(deltas=[long(1)]))
        for (error, text, _), answer in zip(wrong, refused, strict=True):
            with pytest.raises(error, match=text):
                await answer
        assert [(await one).outcome for one in good] == ["applied"] * len(good)
        assert stream.stats.refused == len(wrong)
        assert told(engine)["binance:BTCUSDT", 95_000.0] == len(wrong) + 1
        await stream.flush()  # all of them were told to somebody
        await stream.send(deltas=[long(-1e6)])
        with pytest.raises(InvalidArgumentError, match="more than"):
            await stream.flush()


async def test_numbers_count_once_and_a_refusal_is_repeated(server: RpcServer, engine: Engine) -> None:
    async with raw(server) as stream:
        assert (stream.opened.last_sequence, stream.opened.window, stream.opened.max_age_s) == (0, 1_024, 3_600)
        assert await stream.tell(message(3, 5.0), message(3, 5.0), message(7, -6.0), message(8, 1.0)) == [
            (3, APPLIED),
            (3, REPEATED),
            (7, REFUSED),
            (8, APPLIED),
        ]
        assert stream.acked == 8
        # what comes late is behind the producer's last
        assert await stream.tell(message(5, 1.0), message(9, 1.0)) == [(5, REPEATED), (9, APPLIED)]
        assert server.hub.ingest.streams == 1
        assert server.hub.ingest.outcomes == {"applied": 3, "repeated": 2, "refused": 1, "postponed": 0}
    async with raw(server) as stream:
        assert (stream.opened.last_sequence, stream.opened.held) == (9, 1)
        again = [message(number, 5.0) for number in (3, 7, 8, 9)]
        assert [outcome for _, outcome in await stream.tell(*again)] == [REPEATED, REFUSED, REPEATED, REPEATED]
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 7}


async def test_another_stream_takes_over(client: AsyncClient, engine: Engine, server: RpcServer) -> None:
    first = await client.ingest("desk").__aenter__()
    await (await first.send(deltas=[long(1)]))
    async with AsyncClient(f"127.0.0.1:{server.port}") as other, other.ingest("desk") as second:
        assert second.last_sequence == 1
        await (await second.send(deltas=[long(2)]))
        with pytest.raises(TakenOverError, match="another stream of desk"):
            await keep_telling(first)
        with pytest.raises(TakenOverError):
            await first.flush()
        await first.aclose()
        await (await second.send(deltas=[long(4)]))
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 7}


async def test_who_was_replaced_while_its_connection_was_lost_does_not_come_back(
    server: RpcServer, engine: Engine
) -> None:
    async with (
        faulty_wire(server.port) as wire,
        AsyncClient(f"127.0.0.1:{wire.port}") as client,
        AsyncClient(f"127.0.0.1:{server.port}") as other,
    ):
        first = await client.ingest("desk").__aenter__()
        await (await first.send(deltas=[long(1)]))
        wire.to = 1  # nobody listens there
        wire.cut()
        lost = [await first.send(deltas=[long(100)]) for _ in range(3)]
        async with other.ingest("desk") as second:
            await (await second.send(deltas=[long(2)]))
        wire.to = server.port
        # its numbers were used by the other: answered as repeated, they would pass for applied
        for answer in lost:
            with pytest.raises(TakenOverError, match="was opened since"):
                await answer
        await first.aclose()
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 3}


@pytest.mark.parametrize("seed", range(3))
async def test_a_lost_connection_loses_and_doubles_nothing(server: RpcServer, engine: Engine, seed: int) -> None:
    dice, total, refused, cuts = random.Random(seed), 0.0, 0, 0
    async with (
        faulty_wire(server.port) as wire,
        AsyncClient(f"127.0.0.1:{wire.port}") as client,
        client.ingest("desk", buffer=40) as stream,
    ):
        answers = []
        for _ in range(300):
            quantity = dice.choice([1.0, 2.5, -1.0, 0.125, -1_000.0])
            answers.append((quantity, await stream.send(deltas=[long(quantity)])))
            if dice.random() < 0.05:
                wire.loses_answers = dice.random() < 0.5  # what was asked arrives, and the answers do not
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0.01)
                wire.cut()
                wire.loses_answers = False
                cuts += 1
        for quantity, answer in answers:
            try:
                await answer
                total += quantity
            except InvalidArgumentError:
                refused += 1
        assert cuts > 3
        assert stream.stats.reconnects >= 1
        assert stream.stats.applied + stream.stats.repeated + refused == 300
    held = told(engine).get(("binance:BTCUSDT", 95_000.0), 0.0)
    assert held == total
    assert engine.positions("desk").result(10).sequence == 300


async def test_a_server_that_restarts_goes_on_where_it_was(engine: Engine) -> None:
    running = await serve(engine, port=0)
    port = running.port
    async with AsyncClient(f"127.0.0.1:{port}") as client, client.ingest("desk", buffer=16) as stream:
        for number in range(120):
            await stream.send(deltas=[long(1)])
            if number % 40 == 20:
                await running.drain(grace_s=0.0)
                running = await serve(engine, port=port)
        await stream.flush()
        assert stream.stats.applied + stream.stats.repeated == 120
        assert stream.stats.reconnects >= 3
    await running.drain(grace_s=0.0)
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 120}


async def test_a_server_that_has_forgotten_is_found_out() -> None:
    async with fed_engine(CONFIG) as engine:
        running = await serve(engine, port=0)
        port = running.port
        client = AsyncClient(f"127.0.0.1:{port}")
        stream = await client.ingest("desk").__aenter__()
        await (await stream.send(deltas=[long(1)]))
        await running.drain(grace_s=0.0)
    async with fed_engine(CONFIG) as another:
        running = await serve(another, port=port)
        with pytest.raises(HistoryGoneError, match="up to 0 and had acknowledged 1"):
            await keep_telling(stream)
        assert told(another) == {}
        await client.close()
        await running.drain(grace_s=0.0)


async def test_what_no_client_sends(server: RpcServer, engine: Engine) -> None:
    async with raw(server) as stream:
        huge = 1e308
        strange = [
            message(1, math.inf),
            message(2, 0.0),
            message(3, 1.0, entry_price_usd=-huge),
            message(4, 1.0, entry_price_usd=huge),
            message(5, 1e18),
            message(6, 1.0, leverage=math.nan),
            message(7, 1.0, leverage=0.5),
            message(8, 1.0, side=9),
            message(9, 1.0, venue="x" * 10_000),
            message(10, 1.0, symbol=""),
            message(11, 1.0, time_ns=-5),
            ingest_pb2.IngestRequest(
                sequence=12, positions=ingest_pb2.PositionSet(positions=[positions_pb2.Position(quantity=math.nan)])
            ),
            message(13, *[1.0] * 1_001),
        ]
        assert await stream.tell(*strange) == [(number, REFUSED) for number in range(1, 14)]
        assert await stream.tell(message(0, 1.0)) == [(0, REFUSED)]
        assert await stream.tell(message(2**64 - 1, 1.0)) == [(2**64 - 1, APPLIED)]
        assert told(engine) == {("binance:BTCUSDT", 95_000.0): 1}
        await stream.call.write(message(2**64 - 1, 1.0, producer="another"))
        assert (await stream.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    async with raw(server, "giant") as stream:
        await stream.call.write(message(1, *[1.0] * 20_000))
        assert (await stream.status())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    for name in ("", "a b", "config:file", "x" * 65):
        async with raw(server, name) as stream:
            code, text = await stream.status()
            assert (code, "producer" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_the_client_refuses_what_no_server_takes(client: AsyncClient) -> None:
    async with client.ingest("desk") as stream:
        for change, text in (
            ({"sequence": 0}, "sequence = 0"),
            ({"sequence": 2**64}, "sequence = "),
            ({"deltas": [long(1)], "replace": True}, "not both"),
            ({"deltas": [long(1)] * 9_000}, "send several"),
        ):
            with pytest.raises(InvalidArgumentError, match=text):
                await stream.send(**change)  # type: ignore[arg-type]
        await stream.send(sequence=9)
        with pytest.raises(InvalidArgumentError, match="sequence = 9: has to rise"):
            await stream.send(sequence=9)
        assert (await (await stream.send())).sequence == 10


async def test_numbers_of_ones_own_may_be_told_again(client: AsyncClient, engine: Engine) -> None:
    for _ in range(2):
        async with client.ingest("desk") as stream:
            for line in (10, 20, 30):
                await stream.send(deltas=[long(1)], sequence=line)
    assert (stream.stats.applied, stream.stats.repeated) == (0, 3)
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 3}


async def test_an_idle_stream_says_that_its_producer_is_there() -> None:
    config = replace(CONFIG, exact=replace(CONFIG.exact, max_age_s=0.5))
    async with (
        fed_engine(config) as engine,
        served(engine, Limits(max_age_s=0.1)) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
    ):
        async with client.ingest("desk") as stream:
            await stream.send(deltas=[long(1)], sequence=5)
            # forty quarters of a tenth of a second are twice the age at which it would be gone
            await eventually(lambda: server.hub.ingest.outcomes["repeated"] >= 40)
            assert told(engine) == {("binance:BTCUSDT", 95_000.0): 1}
            await stream.send(deltas=[long(1)], sequence=6)  # which took none of the numbers
        assert stream.stats.applied == stream.stats.sent == 2
        await eventually(lambda: not told(engine))


async def test_nobody_there() -> None:
    async with AsyncClient("127.0.0.1:1", reconnect_timeout_s=0.1) as client:
        with pytest.raises(UnavailableError):
            async with client.ingest("desk"):
                pass


async def test_the_blocking_client_has_the_same(server: RpcServer, engine: Engine) -> None:
    def work() -> None:
        with Client(f"127.0.0.1:{server.port}") as client:
            with client.ingest("desk") as stream:
                assert stream.last_sequence == 0
                assert stream.send(deltas=[long(3)])() == IngestResult(1, "applied")
                refused = stream.send(deltas=[long(-4)])
                stream.send(deltas=[long(-1)])
                with pytest.raises(InvalidArgumentError, match="more than the 3"):
                    refused()
                stream.flush()
                assert stream.stats.applied == 2
            with pytest.raises(InvalidArgumentError, match="more than the 2"), client.ingest("desk") as stream:
                stream.send(deltas=[long(-3)])

    await asyncio.to_thread(work)
    assert told(engine) == {("binance:BTCUSDT", 95_000.0): 2}


async def test_a_token_tells_for_its_producers_only(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    token = create_token(file, "desk", ["ingest"], None, ["desk-*"])
    server = await serve(engine, port=0, tokens=TokenStore(file))
    async with AsyncClient(f"127.0.0.1:{server.port}", token=token) as client:
        async with client.ingest("desk-1") as stream:
            await stream.send(deltas=[long(3)])
        assert (await client.positions("desk-1")).sequence == 1
        one = [Position(PositionKey("binance", "BTCUSDT", "long"), quantity=1)]
        for call in (
            client.positions("mm-1"),
            client.set_positions(one, producer="mm-1"),
            client.clear_positions("mm-1"),
            client.ingest("mm-1").__aenter__(),
        ):
            with pytest.raises(AccessDeniedError, match=r"may tell for desk-\*, and not for mm-1"):
                await call
    await server.drain(grace_s=0.0)
