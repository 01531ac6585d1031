"""Streamed ingest through a real server: what one producer gets acknowledged a second, with the usual tick.

An acknowledgement comes when the tick that has the change was published. So small requests are bound by the window over
the tick, ``1 024 / 0.25 s``, wherever the engine keeps up.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from forcedmove_client import AsyncClient, IngestStream, PositionDelta
from forcedmove_server.config import Config, EngineConfig, ExactConfig, IngestConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.limits import Limits
from tests.integration.real_engine import fed_engine, served

ROUNDS = 5
#: cohorts that are held, in two markets
COHORTS = 2_000
CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, max_markets=8, max_cohorts_per_market=4_096),
    exact=ExactConfig(max_markets=4),
)


def _delta(which: int, quantity: float) -> PositionDelta:
    market = ("BTCUSDT", "ETHUSDT")[which % 2]
    entry = (90_000.0, 3_000.0)[which % 2] * (1 + which / 1e5)
    return PositionDelta("binance", market, "long", quantity, entry, 10.0)


async def _round(stream: IngestStream, requests: int, deltas: int, first: int) -> float:
    begin = time.perf_counter()
    for number in range(requests):
        which = (first + number) * deltas
        await stream.send(deltas=[_delta((which + k) % COHORTS, 0.125) for k in range(deltas)])
    await stream.flush()
    return time.perf_counter() - begin


async def _measure(requests: int, deltas: int) -> tuple[float, int]:
    """Median seconds of a round, and ticks that were missed."""
    limits = Limits(ingest=IngestConfig(max_requests_per_s=1e6, max_changes_per_s=1e9))
    async with (
        fed_engine(CONFIG) as engine,
        served(engine, limits) as server,
        AsyncClient(f"127.0.0.1:{server.port}") as client,
        client.ingest("bench", buffer=4_096) as stream,
    ):
        for first in range(0, COHORTS, 500):
            await stream.send(deltas=[_delta(which, 1.0) for which in range(first, first + 500)])
        await stream.flush()
        missed = engine.missed_ticks
        seconds = [await _round(stream, requests, deltas, number * requests) for number in range(ROUNDS)]
        assert stream.stats.applied == stream.stats.sent == COHORTS // 500 + ROUNDS * requests
        _check(engine, COHORTS + 0.125 * ROUNDS * requests * deltas)
        return statistics.median(seconds), engine.missed_ticks - missed


def _check(engine: Engine, quantity: float) -> None:
    held = engine.positions("bench").result(60).positions
    assert len(held) == COHORTS
    assert sum(one.quantity or 0.0 for one in held) == quantity


def run(results: list[dict[str, Any]]) -> None:
    """Append the rows of this benchmark."""
    for requests, deltas in ((4_096, 1), (256, 100), (40, 1_000)):
        seconds, missed = asyncio.run(_measure(requests, deltas))
        params = {"requests": requests, "deltas": deltas, "held": COHORTS, "missed ticks": missed}
        unit, count = ("requests/s", requests) if deltas == 1 else ("deltas/s", requests * deltas)
        results.append(
            {
                "name": "ingest, acknowledged",
                "params": params,
                "median": count / seconds,
                "unit": unit,
                "baseline": None,
                "ratio": None,
            }
        )


if __name__ == "__main__":
    from tests.benchmarks.__main__ import table

    rows: list[dict[str, Any]] = []
    run(rows)
    print(table(rows))
