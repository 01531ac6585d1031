"""Speed of the CPU kernels, with answers asserted.

An update is one live tier of one cohort on one side: a million cohorts with 13 live tiers on both sides are 26 million
updates. The NumPy baseline does the same rebuild market by market with ``np.bincount`` (which keeps its temporaries in
cache and is faster than one pass over the whole store); it runs once per size, and not beyond a million cohorts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from forcedmove_kernels.arrays import Cohorts, Freshness, Rules, U64, Updates, Window, check_rules, check_updates
from forcedmove_kernels.cpu import CpuBackend
from forcedmove_kernels.fixed_point import FRESHNESS_ONE, MULTIPLIER_BITS, PRICE_BITS, WEIGHT_BITS
from forcedmove_kernels.fixed_point import cumulative_weights, multipliers
from numpy.typing import NDArray

LEVERAGE = np.array([2, 3, 5, 8, 10, 15, 20, 25, 33, 50, 75, 100, 125], np.float64)
TIERS = len(LEVERAGE)
BINS = 2048
CENTRE_BIN = 2000  # bins of 5 bp
BASELINE_COHORTS = 1_000_000
RUNS = 5


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
    start = np.concatenate([[0], np.cumsum(used + 64)])
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
    cohorts, rules, window, _ = store
    M=len(cohorts.used)
    idx=np.concatenate([np.arange(s,s+u) for s,u in zip(cohorts.start,cohorts.used)])
    mk=np.repeat(np.arange(M),cohorts.used)
    totals = np.zeros(M* 2* (BINS + 2), np.uint64)
    e=cohorts.entry[idx].astype(np.uint64)
    for side in (0,1):
        q=cohorts.lots[side,idx].astype(np.uint64); lv=cohorts.live_tiers[side,idx]
        for t in range(TIERS):
            cell=((e*rules.multiplier[mk,side,t])>>38).astype(np.int64)-window.first_bin[mk].astype(np.int64)+1
            cell=np.clip(cell,0,BINS+1)+(2*mk+side)*(BINS+2)
            w=rules.weight[mk,side,lv]
            sh=(q*rules.weight[mk,side,lv,t+1]>>16)-(q*rules.weight[mk,side,lv,t]>>16)
            totals+=np.bincount(cell,sh,len(totals)).astype(np.uint64)
    return totals.reshape(M,2,-1)


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
