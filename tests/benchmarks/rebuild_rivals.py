"""The same rebuild in NumPy, and with a histogram library: what our figures are compared with.

Three of them differ in one call, the histogram. They go side by side and tier by tier over the
whole store, which is what one writes first. The fourth goes market by market, which keeps its temporaries in cache.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import U64
from forcedmove_kernels.fixed_point import MULTIPLIER_BITS, PRICE_BITS, WEIGHT_BITS, phase_of
from tests.benchmarks.stores import CELLS, FIRST_BIN, TIERS, Store

#: sums of ``shares`` u64[N] by flat cell i64[N]: as many as ``size``, in f64 (exact below 2**53) or u64
Histogram = Callable[[NDArray[np.int64], U64, int], NDArray[Any]]


def fast_histogram(cell: NDArray[np.int64], shares: U64, size: int) -> NDArray[Any]:
    """fast-histogram with a bin per cell."""
    from fast_histogram import histogram1d

    sums: NDArray[np.float64] = histogram1d(cell, size, (0, size), weights=shares)
    return sums


def add_at(cell: NDArray[np.int64], shares: U64, size: int) -> NDArray[Any]:
    """``np.add.at`` into zeros."""
    sums = np.zeros(size, np.uint64)
    np.add.at(sums, cell, shares)
    return sums


def whole_store(store: Store, histogram: Histogram) -> U64:
    """Standing totals of every row, one pass over the whole store per side and tier."""
    cohorts, rules, window, _ = store
    markets = len(cohorts.used)
    market = np.repeat(np.arange(markets), cohorts.used)
    first_bin, phase = window.first_bin.astype(np.int64)[market], phase_of(cohorts.entry)
    entry = cohorts.entry.astype(np.uint64)
    totals = np.zeros((markets, 2, CELLS), np.uint64)
    for side in (0, 1):
        lots, live = cohorts.lots[side].astype(np.uint64), cohorts.live_tiers[side]
        below = np.zeros(len(lots), np.uint64)
        for tier in range(TIERS):
            through = lots * rules.weight[market, side, live, tier + 1] >> WEIGHT_BITS
            price = entry * rules.multiplier[market, side, phase, tier] >> MULTIPLIER_BITS
            cell = np.clip((price >> PRICE_BITS).astype(np.int64) - first_bin + 1, 0, CELLS - 1)
            flat = histogram(market * CELLS + cell, through - below, markets * CELLS)
            totals[:, side] += flat.reshape(markets, CELLS).astype(np.uint64)
            below = through
    return totals


def by_market(store: Store) -> U64:
    """Standing totals of every row, one ``np.bincount`` per market and side."""
    cohorts, rules, _, _ = store
    totals = np.zeros((len(cohorts.used), 2, CELLS), np.uint64)
    for m in range(len(cohorts.used)):
        slots = slice(cohorts.start[m], cohorts.start[m + 1])
        entry, phase = cohorts.entry[slots].astype(np.uint64)[:, None], phase_of(cohorts.entry[slots])
        for side in (0, 1):
            weight = rules.weight[m, side, cohorts.live_tiers[side, slots]]
            share = np.diff(cohorts.lots[side, slots].astype(np.uint64)[:, None] * weight >> WEIGHT_BITS)
            price = entry * rules.multiplier[m, side, phase] >> MULTIPLIER_BITS
            cell = np.clip((price >> PRICE_BITS).astype(np.int64) - FIRST_BIN + 1, 0, CELLS - 1)
            totals[m, side] = np.bincount(cell.ravel(), share.ravel(), CELLS)
    return totals


BASELINE = "numpy bincount"


def rivals(store: Store) -> dict[str, Callable[[], U64]]:
    """Every rival that is installed, by name, the baseline first."""
    found: dict[str, Callable[[], U64]] = {
        BASELINE: lambda: whole_store(store, np.bincount),
        "numpy add.at": lambda: whole_store(store, add_at),
    }
    if importlib.util.find_spec("fast_histogram") is not None:
        found["fast-histogram"] = lambda: whole_store(store, fast_histogram)
    return found | {"numpy bincount by market": lambda: by_market(store)}
