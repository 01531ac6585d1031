"""Cohorts into cells. A row (market, side) of cells stays in the first-level cache while its cohorts stream by."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I32, I64, U64, Cohorts, Freshness, Rules, Window
from forcedmove_kernels.cpu.items import fresh_lots, padded_tables, spread

#: no liquidation price reaches this bin; windows that begin higher are all the same, and it fits i32
BEYOND_AXIS = np.uint32(1 << 27)


@njit(nogil=True, cache=True)
def rebuild_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, rows: I32, totals: U64
) -> None:
    """Rebuild ``rows[order]`` of ``totals``; ``aged`` False skips a freshness table of ones."""
    # The live lots of a row stay below 2**32, so u32 cells cannot overflow and halve the cache traffic.
    acc = np.zeros(window.bins + 2, np.uint32)
    top = np.int32(window.bins + 1)
    for item in order:
        market, side = rows[item] // 2, rows[item] % 2
        multiplier, weight = padded_tables(rules.multiplier[market, side], rules.weight[market, side])
        cell, share = np.empty(len(multiplier), np.int32), np.empty(len(multiplier), np.uint32)
        first_bin = np.int32(min(window.first_bin[market], BEYOND_AXIS))
        first = cohorts.start[market]
        acc[:] = 0
        for slot in range(first, first + cohorts.used[market]):
            lots = cohorts.lots[side, slot]
            if aged:
                lots = fresh_lots(lots, cohorts.opened_at[slot], fresh)
            if lots == 0:
                continue
            live = cohorts.live_tiers[side, slot]
            spread(lots, cohorts.entry[slot], multiplier, weight[live], first_bin, top, cell, share)
            for tier in range(live):
                acc[np.uint32(cell[tier])] += share[tier]
        totals[market, side] = acc


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
    top = np.int32(window.bins + 1)
    for item in order:
        market = market_of[item]
        first_bin = np.int32(min(window.first_bin[market], BEYOND_AXIS))
        end = cohorts.start[market] + cohorts.used[market]
        if first_new[item] >= end:
            continue
        for side in range(2):
            multiplier, weight = padded_tables(rules.multiplier[market, side], rules.weight[market, side])
            cell, share = np.empty(len(multiplier), np.int32), np.empty(len(multiplier), np.uint32)
            for slot in range(first_new[item], end):
                lots = cohorts.lots[side, slot]
                if aged:
                    lots = fresh_lots(lots, cohorts.opened_at[slot], fresh)
                live = cohorts.live_tiers[side, slot]
                spread(lots, cohorts.entry[slot], multiplier, weight[live], first_bin, top, cell, share)
                for tier in range(live):
                    totals[market, side, np.uint32(cell[tier])] += np.uint64(share[tier])


@njit(nogil=True, cache=True)
def grid_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, markets: I32, grid: U64
) -> None:
    """Fill rows ``2 * k + side`` in ``order`` of the zeroed leverage grid u64 ``[K, 2, T, C]``."""
    top = np.int32(window.bins + 1)
    for item in order:
        market, side = markets[item // 2], item % 2
        multiplier, weight = padded_tables(rules.multiplier[market, side], rules.weight[market, side])
        cell, share = np.empty(len(multiplier), np.int32), np.empty(len(multiplier), np.uint32)
        first_bin = np.int32(min(window.first_bin[market], BEYOND_AXIS))
        first = cohorts.start[market]
        for slot in range(first, first + cohorts.used[market]):
            lots = cohorts.lots[side, slot]
            if aged:
                lots = fresh_lots(lots, cohorts.opened_at[slot], fresh)
            live = cohorts.live_tiers[side, slot]
            spread(lots, cohorts.entry[slot], multiplier, weight[live], first_bin, top, cell, share)
            for tier in range(live):
                grid[item // 2, side, tier, np.uint32(cell[tier])] += np.uint64(share[tier])


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
