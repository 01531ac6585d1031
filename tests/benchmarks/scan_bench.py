"""Scans of the whole market: the kernels' calls, and what a client waits for, against the same through NumPy.

The books are a made-up market of 500 symbols with books of 20 bins a side and the square-root law beyond. NumPy follows
the same chains shock by shock with prefix sums and a binary search, each through the depth that it meets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import numpy as np

from forcedmove_client import AsyncClient
from forcedmove_kernels.backend import Backend, select_backend
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook, depth_after_shock
from forcedmove_server.engine.scan.books import ScanBook, Snapshot, TakenBooks, outward
from forcedmove_server.engine.scan.follow import QUANTILES, random_tables, scan_symbol
from forcedmove_server.engine.scan.question import ScanQuestion
from forcedmove_server.rpc import scan as scan_rpc
from forcedmove_server.rpc.server import serve
from tests.benchmarks import cascade_bench
from tests.benchmarks.cascade_rivals import Books, chains_of_row, paths
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import Cost, goal, row
from tests.benchmarks.runners import Limits, cpu_runners, one_core
from tests.integration.fake_engine import FakeEngine

T = TypeVar("T")
SLOW_ROUNDS = 2
RIVAL = "numpy, chain by chain"
CPU = "numba, 1 thread, one symbol at a time"
FIRST_GOAL = ("Scan of {} symbols x {} shocks x {} paths: first result", 50.0)
CHAINS_GOAL = ("{} symbols x {} shocks x 2 sides, kernel call", 10.0, 5.0)
CURVES_GOAL = ("all-shock curves of {} symbols", 20.0, 10.0)


class Sizes(NamedTuple):
    """How much is done; ``promised`` where the figures are those of the promises."""

    symbols: int
    shocks: int
    bins: int
    paths: int
    numpy_symbols: int  # whose chains NumPy follows
    rounds: int
    words: int
    repeats: int
    promised: bool


FULL = Sizes(500, 64, 2_048, 200, 8, 5, 1 << 24, 4_000, promised=True)


def made_up_book(number: int, bins: int) -> ScanBook:
    """A symbol whose mark is about the middle of its window, with clusters around it."""
    rng = np.random.default_rng((11, number))
    cells = bins + 2
    profile = rng.integers(0, 400_000_00, (2, cells)) * (rng.random((2, cells)) < 0.3)
    mark_bin = 10_000 + bins // 2
    visible, at = np.zeros((2, cells)), bins // 2 + 1
    depth = rng.uniform(1e5, 1e6, (2, 20))
    visible[0, at - 20 : at], visible[1, at + 1 : at + 21] = depth
    profile[0, at + 1 :] = profile[1, :at] = 0
    law = ImpactLaw(0.04, float(rng.lognormal(21, 1)), 1.0, 0.043)
    return ScanBook(
        f"S{number:03d}", mark_bin + 0.4, 10_000, 1.0, profile.astype(np.uint64), VisibleBook.of_one(visible), law, True
    )


def moves(shocks: int) -> tuple[float, ...]:
    """Half of them down, half up, from 5 bp to 20 %."""
    half = np.geomspace(5e-4, 0.2, shocks // 2)
    return tuple(np.concatenate([-half, half]).tolist())


def through_numpy(book: ScanBook, shocks: tuple[float, ...], count: int = 0) -> tuple[Any, ...]:
    """Terminal prices and USD fired, as one writes it first; beside each chain ``count`` random paths of it."""
    terminal, fired = np.zeros(len(shocks)), np.zeros(len(shocks))
    noise = random_tables(0).kernel
    for side in (0, 1):
        way = outward(book, side)
        mark, prices = book.cell(book.mark_usd), way.prices()
        for k, move in enumerate(shocks):
            if (move > 0) != bool(side):
                continue
            price = book.mark_usd * (1 + move)
            depth = depth_after_shock(
                book.visible, book.mark_usd, price, side, book.first_bin, book.bin_width, book.law
            )
            own = depth[mark::-1] if side == 0 else depth[mark:]
            at = way.position(price)
            reached, cents = chains_of_row(way.fires, own, np.array([at]))
            end = int(reached[0])
            terminal[k], fired[k] = price if end == at else prices[end], int(cents[0]) / 100
            if count:  # rows of even number go down from their mark
                upright = Books(way.fires[None, ::-1], own[None, ::-1], np.array([len(own) - 1], np.int32))
                ends, _ = paths(upright, at, count, noise, range(1))
                np.quantile(len(own) - 1 - ends[0], QUANTILES, method="inverted_cdf")
    return terminal, fired


class MadeUpEngine(FakeEngine):
    """A fake engine whose snapshot has the made-up books."""

    def __init__(self, books: list[ScanBook], backend: Backend) -> None:
        self._books, self._backend = books, backend
        super().__init__(("BTC",))

    def at_tick(self, look: Callable[[Snapshot], T]) -> Future[T]:
        done: Future[T] = Future()
        stamps = {book.symbol: (1, 1) for book in self._books}
        answer = (
            (len(self._books), self._books[0].cells)
            if look is scan_rpc.size_of
            else TakenBooks(self._backend, tuple(self._books), stamps, 0)
        )
        done.set_result(answer)  # type: ignore[arg-type]
        return done


async def streamed(target: str, shocks: tuple[float, ...], paths: int) -> tuple[float, float, int]:
    """Seconds until the first symbol and until the end, and how many came."""
    async with AsyncClient(target) as client:
        await client.estimate_scan(shocks)  # the connection is there
        begin = time.perf_counter()
        stream = client.iter_scan(shocks, paths=paths, timeout_s=120.0)
        await anext(stream)
        first = time.perf_counter() - begin
        count = 1
        async for _ in stream:
            count += 1
        assert stream.summary is not None
        return first, time.perf_counter() - begin, count


async def _served(books: list[ScanBook], sizes: Sizes) -> list[tuple[float, float, int]]:
    engine = MadeUpEngine(books, select_backend("cpu")[0])
    engine.step()
    server = await serve(engine, port=0)
    try:
        target = f"127.0.0.1:{server.port}"
        found = [await streamed(target, moves(sizes.shocks), sizes.paths) for _ in range(sizes.rounds + 1)]
        return found[1:]
    finally:
        await server.drain(0.1)
        engine.close()


def run(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measure at full size."""
    return measure(FULL, results)


