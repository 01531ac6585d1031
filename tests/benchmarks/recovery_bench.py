"""Recovery: what a snapshot holds the engine's thread up, and how fast inputs are repeated.

100 markets of 1 000 cohorts each, with 10 000 exact positions told by ten clients: the state of a large server.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from forcedmove_kernels.arrays import Cohorts
from forcedmove_server.config import Config, EngineConfig, ExactConfig
from forcedmove_server.engine.core import SET_POSITIONS, EngineCore
from forcedmove_server.engine.recovery.digest import digest
from forcedmove_server.engine.recovery.log import GENESIS
from forcedmove_server.engine.recovery.record import Record, TickRecord, encoded
from forcedmove_server.engine.recovery.snapshot import Position, read_snapshot, write_snapshot
from forcedmove_server.engine.recovery.state import capture, restore
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, TRADE, EventBatch
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey

SYMBOLS, VENUES, COHORTS = 25, ("binance", "bybit", "okx", "bitget"), 1_000
CLIENTS, POSITIONS = 10, 1_000
TICKS = 40
_S, _BEGIN = 10**9, 1_790_000_000 * 10**9
#: the pause that one tick of the default interval leaves
TICK_S = 0.25


def run(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the rows of this benchmark; returns the figures that have to be reached."""
    core = large_core()
    cohorts = int(core.pipeline.store.used.sum())
    assert cohorts >= 100_000
    pauses, cpu = [], []
    for _ in range(9):
        began, cpu_began = time.perf_counter(), time.thread_time()
        taken = capture(core)
        pauses.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - cpu_began)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        size = write_snapshot(Path(folder), Position(1, GENESIS), taken, {})
        written = time.perf_counter() - began
        other = EngineCore(_config(), InstrumentRegistry(), epoch=2)
        began = time.perf_counter()
        restore(other, read_snapshot(Path(folder) / f"{1:020d}.snapshot").captured())
        restored = time.perf_counter() - began
    assert digest(other) == digest(core)
    worked_before = core.worked_s
    payloads = [_ticked(core, number) for number in range(TICKS)]
    worked = core.worked_s - worked_before
    began = time.perf_counter()
    for payload in payloads:
        Record.decoded(payload).repeat(other)
    repeated = time.perf_counter() - began
    assert digest(other) == digest(core)
    shape = {"cohorts": cohorts, "positions": CLIENTS * POSITIONS}
    for name, seconds in (
        ("snapshot: pause of the engine", statistics.median(pauses)),
        ("snapshot: processor time of the pause", statistics.median(cpu)),
        ("snapshot: encode, write and sync", written),
        ("snapshot: read, verify and restore", restored),
        ("replay: one tick", repeated / TICKS),
    ):
        results.append(_row(name, shape, seconds * 1e3, "ms"))
    results.append(_row("snapshot: size", shape, size / 1e6, "MB"))
    results.append(_row("replay: time over what the ticks took", shape, repeated / worked, "x"))
    return [
        {
            "name": "processor time by which a snapshot holds a tick up",
            "must": TICK_S,
            "aim": TICK_S / 3,
            "seen": statistics.median(cpu),
            "unit": "s",
        },
    ]


def large_core() -> EngineCore:
    """Return a core with 100 markets, their cohorts and exact positions."""
    core = EngineCore(_config(), InstrumentRegistry(), epoch=1)
    for symbol in range(SYMBOLS):
        for venue in VENUES:
            core.registry.add(Instrument(venue, f"C{symbol}USDT", f"C{symbol}", "USDT", max_leverage=100.0))
    for minute in range(3):
        _whole(core, _minute(len(core.registry), minute), 60.0 * minute)
    rng = np.random.default_rng(1)
    store = core.pipeline.store
    for market in range(len(core.registry)):
        cohorts = _cohorts(rng, int(core.pipeline.inference.markets.price[market]))
        store.replace_exact(market, cohorts)  # whole, with its ledger
        store.version[market] += 1
    for client in range(CLIENTS):
        core.change(SET_POSITIONS, PositionChange(f"desk-{client}", 1, tuple(_positions(rng, client))))
    core.begin_tick(200.0)
    core.publish()
    core.stages.end_tick()
    return core


def _config() -> Config:
    return Config(
        engine=EngineConfig(backend="cpu", threads=1, max_markets=128, max_cohorts_per_market=4_096),
        exact=ExactConfig(max_markets=64),
    )


def _price(market: int) -> float:
    return 100.0 * (1 + market // len(VENUES))


def _minute(markets: int, minute: int, second: int | None = None) -> EventBatch:
    rng = np.random.default_rng(minute if second is None else 10_000 + second)
    begin = _BEGIN + 60 * minute * _S
    seconds = range(60) if second is None else (second,)
    marks, trades, interest = [], [], []
    for at in seconds:
        now = begin + at * _S
        for market in range(markets):
            price = _price(market) * float(np.exp(rng.normal(0, 5e-4)))
            marks.append((now, now, price, market, 0))
            trades += [(now + 1, now + 1, price, 3.0, market, 1)] * 2
            if at % 10 == 9 or second is not None:
                interest.append((now + 2, 0, round(1e6 * rng.uniform(0.99, 1.01) / price, 3), market, 0))
    return EventBatch(
        begin + (seconds[-1] + 1) * _S,
        trades=np.array(trades, TRADE),
        mark_prices=np.array(marks, MARK_PRICE),
        open_interest=np.array(interest, OPEN_INTEREST),
    )


def _cohorts(rng: np.random.Generator, price: int) -> Cohorts:
    return Cohorts(
        start=np.array([0, COHORTS], np.int64),
        used=np.array([COHORTS], np.int32),
        entry=(price * rng.uniform(0.95, 1.05, COHORTS)).astype(np.uint32),
        opened_at=np.full(COHORTS, _BEGIN // _S, np.uint32),
        lots=rng.integers(1, 1_000, (2, COHORTS)).astype(np.uint32),
        live_tiers=np.full((2, COHORTS), 5, np.uint8),
    )


def _positions(rng: np.random.Generator, client: int) -> list[ExactPosition]:
    found = []
    for number in range(POSITIONS):
        market, side = number % 60, int(rng.integers(2))
        price = _price(market) * (rng.uniform(0.7, 0.95) if side == 0 else rng.uniform(1.05, 1.3))
        key = PositionKey(f"account-{client}-{number}", f"{VENUES[market % 4]}:C{market // 4}USDT", side)
        found.append(ExactPosition(key, quantity=0.01, liquidation_price_usd=price, leverage=10.0, opened_at_ns=_BEGIN))
    return found


def _whole(core: EngineCore, batch: EventBatch, clock_s: float) -> bytes:
    record = TickRecord()
    core.begin("bench", batch)
    record.batch("bench", batch)
    while not core.between_batches:
        core.step()
        record.step()
    core.begin_tick(clock_s)
    core.publish()
    core.stages.end_tick()
    return encoded(record.sealed(clock_s), ())


def _ticked(core: EngineCore, number: int) -> bytes:
    return _whole(core, _minute(len(core.registry), 3, number), 200.0 + number / 4)


def _row(name: str, params: dict[str, Any], value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "params": params, "median": value, "unit": unit, "ratio": None, "baseline": None}


if __name__ == "__main__":
    rows: list[dict[str, Any]] = []
    goals = run(rows)
    for row in rows:
        sys.stdout.write(f"{row['name']:45s} {row['median']:10.3f} {row['unit']}  {row['params']}\n")
    sys.stdout.write(f"{goals}\n")
