"""What tests of streams of positions share: a small engine, what it is told, and a stream without the client's help."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from forcedmove.v1 import ingest_pb2, ingest_pb2_grpc, model_pb2
from forcedmove_client import (
    IngestStream,
    PositionDelta,
)
from forcedmove_server.config import Config, EngineConfig, ExactConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.server import RpcServer
from tests.unit.market_feed import ENGINE

CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins),
    exact=ExactConfig(max_markets=4, max_positions=1_500, max_producers=4),
)
APPLIED, REPEATED = ingest_pb2.INGEST_OUTCOME_APPLIED, ingest_pb2.INGEST_OUTCOME_REPEATED
REFUSED, POSTPONED = ingest_pb2.INGEST_OUTCOME_REFUSED, ingest_pb2.INGEST_OUTCOME_POSTPONED


def long(quantity: float, entry: float = 95_000.0, leverage: float = 20.0, **more: Any) -> PositionDelta:
    return PositionDelta("binance", "BTCUSDT", "long", quantity, entry, leverage, **more)


def told(engine: Engine, producer: str = "desk") -> dict[tuple[str, float | None], float | None]:
    """What a producer holds: quantity by market and entry price."""
    held = engine.positions(producer).result(10)
    return {(one.position.key.market, one.position.entry_price_usd): one.quantity for one in held.positions}


def message(sequence: int, *quantities: float, producer: str = "", **more: Any) -> ingest_pb2.IngestRequest:
    values = {"venue": "binance", "symbol": "BTCUSDT", "side": model_pb2.SIDE_LONG} | {
        "entry_price_usd": 95_000.0,
        "leverage": 20.0,
        **more,
    }
    deltas = [ingest_pb2.PositionDelta(quantity=quantity, **values) for quantity in quantities]
    return ingest_pb2.IngestRequest(
        producer=producer, sequence=sequence, deltas=ingest_pb2.PositionDeltas(deltas=deltas)
    )


async def keep_telling(stream: IngestStream) -> None:
    """Tell the same again and again until the stream ends."""
    while True:
        await (await stream.send(deltas=[long(100)]))


class RawStream:
    """A stream without the client's help."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.opened = ingest_pb2.IngestOpened()
        self.acked = 0

    async def results(self, count: int) -> list[ingest_pb2.IngestResult]:
        found: list[ingest_pb2.IngestResult] = []
        while len(found) < count:
            response = await asyncio.wait_for(self.call.read(), 20)
            assert response is not grpc.aio.EOF, (await self.call.code(), await self.call.details())
            assert response.ack.acked_sequence >= self.acked
            self.acked = response.ack.acked_sequence
            found += response.ack.results
        return found

    async def tell(self, *requests: ingest_pb2.IngestRequest) -> list[tuple[int, int]]:
        for request in requests:
            await self.call.write(request)
        return [(result.sequence, result.outcome) for result in await self.results(len(requests))]

    async def status(self) -> tuple[grpc.StatusCode, str]:
        return await asyncio.wait_for(self.call.code(), 10), await self.call.details() or ""


@asynccontextmanager
async def raw(server: RpcServer, producer: str = "desk") -> AsyncIterator[RawStream]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        stream = RawStream(stub.Ingest())
        await stream.call.write(ingest_pb2.IngestRequest(producer=producer))
        with contextlib.suppress(grpc.aio.AioRpcError):  # status() tells
            stream.opened.CopyFrom((await asyncio.wait_for(stream.call.read(), 10)).opened)
        yield stream
        stream.call.cancel()
