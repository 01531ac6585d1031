"""Speed of the CPU kernels, with answers asserted.

An update is one live tier of one cohort on one side: a million cohorts with 13 live tiers on both sides are 26 million
updates. Two NumPy baselines do the same rebuild with ``np.bincount``: one pass over the whole store per side and tier,
which is what one writes first, and market by market, which keeps temporaries in cache. Each runs once, after one small
run, and not beyond a million cohorts: at five million the ratio is the time per update against that at one million.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import (
    NOT_OBSERVED,
    U64,
    Cohorts,
    Freshness,
    Rules,
    Updates,
    Window,
    check_rules,
)
from forcedmove_kernels.cpu import CpuBackend
from forcedmove_kernels.fixed_point import (
    FRESHNESS_ONE,
    MULTIPLIER_BITS,
    PRICE_BITS,
    SHORT,
    WEIGHT_BITS,
    cumulative_weights,
    multipliers,
)

LEVERAGE = np.array([2, 3, 5, 8, 10, 15, 20, 25, 33, 50, 75, 100, 125], np.float64)
TIERS = len(LEVERAGE)
BINS = 2048
CENTRE_BIN = 2000  # bins of 5 bp
PRICE_NOW = CENTRE_BIN << PRICE_BITS
SIZES = (100_000, 1_000_000, 5_000_000)
BASELINE_COHORTS = 1_000_000
DELTAS = 10_000
SPARE_SLOTS = 64
RUNS = 7


class Store(NamedTuple):
    """What the grid kernels take, in their order."""

    cohorts: Cohorts
    rules: Rules
    window: Window
    fresh: Freshness


def build_store(cohorts: int, seed: int = 7) -> Store:
    """Markets of about 1 750 cohorts, lognormal in size, entries along each market's own price path, all tiers live."""
    rng = np.random.default_rng(seed)
    size = np.maximum(rng.lognormal(0, 0.8, max(cohorts // 1750, 2)), 0.05)
    used = np.maximum((size * cohorts / size.sum()).astype(np.int64), 8)
    used[np.argmax(used)] += cohorts - used.sum()
    markets = len(used)
    start = np.concatenate([[0], np.cumsum(used + SPARE_SLOTS)])
    slots = int(start[-1])
    entry = np.ones(slots, np.uint32)
    lots = np.zeros((2, slots), np.uint32)
    for m in range(markets):
        path = np.exp(np.cumsum(rng.normal(0, 0.002, used[m])) + rng.normal(0, 0.001, used[m]))
        path *= CENTRE_BIN / path[-1]
        slot = slice(start[m], start[m] + used[m])
        entry[slot] = np.clip(path, 1, 100_000) * (1 << PRICE_BITS)
        lots[:, slot] = rng.integers(1, 200_000, (2, used[m]))
    maintenance = rng.uniform(0.003, 0.006, markets)[:, None]
    ratio = np.stack([1 - 1 / LEVERAGE + maintenance, 1 + 1 / LEVERAGE - maintenance], 1)
    rules = Rules(
        tiers=np.full(markets, TIERS, np.uint8),
        multiplier=multipliers(ratio),
        weight=cumulative_weights(rng.dirichlet(np.full(TIERS, 3.0), (markets, 2))),
    )
    check_rules(rules)
    return Store(
        Cohorts(
            start=start.astype(np.int64),
            used=used.astype(np.int32),
            entry=entry,
            opened_at=np.arange(slots, dtype=np.uint32),
            lots=lots,
            live_tiers=np.full((2, slots), TIERS, np.uint8),
        ),
        rules,
        Window(np.full(markets, CENTRE_BIN - BINS // 2, np.uint32), BINS),
        Freshness(np.full(1, FRESHNESS_ONE, np.uint32), 60, slots),
    )


def numpy_rebuild(store: Store) -> U64:
    """Standing totals of every row, straightforward NumPy."""
    cohorts, rules, window, _ = store
    totals = np.zeros((len(cohorts.used), 2, BINS + 2), np.uint64)
    for m in range(len(cohorts.used)):
        slots = slice(cohorts.start[m], cohorts.start[m] + cohorts.used[m])
        entry = cohorts.entry[slots].astype(np.uint64)[:, None]
        for side in (0, 1):
            weight = rules.weight[m, side, cohorts.live_tiers[side, slots]]
            share = np.diff(cohorts.lots[side, slots].astype(np.uint64)[:, None] * weight >> WEIGHT_BITS)
            price = entry * rules.multiplier[m, side] >> MULTIPLIER_BITS
            cell = (price >> PRICE_BITS).astype(np.int64) - int(window.first_bin[m]) + 1
            cell = np.clip(cell, 0, BINS + 1)
            totals[m, side] = np.bincount(cell.ravel(), share.ravel(), BINS + 2)
    return totals


def numpy_rebuild_flat(store: Store) -> U64:
    """Standing totals of every row, one ``np.bincount`` per side and tier over the whole store."""
    cohorts, rules, window, _ = store
    markets = len(cohorts.used)
    slots = np.flatnonzero(cohorts.lots[0])
    market = np.searchsorted(cohorts.start, slots, side="right") - 1
    first_bin = window.first_bin.astype(np.int64)[market]
    entry = cohorts.entry[slots].astype(np.uint64)
    totals = np.zeros((markets, 2, BINS + 2), np.uint64)
    for side in (0, 1):
        lots, live = cohorts.lots[side, slots].astype(np.uint64), cohorts.live_tiers[side, slots]
        below = np.zeros(len(slots), np.uint64)
        for tier in range(TIERS):
            through = lots * rules.weight[market, side, live, tier + 1] >> WEIGHT_BITS
            price = entry * rules.multiplier[market, side, tier] >> MULTIPLIER_BITS
            cell = np.clip((price >> PRICE_BITS).astype(np.int64) - first_bin + 1, 0, BINS + 1)
            flat = np.bincount(market * (BINS + 2) + cell, through - below, markets * (BINS + 2))
            totals[:, side] += flat.reshape(markets, BINS + 2).astype(np.uint64)
            below = through
    return totals


def median_s(work: Callable[[], Any], prepare: Callable[[], Any] = lambda: None, runs: int = RUNS) -> float:
    """Median seconds of ``work`` over ``runs`` runs, each after ``prepare``, warmed once."""
    seconds = []
    for run in range(runs + 1):
        prepare()
        begin = time.perf_counter()
        work()
        if run:
            seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def timed(work: Callable[[], U64]) -> tuple[U64, float]:
    """Answer and seconds of a single run."""
    begin = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - begin


def row_of(name: str, params: dict[str, Any], median: float, unit: str, **against: Any) -> dict[str, Any]:
    """One line of the benchmark table; without ``against`` it has no baseline."""
    return {"name": name, "params": params, "median": median, "unit": unit, "baseline": None, "ratio": None} | against


def every_row(store: Store) -> tuple[NDArray[np.int32], U64]:
    """All rows of a store, and totals to rebuild them into."""
    markets = len(store.cohorts.used)
    return np.arange(2 * markets, dtype=np.int32), np.empty((markets, 2, BINS + 2), np.uint64)


def bench_rebuild(results: list[dict[str, Any]]) -> None:
    """Full rebuild of the standing totals, all tiers live."""
    baselines = {"numpy bincount, whole store": numpy_rebuild_flat, "numpy bincount, by market": numpy_rebuild}
    numpy_ns: dict[str, float] = {}
    for rebuild in baselines.values():
        rebuild(build_store(5_000))
    for cohorts in SIZES:
        store = build_store(cohorts)
        rows, totals = every_row(store)
        updates = cohorts * TIERS * 2
        cpu_ns = {}
        for threads in (1, 2):
            backend = CpuBackend(threads)
            totals[:] = 0
            seconds = median_s(lambda: backend.standing_totals(*store, rows, totals))  # noqa: B023
            cpu_ns[threads] = seconds / updates * 1e9
            np.testing.assert_array_equal(totals.sum((0, 2)), store.cohorts.lots.sum(1, dtype=np.uint64))
        if cohorts <= BASELINE_COHORTS:
            for name, rebuild in baselines.items():
                expected, seconds = timed(lambda: rebuild(store))  # noqa: B023
                np.testing.assert_array_equal(totals, expected)
                numpy_ns[name] = seconds / updates * 1e9
        for threads, ns in cpu_ns.items():
            params = {"cohorts": cohorts, "markets": len(store.cohorts.used), "threads": threads}
            for name, baseline_ns in numpy_ns.items():
                against = {"baseline": f"{name}: {baseline_ns:.1f} ns", "ratio": baseline_ns / ns}
                results.append(row_of("full rebuild", params, ns, "ns/update", **against))


def tick_updates(store: Store, rng: np.random.Generator) -> Updates:
    """``DELTAS`` openings in half of the markets; the price moves by 5 bp; one market in ten reports open interest."""
    cohorts = store.cohorts
    markets = np.sort(rng.choice(len(cohorts.used), len(cohorts.used) // 2, replace=False)).astype(np.int32)
    first_open = np.linspace(0, DELTAS, len(markets) + 1).astype(np.int64)
    lots = rng.integers(1, 1000, DELTAS).astype(np.uint32)
    live = np.array([cohorts.lots[0, cohorts.start[m] : cohorts.start[m + 1]].sum(dtype=np.uint64) for m in markets])
    interest = np.where(rng.random(len(markets)) < 0.1, live + np.uint64(1 << 20), NOT_OBSERVED).astype(np.uint32)
    price = np.full(len(markets), PRICE_NOW, np.uint32)
    step = np.uint32(PRICE_NOW // 4000)
    entry = rng.integers(PRICE_NOW - step, PRICE_NOW + step, DELTAS).astype(np.uint32)
    opened_at = np.full(len(markets), store.fresh.now, np.uint32)
    return Updates(markets, price - step, price + step, price, interest, opened_at, first_open, entry, lots)


def settled(store: Store) -> Store:
    """The store after one sweep at the current price: tiers that are behind it are dead."""
    markets = len(store.cohorts.used)
    price = np.full(markets, PRICE_NOW, np.uint32)
    nothing = np.zeros(markets, np.uint32)
    rows = np.arange(markets + 1, dtype=np.int64)
    unknown = np.full(markets, NOT_OBSERVED, np.uint32)
    step = Updates(rows[:-1].astype(np.int32), price, price, price, unknown, nothing, rows, price, nothing)
    CpuBackend(1).apply_updates(store.cohorts, store.rules, step)
    return store


def bench_tick(results: list[dict[str, Any]]) -> None:
    """An incremental tick beside the full rebuild of the same store."""
    store = settled(build_store(1_000_000))
    updates = tick_updates(store, np.random.default_rng(11))
    rows, before = every_row(store)
    after = before.copy()
    pristine = Cohorts(*(field.copy() for field in store.cohorts))
    rebuilt = 0
    for threads in (1, 2):
        backend = CpuBackend(threads)
        full = median_s(lambda: backend.standing_totals(*store, rows, before))  # noqa: B023

        def restore() -> None:
            for field, kept in zip(store.cohorts, pristine, strict=True):
                field[:] = kept
            after[:] = before

        def tick() -> None:
            nonlocal rebuilt
            outcome = backend.apply_updates(store.cohorts, store.rules, updates)  # noqa: B023
            k, side = np.nonzero(outcome.rebuild)
            rebuilt = len(k)
            backend.add_cohorts(*store, updates.market, outcome.first_new, after)  # noqa: B023
            backend.standing_totals(*store, (2 * updates.market[k] + side).astype(np.int32), after)  # noqa: B023

        seconds = median_s(tick, restore)
        backend.standing_totals(*store, rows, expected := np.empty_like(after))
        np.testing.assert_array_equal(after, expected)
        restore()
        params = {"cohorts": 1_000_000, "deltas": DELTAS, "rows rebuilt": f"{rebuilt}/{len(rows)}", "threads": threads}
        against = {"baseline": f"full rebuild: {full * 1e3:.2f} ms", "ratio": full / seconds}
        results.append(row_of("incremental tick", params, seconds * 1e3, "ms", **against))


def bench_compaction(results: list[dict[str, Any]]) -> None:
    """Every market of a store, cohorts a minute apart, into the ladder of minutes, quarter hours and days."""
    store = settled(build_store(100_000))
    cohorts = store.cohorts
    cohorts.opened_at[:] *= 60
    now = int(cohorts.opened_at[-1])
    ladder = np.array([[3_600, 300], [86_400, 3_600], [604_800, 86_400]], np.uint32)
    pristine = Cohorts(*(field.copy() for field in cohorts))
    backend = CpuBackend(1)

    def restore() -> None:
        for field, kept in zip(cohorts, pristine, strict=True):
            field[:] = kept

    def compact() -> None:
        for market in range(len(cohorts.used)):
            backend.compact(cohorts, market, now, ladder, 2)

    seconds = median_s(compact, restore)
    np.testing.assert_array_equal(cohorts.lots.sum(1, dtype=np.uint64), pristine.lots.sum(1, dtype=np.uint64))
    before, remain = int(pristine.used.sum()), int(cohorts.used.sum())
    params = {"cohorts": before, "remain": remain, "markets": len(cohorts.used)}
    results.append(row_of("compaction", params, seconds / before * 1e9, "ns/cohort"))


def bench_curve(results: list[dict[str, Any]]) -> None:
    """The curve of every shock of one side beside one chain per shock."""
    rng = np.random.default_rng(5)
    cells = BINS + 2
    notional = rng.integers(0, 1_000_000, cells).astype(np.uint64) * (rng.random(cells) < 0.3)
    depth = rng.integers(0, 400_000, cells).astype(np.uint64)
    backend = CpuBackend(1)
    mark = cells // 2
    terminal, fired = backend.shock_curve(notional, depth, mark, SHORT)

    def chains() -> None:
        for shock in range(mark + 1, cells):
            chain = backend.cascade_chain(notional, depth, mark, shock)
            assert (chain.terminal, chain.notional.sum()) == (terminal[shock], fired[shock])

    against = median_s(chains)
    seconds = median_s(lambda: backend.shock_curve(notional, depth, mark, SHORT))
    compared = {"baseline": f"a chain per shock: {against * 1e6:.0f} us", "ratio": against / seconds}
    results.append(row_of("shock curve", {"shocks": cells - mark - 1}, seconds * 1e6, "us", **compared))


def run(results: list[dict[str, Any]]) -> None:
    """Append a row ``{name, params, median, unit, baseline, ratio}`` per measurement to ``results``."""
    for bench in (bench_rebuild, bench_tick, bench_compaction, bench_curve):
        bench(results)


if __name__ == "__main__":
    measured: list[dict[str, Any]] = []
    run(measured)
    for line in measured:
        against = f"  {line['ratio']:.1f}x against {line['baseline']}" if line["baseline"] else ""
        print(f"{line['name']:<18}{line['median']:>10.3f} {line['unit']:<10}{line['params']}{against}")
