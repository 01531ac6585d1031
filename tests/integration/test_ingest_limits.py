"""What IngestService takes at a time: quotas, windows, room for streams, and an engine that cannot keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future

import grpc
import pytest

from forcedmove_client import (
    AsyncClient,
    LimitExceededError,
)
from forcedmove_server.config import IngestConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.errors import NotReadyError
from forcedmove_server.market.ingest import IngestAck, IngestRequest, Outcome
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import eventually
from tests.integration.ingest_streams import (
    APPLIED,
    CONFIG,
    POSTPONED,
    long,
    message,
    raw,
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


async def test_more_than_the_quota_is_postponed_and_comes_in_order(engine: Engine) -> None:
    limits = Limits(ingest=IngestConfig(max_requests_per_s=10))
    async with served(engine, limits) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        async with client.ingest("desk") as stream:
            for _ in range(15):  # each closes what the one before it opened: out of order some would be refused
                await stream.send(deltas=[long(1)])
                await stream.send(deltas=[long(-1)])
        assert stream.stats.postponed > 0
        assert (stream.stats.applied, stream.stats.refused) == (30, 0)


async def test_none_overtakes_one_that_has_to_be_sent_again(engine: Engine) -> None:
    limits = Limits(ingest=IngestConfig(max_requests_per_s=0.1))
    async with served(engine, limits) as server, raw(server) as wire:
        for number in range(1, 6):
            await wire.call.write(message(number, 1.0))
        results = await wire.results(5)
        assert [one.outcome for one in results] == [APPLIED, POSTPONED, POSTPONED, POSTPONED, POSTPONED]
        assert results[1].error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "ingest.max_requests_per_s = 0.1" in results[1].error.message
        assert 5 < results[1].error.retry_delay_s <= 10
        assert "request 2 comes first" in results[2].error.message
        assert wire.acked == 1


async def test_many_deltas_in_few_requests_have_a_quota_too(engine: Engine) -> None:
    limits = Limits(ingest=IngestConfig(max_changes_per_s=100))
    async with served(engine, limits) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        async with raw(server, "other") as wire:
            first, second = [message(number, *[1.0] * 300) for number in (1, 2)]
            assert await wire.tell(first, second) == [(1, APPLIED), (2, POSTPONED)]
            await wire.call.write(second)
            (result,) = await wire.results(1)
            assert 1 < result.error.retry_delay_s <= 3, "a second's worth is overdrawn by two more"
        async with client.ingest("desk") as stream:
            for _ in range(30):
                await stream.send(deltas=[long(1)] * 10)
        assert stream.stats.postponed > 0
        assert stream.stats.applied == 30


async def test_a_server_reads_no_more_than_its_window(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[IngestRequest, Future[IngestAck]]] = []
    real = engine.ingest

    def ingest(request: IngestRequest) -> Future[IngestAck]:
        if not request.sequence:
            return real(request)
        asked.append((request, Future()))
        return asked[-1][1]

    monkeypatch.setattr(engine, "ingest", ingest)
    async with served(engine, Limits(ingest=IngestConfig(window=3))) as server, raw(server) as stream:
        for number in range(1, 21):
            await stream.call.write(message(number, 1.0))
        await eventually(lambda: len(asked) == 3)
        for k in range(20):
            await eventually(lambda k=k: len(asked) == min(k + 3, 20))  # type: ignore[misc]
            request, future = asked[k]
            assert (request.sequence, request.after) == (k + 1, k)
            future.set_result(IngestAck(k + 1, Outcome.APPLIED, k + 1))
            assert [one.sequence for one in await stream.results(1)] == [k + 1]


async def test_what_the_engine_cannot_keep_now_is_postponed(
    engine: Engine, server: RpcServer, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[IngestRequest], Future[IngestAck]] = engine.ingest
    failures = 2

    def ingest(request: IngestRequest) -> Future[IngestAck]:
        nonlocal failures
        if request.sequence == 2 and failures:
            failures -= 1
            failed: Future[IngestAck] = Future()
            failed.set_exception(NotReadyError("the journal cannot be written"))
            return failed
        return real(request)

    monkeypatch.setattr(engine, "ingest", ingest)
    async with client.ingest("desk") as stream:
        for _ in range(3):
            await stream.send(deltas=[long(1)])
            await stream.send(deltas=[long(-1)])
    assert stream.stats.postponed >= 2
    assert (stream.stats.applied, stream.stats.refused, failures) == (6, 0, 0)


async def test_there_is_room_for_so_many_streams(engine: Engine) -> None:
    limits = Limits(ingest=IngestConfig(max_streams=1))
    async with (
        served(engine, limits) as server,
        AsyncClient(f"127.0.0.1:{server.port}", reconnect_timeout_s=0.1) as client,
        client.ingest("desk"),
    ):
        with pytest.raises(LimitExceededError, match=r"ingest\.max_streams"):
            async with client.ingest("other"):
                pass


async def test_a_full_buffer_lets_the_sender_wait(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Future[IngestAck]] = []
    real = engine.ingest

    def ingest(request: IngestRequest) -> Future[IngestAck]:
        if not request.sequence:
            return real(request)
        waiting.append(Future())
        return waiting[-1]

    monkeypatch.setattr(engine, "ingest", ingest)
    async with served(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        stream = await client.ingest("desk", buffer=2).__aenter__()
        for _ in range(2):
            await stream.send(deltas=[long(1)])
        third = asyncio.create_task(stream.send(deltas=[long(1)]))
        await eventually(lambda: len(waiting) == 2)
        assert not third.done()
        waiting[0].set_result(IngestAck(1, Outcome.APPLIED, 1))
        assert (await third).sequence == 3
        await stream.aclose()
