"""A server under an hour of ordinary life: ``python -m tests.soak_serving --minutes 60`` or ``make soak-serving``.

Fifty readers of all kinds come and go, some of them slow; scans, what-ifs, snapshots and changes of positions come all
the time. Memory, threads and open files are sampled, and their slopes told with 95 % intervals (Theil-Sen, over the
second half); tick intervals are differences of the stamps that the server puts on a symbol's maps, latencies are from
that stamp to the reader on the same machine. Exit code 1 where something grows, lags or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.request import urlopen

import numpy as np
from scipy import stats

from forcedmove_client import AsyncClient, LimitExceededError, MapFrame, Position, PositionKey, Subscription
from tests.serving_process import Served, server_process

READERS = 50
TICK_S = 0.25
#: readers stay so long on average
_STAY_S = 45.0
_SECOND = np.timedelta64(1, "s")
_VIEWS: tuple[dict[str, Any], ...] = (
    {"symbols": "BTC"},
    {"symbols": ("BTC", "ETH"), "keep": ("venue", "side", "price")},
    {"symbols": (), "price_range": 0.1},
    {"symbols": "ETH", "keep": ("venue", "side", "leverage", "price"), "price_range": 0.05},
    {"symbols": "SOL", "weighting": "fresh"},
    {"symbols": "BTC", "sides": "long", "leverage": (10, 100), "max_rate_hz": 1},
)
#: allowed: memory an hour, threads and files, tick intervals and latencies at the 99th percentile, missed ticks
_MOST_MIB_PER_HOUR, _MOST_NEW, _MOST_INTERVAL_S, _MOST_LATENCY_S, _MOST_MISSED = 20.0, 2, 2 * TICK_S, 0.25, 0.01


class Record:
    """What was seen."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.mib: list[float] = []
        self.threads: list[int] = []
        self.files: list[int] = []
        self.intervals_s: list[float] = []
        self.latencies_s: list[float] = []
        self.done: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self.ticks = self.missed = 0
        self.shed: dict[str, int] = {}

    def sample(self, served: Served, begin: float) -> None:
        """Look at the process."""
        with served.process.oneshot():
            self.mib.append(served.process.memory_info().rss / 2**20)
            self.threads.append(served.process.num_threads())
            self.files.append(served.process.num_fds())
        self.times_s.append(time.monotonic() - begin)

    def slope_per_hour(self, values: list[float] | list[int]) -> tuple[float, float, float]:
        """Return a slope with the ends of its interval, over the second half."""
        half = len(values) // 2
        found = stats.theilslopes(values[half:], np.array(self.times_s[half:]) / 3_600, alpha=0.95)
        return float(found.slope), float(found.low_slope), float(found.high_slope)


async def reader(port: int, number: int, record: Record) -> None:
    """Read one kind of view for a while, over and over. Clients of one process share connections, as grpcio has it."""
    draw = random.Random(number)
    wanted = _VIEWS[number % len(_VIEWS)]
    slow_s = 0.7 if number % 10 == 9 else 0.0
    while True:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            leave = time.monotonic() + draw.expovariate(1 / _STAY_S)
            before: np.datetime64 | None = None
            async with client.subscribe(**wanted) as frames, contextlib.aclosing(_counted(frames, record)) as counted:
                async for frame in counted:
                    record.done["frames"] += 1
                    if number == 0 and before is not None and not frame.skipped:
                        record.intervals_s.append((frame.published_time - before) / _SECOND)
                    if not slow_s and not wanted.get("max_rate_hz"):
                        record.latencies_s.append(
                            (np.datetime64(time.time_ns(), "ns") - frame.published_time) / _SECOND
                        )
                    before = frame.published_time
                    await asyncio.sleep(slow_s)
                    # the first is the one whose stamps are compared: it stays
                    if number and time.monotonic() > leave:
                        break
        record.done["new readers"] += 1


async def _counted(frames: Subscription, record: Record) -> AsyncIterator[MapFrame]:
    """Yield a stream's frames, and count how often it was cut off or lost its connection."""
    try:
        async for frame in frames:
            yield frame
    finally:
        record.done["cut-offs"] += frames.stats.cut_offs
        record.done["lost connections"] += frames.stats.reconnects - frames.stats.cut_offs


async def watcher(port: int, record: Record) -> None:
    """Watch events."""
    async with AsyncClient(f"127.0.0.1:{port}") as client, client.events() as events:
        async for _ in events:
            record.done["events"] += 1


