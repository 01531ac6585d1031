"""Speed of the kernels: rebuilds, ticks, compaction, cascades; every backend that runs here, every answer asserted.

Runs with NumPy alone; numba, a histogram library and a GPU take part where they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from forcedmove_kernels.arrays import I32, ClusterRule, Cohorts, Notional
from tests.benchmarks import cascade_bench, tick_bench
from tests.benchmarks.rebuild_bench import bench_large, bench_rebuild, bench_weighted
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import Cost, row
from tests.benchmarks.runners import Runner, cpu_runners, cuda_runners, one_core
from tests.benchmarks.stores import CELLS, build_store, resident, settle


class Sizes(NamedTuple):
    """How much is measured."""

    rebuild: dict[int, int]  # cohorts: rounds
    large: int  # cohorts for a GPU alone
    ticks: tick_bench.Sizes
    cascades: cascade_bench.Sizes
    compaction: int
    words: int  # f64 that the copy copies
    repeats: int  # of the increments


FULL = Sizes(
    rebuild={100_000: 15, 1_000_000: 9, 10_000_000: 5},
    large=100_000_000,
    ticks=tick_bench.Sizes((1_000_000, 10_000_000), (1_000, 10_000, 100_000), 9),
    cascades=cascade_bench.Sizes(500, 64, 2048, 1_000_000, 20, 7, promised=True),
    compaction=100_000,
    words=32 << 20,
    repeats=20_000,
)


def bench_compaction(results: list[dict[str, Any]], runner: Runner, cohorts: int, rounds: int) -> None:
    """Every market of a store, cohorts a minute apart, into the ladder of minutes, quarter hours and days."""
    store = build_store(cohorts)
    store.cohorts.opened_at[:] *= 60
    now = int(store.cohorts.opened_at[-1])
    ladder = np.array([[3_600, 300], [86_400, 3_600], [604_800, 86_400]], np.uint32)
    there = resident(runner.backend, store, 1)
    settle(there)
    pristine = [there.cohorts(market) for market in range(len(there.used))]
    markets: list[Cohorts] = []

    def restore() -> None:
        markets[:] = [Cohorts(*(field.copy() for field in market)) for market in pristine]

    def compact() -> I32:
        return np.array([runner.backend.compact(market, 0, now, ladder, 2) for market in markets], np.int32)

    seconds = medians([Contestant(runner.name, compact, restore)], rounds)[runner.name]
    for before, after in zip(pristine, markets, strict=True):
        np.testing.assert_array_equal(before.lots.sum(1, dtype=np.uint64), after.lots.sum(1, dtype=np.uint64))
    before, remain = int(there.used.sum()), sum(int(market.used[0]) for market in markets)
    params = {"cohorts": before, "remain": remain, "markets": len(markets), "by": runner.name}
    results.append(row("compaction", params, seconds, "ms", Cost(before, 18 * (before + remain), False), runner.limits))


def bench_profiles(results: list[dict[str, Any]], runners: list[Runner], cohorts: int, rounds: int) -> None:
    """What a tick asks of every market, each a symbol of its own: cents and clusters, levels spread by their distance.

    The baseline is the same without spreading. All answers of all backends are compared.
    """
    store = build_store(cohorts)
    markets = len(store.cohorts.used)
    every, first = np.arange(markets, dtype=np.int32), np.arange(markets + 1, dtype=np.int64)
    money, rule = Notional(np.full(markets, 1e3), np.zeros(markets)), ClusterRule(30, 150, 1 << 23)
    contestants = []
    for runner in runners:
        for share in (128, 0):
            there = resident(runner.backend, store, 1)
            settle(there)
            there.set_spread(every, share, 491)  # 0.75 % of the mark
            contestants.append(
                Contestant(
                    f"{runner.name}, {share}",
                    lambda there=there: there.profiles(every, first, money, rule).symbols,
                    question=str(share),
                )
            )
    seconds = medians(contestants, rounds)
    cells = markets * 2 * CELLS
    for runner in runners:
        spread, sharp = (seconds[f"{runner.name}, {share}"] for share in (128, 0))
        params = {"markets": markets, "cells": CELLS, "by": runner.name}
        cost = Cost(cells, 8 * 3 * cells, False)
        results.append(row("profiles, levels spread", params, spread, "ms", cost, runner.limits, ("not spread", sharp)))


def measure(sizes: Sizes, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Append a line per measurement to ``results``; return the figures that have to be reached (rows.goal)."""
    numpy_limits = one_core(sizes.words, sizes.repeats)
    cpu = cpu_runners(sizes.words, sizes.repeats)
    cuda = cuda_runners(sizes.words, sizes.repeats)
    goals: list[dict[str, Any]] = []
    for cohorts, rounds in sizes.rebuild.items():
        bench_rebuild(results, goals, numpy_limits, cpu + cuda, cohorts, rounds)
        bench_weighted(results, cpu + cuda, cohorts, rounds)
    for runner in cuda:
        bench_large(results, goals, runner, sizes.large, sizes.ticks.rounds)
    if cpu + cuda:  # NumPy has nothing that keeps a store
        tick_bench.bench_ticks(results, goals, cpu + cuda, sizes.ticks)
        bench_profiles(results, cpu + cuda, sizes.ticks.cohorts[0], sizes.ticks.rounds)
    for runner in cpu[:1]:
        bench_compaction(results, runner, sizes.compaction, sizes.ticks.rounds)
    cascade_bench.bench_cascades(results, goals, numpy_limits, cpu + cuda, sizes.cascades)
    return goals


def run(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measure everything at the promised sizes."""
    return measure(FULL, results)