def measure(sizes: Sizes, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measure; returns the figures that have to be reached."""
    limits, runners = one_core(sizes.words, sizes.repeats), cpu_runners(sizes.words, sizes.repeats)
    goals: list[dict[str, Any]] = []
    if not runners:
        return goals
    kernels: list[dict[str, Any]] = []
    cascades = cascade_bench.Sizes(sizes.symbols, sizes.shocks, sizes.bins, 2 * sizes.symbols, 2, sizes.rounds, False)
    cascade_bench.bench_cascades(kernels, [], limits, runners, cascades)
    kernels = [line for line in kernels if line["name"] != "cascade paths"]
    results += [line | {"name": f"scan: {line['name']}"} for line in kernels]
    books = [made_up_book(number, sizes.bins) for number in range(sizes.symbols)]
    _symbols(books[: sizes.numpy_symbols], 0, sizes, limits, results)
    slow = _symbols(books[:1], sizes.paths, sizes, limits, results) * sizes.symbols
    first, whole = _streams(books, slow, sizes, limits, results)
    if sizes.promised:
        for what, name in ((CHAINS_GOAL, "cascade chains"), (CURVES_GOAL, "all-shock curves")):
            seen = min(line["median"] for line in kernels if line["name"] == name and "numba" in line["params"]["by"])
            goals.append(goal(what[0].format(sizes.symbols, sizes.shocks), what[1], what[2], seen, "ms", at_most=True))
        what, most = FIRST_GOAL
        told = what.format(sizes.symbols, sizes.shocks, sizes.paths)
        goals.append(goal(told, most, None, first * 1e3, "ms", at_most=True))
        assert whole > first
    return goals


def _symbols(some: list[ScanBook], count: int, sizes: Sizes, limits: Limits, results: list[dict[str, Any]]) -> float:
    """Symbols one after the other, as a worker does them, tips included, against NumPy without tips.

    Returns NumPy's seconds. Of random paths only the time is compared: they are drawn by the same rule.
    """
    backend, shocks = select_backend("cpu", 1)[0], moves(sizes.shocks)

    def ours() -> tuple[Any, ...]:
        found = [scan_symbol(backend, book, ScanQuestion(shocks, paths=count)) for book in some]
        return np.stack([one.terminal_usd for one in found]), np.stack([one.fired_usd for one in found])

    def rival() -> tuple[Any, ...]:
        found = [through_numpy(book, shocks, count) for book in some]
        return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])

    slow = SLOW_ROUNDS if count else None
    seconds = medians([Contestant(RIVAL, rival, rounds=slow), Contestant(CPU, ours)], sizes.rounds)
    chains = len(some) * len(shocks)
    cost = Cost(chains * max(count, 1), chains * sizes.bins * 8, False)  # a half of two rows
    for name, spent in seconds.items():
        base = None if name == RIVAL else (RIVAL, seconds[RIVAL])
        params = {"symbols": len(some), "shocks": len(shocks), "paths": count, "by": name}
        results.append(row("scan: chains through their own depth", params, spent, "ms", cost, limits, base))
    return seconds[RIVAL]


def _streams(
    books: list[ScanBook], slow: float, sizes: Sizes, limits: Limits, results: list[dict[str, Any]]
) -> tuple[float, float]:
    """First and last message of a scan with random paths, over loopback, in one process with its client.

    The baseline, ``slow`` seconds, is what NumPy takes for one symbol times their number.
    """
    found = asyncio.run(_served(books, sizes))
    assert {count for _, _, count in found} == {sizes.symbols}
    first, whole = (float(np.median([one[k] for one in found])) for k in (0, 1))
    shocks = len(moves(sizes.shocks))
    params = {"symbols": sizes.symbols, "shocks": shocks, "paths": sizes.paths}
    per_symbol = shocks * sizes.paths
    for name, spent, symbols, base in (
        ("scan streamed: first result", first, 1, None),
        ("scan streamed: whole", whole, sizes.symbols, (RIVAL, slow)),
    ):
        cost = Cost(per_symbol * symbols, 8.0 * sizes.bins * shocks * symbols, False)
        results.append(row(name, params, spent, "ms", cost, limits, base))
    return first, whole