async def repeated(name: str, every_s: float, ask: Callable[[int], Awaitable[object]], record: Record) -> None:
    """Ask over and over; to be told to come again is an answer."""
    for number in range(sys.maxsize):
        try:
            await ask(number)
        except LimitExceededError:
            record.busy[name] += 1
        else:
            record.done[name] += 1
        await asyncio.sleep(every_s)


async def soak(minutes: float) -> Record:
    """Live for so long."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics_port = free.getsockname()[1]
    record, seconds = Record(), minutes * 60
    every_s = max(1.0, seconds / 400)
    async with server_process(metrics_port) as served, AsyncClient(f"127.0.0.1:{served.port}") as client:

        async def positions(number: int) -> object:
            key = PositionKey("binance", "BTCUSDT", "long", str(number % 20))
            if number % 25 == 24:
                return await client.clear_positions("soak")
            told = Position(key, quantity=1.0 + number % 7)
            return await client.set_positions([told], producer="soak", replace=False)

        def scrape() -> int:
            with urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
                return len(answer.read())

        asks: tuple[tuple[str, float, Callable[[int], Awaitable[object]]], ...] = (
            ("scans", 5.0, lambda _: client.scan([-0.02, -0.05, 0.05], paths=100)),
            ("simulations", 1.0, lambda n: client.forecast("BTC", move=-0.01 * (1 + n % 9), paths=500)),
            ("snapshots", 0.5, lambda n: client.snapshot("ETH", band_level=0.9 if n % 5 == 0 else 0)),
            ("changes of positions", 0.5, positions),
            ("scores", 10.0, lambda _: client.scorecard()),
            ("scrapes", 5.0, lambda _: asyncio.to_thread(scrape)),
        )
        begin = time.monotonic()
        before = await client.server_status()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(reader(served.port, number, record)) for number in range(READERS)]
            running.append(tasks.create_task(watcher(served.port, record)))
            running += [tasks.create_task(repeated(name, wait_s, ask, record)) for name, wait_s, ask in asks]
            while time.monotonic() < begin + seconds:
                await asyncio.sleep(every_s)
                record.sample(served, begin)
            for task in running:
                task.cancel()
        after = await client.server_status()
        record.ticks, record.missed = after.ticks - before.ticks, after.missed_ticks - before.missed_ticks
    record.done["complaints of the log"] = len(served.complaints)
    print(*served.complaints[:10], sep="\n", end="\n" if served.complaints else "")
    return record


def judge(record: Record) -> list[str]:
    """Print the figures; return what is wrong."""
    missed = []
    for name, values, most in (
        ("memory, MiB", record.mib, None),
        ("threads", record.threads, _MOST_NEW),
        ("files", record.files, _MOST_NEW),
    ):
        slope, low, high = record.slope_per_hour(values)
        half = len(values) // 2
        print(
            f"{name}: {values[0]:.0f} -> {values[-1]:.0f}, most {max(values):.0f}; "
            f"{slope:+.1f} an hour ({low:+.1f} to {high:+.1f})"
        )
        if most is None and low > _MOST_MIB_PER_HOUR:
            missed.append(f"{name} grows by {slope:.1f} an hour")
        if most is not None and low > 0 and np.mean(values[-5:]) > np.mean(values[half : half + 5]) + most:
            missed.append(f"{name} grow")
    for name, seen, most in (
        ("tick interval", record.intervals_s, _MOST_INTERVAL_S),
        ("latency of frames", record.latencies_s, _MOST_LATENCY_S),
    ):
        p50, p99 = np.percentile(seen, (50, 99))
        print(f"{name}: p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, most {1e3 * max(seen):.1f} ms ({len(seen)})")
        if p99 > most:
            missed.append(f"{name}: p99 is {1e3 * p99:.0f} ms")
    print(f"ticks: {record.ticks}, {record.missed} missed")
    if record.missed > _MOST_MISSED * record.ticks:
        missed.append("ticks are missed")
    print("done:", ", ".join(f"{name} {count}" for name, count in record.done.items()))
    print("told to come again:", dict(record.busy))
    names = ("frames", "new readers", "scans", "simulations", "snapshots", "changes of positions", "scrapes")
    missed += [f"no {name}" for name in names if not record.done[name]]
    missed += [f"{record.done[name]} {name}" for name in ("cut-offs", "lost connections") if record.done[name]]
    if record.done["complaints of the log"]:
        missed.append("the log has errors")
    return missed


def main() -> int:
    """Live, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    missed = judge(asyncio.run(soak(args.minutes)))
    print("verdict:", *(missed or ["passed"]), sep="\n  ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
