"""Full rebuild of the totals of every market, against NumPy and a histogram library.

An update is one live tier of one cohort on one side: a million cohorts with 13 live tiers on both sides are 26 million
updates. NumPy and numba compute the standing totals; a GPU refreshes its resident store, which holds the same totals.
The weighted rows refresh a resident store with weights by age: totals, weighted totals, triggers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from forcedmove_kernels.arrays import U64, Freshness, Window
from forcedmove_kernels.store import ResidentStore
from tests.benchmarks.rebuild_rivals import BASELINE, by_market, rivals
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import Cost, goal, row
from tests.benchmarks.runners import Limits, Runner
from tests.benchmarks.stores import BINS, CELLS, UPDATES_PER_COHORT, Store, aged, build_store, one_market, resident

#: entry and two sides' lots and live tiers are read, a row of u64 per market and side is written
READ_PER_COHORT = 4 + 2 * (4 + 1)
#: with weights by age: the opening time is read and both triggers written, and there are two such rows
WEIGHTED_PER_COHORT = READ_PER_COHORT + 4 + 2 * 4
#: what takes seconds runs in fewer rounds
SLOW_COHORTS, SLOW_ROUNDS = 5_000_000, 2
#: markets whose totals are compared with NumPy's where not all are
SAMPLE = 5
#: the sizes whose figures are promised
PROMISED = {1_000_000: (30.0, 60.0), 10_000_000: (60.0, 140.0)}
PROMISED_GPU_MS = {10_000_000: (0.7, 0.3), 100_000_000: (6.0, 2.6)}


def bench_rebuild(
    results: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    numpy_limits: Limits,
    runners: Sequence[Runner],
    cohorts: int,
    rounds: int,
) -> None:
    """Everyone at one size."""
    store = build_store(cohorts)
    slow = SLOW_ROUNDS if cohorts >= SLOW_COHORTS else None
    found = {name: Contestant(name, work, rounds=slow) for name, work in rivals(store).items()}
    limits = dict.fromkeys(found, numpy_limits) | {runner.name: runner.limits for runner in runners}
    contestants = [contestant(store, runner) for runner in runners]
    seconds = medians([*contestants, *found.values()], rounds)
    markets = len(store.cohorts.used)
    cost = Cost(cohorts * UPDATES_PER_COHORT, cohorts * READ_PER_COHORT + markets * 2 * CELLS * 8, True)
    base = seconds[BASELINE]
    for name, spent in seconds.items():
        params = {"cohorts": cohorts, "markets": markets, "by": name}
        against = None if name == BASELINE else (BASELINE, base)
        results.append(row("full rebuild", params, spent, "ms", cost, limits[name], against))
    cpu = [seconds[runner.name] for runner in runners if not runner.device]
    if cpu and cohorts in PROMISED:
        what = f"full rebuild, {cohorts:.0e} cohorts, against NumPy bincount"
        goals.append(goal(what, *PROMISED[cohorts], base / min(cpu), "x"))
    _gpu_goals(goals, runners, seconds, cohorts)


def bench_weighted(results: list[dict[str, Any]], runners: Sequence[Runner], cohorts: int, rounds: int) -> None:
    """Resident stores with weights by age."""
    store = build_store(cohorts)
    fresh = aged(store)
    loaded = [resident(runner.backend, store, 0) for runner in runners]
    contestants = [refresh(runner, there, fresh) for runner, there in zip(runners, loaded, strict=True)]
    seconds = medians(contestants, rounds)
    for there in loaded:
        check_sample(store, there)
    markets = len(store.cohorts.used)
    cost = Cost(2 * cohorts * UPDATES_PER_COHORT, cohorts * WEIGHTED_PER_COHORT + markets * 4 * CELLS * 8, True)
    for runner in runners:
        params = {"cohorts": cohorts, "markets": markets, "by": runner.name}
        results.append(row("full rebuild, weighted too", params, seconds[runner.name], "ms", cost, runner.limits))


def bench_large(
    results: list[dict[str, Any]], goals: list[dict[str, Any]], runner: Runner, cohorts: int, rounds: int
) -> None:
    """A GPU alone, at a size that NumPy takes minutes for: a sample of its rows is compared."""
    store = build_store(cohorts)
    there = resident(runner.backend, store, 0)
    seconds = medians([refresh(runner, there, store.fresh)], rounds)
    check_sample(store, there)
    markets = len(store.cohorts.used)
    cost = Cost(cohorts * UPDATES_PER_COHORT, cohorts * READ_PER_COHORT + markets * 2 * CELLS * 8, True)
    params = {"cohorts": cohorts, "markets": markets, "by": runner.name}
    results.append(row("full rebuild", params, seconds[runner.name], "ms", cost, runner.limits))
    _gpu_goals(goals, [runner], seconds, cohorts)


def check_sample(store: Store, there: ResidentStore) -> None:
    """Compare the standing totals of some markets with NumPy's."""
    chosen = np.linspace(0, len(there.used) - 1, min(len(there.used), SAMPLE)).astype(np.int32)
    got = there.totals(chosen, weighted=False)
    for number, market in enumerate(chosen.tolist()):
        cohorts, rules = one_market(store, market)
        alone = Store(cohorts, rules, Window(store.window.first_bin[market : market + 1], BINS), store.fresh)
        np.testing.assert_array_equal(got[number : number + 1], by_market(alone))


def contestant(store: Store, runner: Runner) -> Contestant:
    """What a runner does to have standing totals without weights."""
    if runner.device:
        return refresh(runner, resident(runner.backend, store, 0), store.fresh)
    markets = len(store.cohorts.used)
    rows = np.arange(2 * markets, dtype=np.int32)
    totals = np.empty((markets, 2, CELLS), np.uint64)

    def rebuild() -> U64:
        runner.backend.standing_totals(*store, rows, totals)
        return totals

    return Contestant(runner.name, rebuild)


def refresh(runner: Runner, there: ResidentStore, fresh: Freshness) -> Contestant:
    """Rebuild every row of a resident store; weighted totals are compared too where ages have weights."""
    every = np.arange(len(there.used), dtype=np.int32)

    def work() -> None:
        there.refresh()
        runner.finish()

    def answer() -> tuple[U64, ...]:
        kinds = (False, True) if len(fresh.table) > 1 else (False,)
        return tuple(there.totals(every, weighted) for weighted in kinds)

    return Contestant(runner.name, work, lambda: there.set_freshness(fresh), answer)


def _gpu_goals(goals: list[dict[str, Any]], runners: Sequence[Runner], seconds: dict[str, float], cohorts: int) -> None:
    for runner in runners:
        if "H200" in runner.device and cohorts in PROMISED_GPU_MS:
            what = f"H200: full rebuild, {cohorts:.0e} cohorts"
            goals.append(goal(what, *PROMISED_GPU_MS[cohorts], seconds[runner.name] * 1e3, "ms", at_most=True))
