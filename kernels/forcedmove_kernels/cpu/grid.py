"""Cohorts into cells. A row (market, side) of cells stays in the first-level cache while its cohorts stream by."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I32, I64, U32, U64, Cohorts, Freshness, Rules, Window
from forcedmove_kernels.cpu.items import CELL_SHIFT, fresh_lots, padded_tables, spread


@njit(nogil=True, cache=True)
def add_slots(
    cells: U32 | U64,
    stride: int,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    market: int,
    side: int,
    first: int,
) -> None:
    """Add one market's cohorts from slot ``first`` on to ``cells`` (u32 or u64), tier ``l`` from ``l * stride`` on.

    ``aged`` False skips a freshness table of ones.
    """
    multiplier, weight = padded_tables(rules.multiplier[market, side], rules.weight[market, side])
    packed = np.empty(len(multiplier), np.uint64)
    cell_zero, top = np.int64(window.first_bin[market]) - np.int64(1), np.int64(window.bins + 1)
    end = cohorts.start[market] + cohorts.used[market]
    entry, live_tiers = cohorts.entry[first:end], cohorts.live_tiers[side, first:end]
    lots = cohorts.lots[side, first:end]
    if aged:
        lots = fresh_lots(lots, cohorts.opened_at[first:end], fresh)
    for i in range(len(entry)):
        if lots[i] == 0:
            continue
        live = live_tiers[i]
        spread(lots[i], entry[i], multiplier, weight[live], cell_zero, top, packed)
        tier_begin = np.uint64(0)
        for tier in range(live):
            cells[tier_begin + (packed[tier] >> CELL_SHIFT)] += np.uint32(packed[tier])
            tier_begin += np.uint64(stride)


@njit(nogil=True, cache=True)
def rebuild_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, rows: I32, totals: U64
) -> None:
    """Rebuild ``rows[order]`` of ``totals``."""
    # The live lots of a row stay below 2**32, so u32 cells cannot overflow and halve the cache traffic.
    cells = np.empty(window.bins + 2, np.uint32)
    for item in order:
        market, side = rows[item] // 2, rows[item] % 2
        cells[:] = 0
        add_slots(cells, 0, cohorts, rules, window, fresh, aged, market, side, cohorts.start[market])
        totals[market, side] = cells


@njit(nogil=True, cache=True)
def append_rows(
    order: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    market_of: I32,
    first_new: I64,
    totals: U64,
) -> None:
    """Add the cohorts from ``first_new`` on to both rows of ``market_of[order]``."""
    for item in order:
        market, first = market_of[item], first_new[item]
        if first == cohorts.start[market] + cohorts.used[market]:
            continue
        for side in range(2):
            add_slots(totals[market, side], 0, cohorts, rules, window, fresh, aged, market, side, first)


@njit(nogil=True, cache=True)
def grid_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, markets: I32, grid: U64
) -> None:
    """Fill rows ``2 * k + side`` in ``order`` of the zeroed leverage grid u64 ``[K, 2, T, C]``."""
    stride = window.bins + 2
    for item in order:
        market, side = markets[item // 2], item % 2
        cells = grid[item // 2, side].reshape(-1)
        add_slots(cells, stride, cohorts, rules, window, fresh, aged, market, side, cohorts.start[market])


@njit(nogil=True, cache=True, parallel=True)
def rebuild_rows_parallel(
    order: I64,
    part: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    rows: I32,
    totals: U64,
) -> None:
    """Run :func:`rebuild_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        rebuild_rows(mine, cohorts, rules, window, fresh, aged, rows, totals)


@njit(nogil=True, cache=True, parallel=True)
def append_rows_parallel(
    order: I64,
    part: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    market_of: I32,
    first_new: I64,
    totals: U64,
) -> None:
    """Run :func:`append_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        append_rows(mine, cohorts, rules, window, fresh, aged, market_of, first_new, totals)


@njit(nogil=True, cache=True, parallel=True)
def grid_rows_parallel(
    order: I64,
    part: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    markets: I32,
    grid: U64,
) -> None:
    """Run :func:`grid_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        grid_rows(mine, cohorts, rules, window, fresh, aged, markets, grid)
