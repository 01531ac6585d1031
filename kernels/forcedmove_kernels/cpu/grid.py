"""Cohorts into cells. A row (market, side) of cells stays in the first-level cache while its cohorts stream by.

The lots of a row stay below 2**32, and weights by age are at most one: u32 cells cannot overflow, nor can the two
halves of u64 cells that hold lots and weighted lots, so that rows with both cost one addition per tier like rows with
one.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I32, I64, U8, U32, U64, Cohorts, Freshness, Rules, Standing, Window
from forcedmove_kernels.cpu.items import (
    NO_TRIGGER,
    first_met,
    levels_at,
    phase_at,
    trigger_at,
    weigh_row,
    zero_cell,
)
from forcedmove_kernels.cpu.vectors import LANES, fill_cells, fill_shares, scatter
from forcedmove_kernels.fixed_point import PHASES

#: cohorts whose cells are known before they are added to: what was just written as a vector is not read back yet
DELAY = 4
RING = 8

HALF_SHIFT = np.uint64(32)
LOW_HALF = np.uint64(0xFFFF_FFFF)


@njit(nogil=True, cache=True)
def padded_tables(rules: Rules, market: int, side: int) -> tuple[U32, U32]:
    """Tables of one market and side of at most LANES tiers, padded to whole vectors; padding tiers get no lots.

    Multipliers are u32 ``[PHASES, LANES]``.
    """
    tiers = rules.multiplier.shape[3]
    multiplier, weight = np.zeros((PHASES, LANES), np.uint32), np.zeros((tiers + 1, 2 * LANES), np.uint32)
    for phase in range(PHASES):
        for t in range(tiers):
            multiplier[phase, t] = rules.multiplier[market, side, phase, t]
    for live in range(1, tiers + 1):
        for t in range(2 * LANES):
            weight[live, t] = rules.weight[market, side, live, min(t, tiers)]
    return multiplier, weight


@njit(nogil=True, cache=True, forceinline=True)
def add_row(
    cells: U32 | U64,
    cell: U32,
    share: U32 | U64,
    entry: U32,
    live_tiers: U8,
    lots: U32,
    weighed: U32,
    rules: Rules,
    row: int,
    first_bin: np.uint32,
    top: np.int32,
) -> None:
    """Add the cohorts of a row to ``cells``: their ``lots`` (u32), or ``lots | weighed << 32`` (u64).

    ``row`` is ``2 * market + side``; ``cell`` u32 and ``share`` (the type of the cells) are room for RING vectors.
    Every cohort adds as many tiers as the row's tallest, its dead ones no lots: a trip count that changes from cohort
    to cohort costs more in mispredicted branches than it saves.
    """
    tiers = rules.multiplier.shape[3]
    stride = tiers + 1
    weights = row * stride * stride
    tallest = 0
    for i in range(len(live_tiers)):
        tallest = max(tallest, int(live_tiers[i]))
    zero = zero_cell(first_bin)
    if tiers > LANES:  # more tiers than are usual: vector by vector
        for i in range(len(entry)):
            live, factors = int(live_tiers[i]), levels_at(row, tiers, entry[i])
            for tier in range(0, live, LANES):
                count = min(live - tier, LANES)
                fill_cells(cell, 0, rules.multiplier, factors + tier, count, entry[i], zero, top)
                fill_shares(share, 0, rules.weight, weights + live * stride + tier, count, lots[i], weighed[i])
                scatter(cells, 0, cell, share, 0, count)
        return
    multiplier, weight = padded_tables(rules, row // 2, row % 2)
    head = 0
    for i in range(len(entry)):
        if lots[i] == 0:
            continue
        at, place = (head & (RING - 1)) * LANES, int(live_tiers[i]) * weight.shape[1]
        fill_cells(cell, at, multiplier, phase_at(entry[i]) * LANES, LANES, entry[i], zero, top)
        fill_shares(share, at, weight, place, LANES, lots[i], weighed[i])
        if head >= DELAY:
            scatter(cells, 0, cell, share, ((head - DELAY) & (RING - 1)) * LANES, tallest)
        head += 1
    for late in range(max(head - DELAY, 0), head):
        scatter(cells, 0, cell, share, (late & (RING - 1)) * LANES, tallest)


@njit(nogil=True, cache=True)
def most_cohorts(order: I64, rows: I32, used: I32) -> int:
    """Cohorts of the longest of some rows."""
    most = np.int64(0)
    for item in order:
        most = max(most, np.int64(used[rows[item] // 2]))
    return int(most)


@njit(nogil=True, cache=True)
def total_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, rows: I32, totals: U64
) -> None:
    """Rebuild ``rows[order]`` of ``totals``; ``aged`` False skips a freshness table of ones."""
    cells = np.empty(window.bins + 2, np.uint32)
    cell, share = np.empty(RING * LANES, np.uint32), np.empty(RING * LANES, np.uint32)
    weighed = np.empty(most_cohorts(order, rows, cohorts.used) if aged else 0, np.uint32)
    top = np.int32(window.bins + 1)
    for item in order:
        market, side = rows[item] // 2, rows[item] % 2
        first = cohorts.start[market]
        end = first + cohorts.used[market]
        entry, live, lots = cohorts.entry[first:end], cohorts.live_tiers[side, first:end], cohorts.lots[side, first:end]
        if aged:
            weigh_row(lots, cohorts.opened_at[first:end], fresh, weighed)
            lots = weighed[: end - first]
        cells[:] = 0
        first_bin = window.first_bin[market]
        add_row(cells, cell, share, entry, live, lots, lots, rules, int(rows[item]), first_bin, top)
        totals[market, side] = cells


@njit(nogil=True, cache=True)
def rebuild_rows(
    order: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    standing: Standing,
    rows: I32,
) -> None:
    """Rebuild ``rows[order]`` of ``standing``; ``aged`` False means that weighted totals are the totals."""
    cells, both = np.empty(window.bins + 2, np.uint32), np.empty(window.bins + 2, np.uint64)
    room = RING * LANES
    cell, share, pair = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint64)
    weighed = np.empty(most_cohorts(order, rows, cohorts.used) if aged else 0, np.uint32)
    top = np.int32(window.bins + 1)
    for item in order:
        market, side = rows[item] // 2, rows[item] % 2
        first = cohorts.start[market]
        end = first + cohorts.used[market]
        entry, live, lots = cohorts.entry[first:end], cohorts.live_tiers[side, first:end], cohorts.lots[side, first:end]
        follow_row(
            entry, live, lots, rules.multiplier[market, side], side, market, standing, standing.trigger[side, first:end]
        )
        totals, weighted = standing.totals[market, side], standing.fresh[market, side]
        first_bin = window.first_bin[market]
        if aged:
            weigh_row(lots, cohorts.opened_at[first:end], fresh, weighed)
            both[:] = 0
            add_row(both, cell, pair, entry, live, lots, weighed, rules, int(rows[item]), first_bin, top)
            for c in range(len(both)):
                totals[c], weighted[c] = both[c] & LOW_HALF, both[c] >> HALF_SHIFT
        else:
            cells[:] = 0
            add_row(cells, cell, share, entry, live, lots, lots, rules, int(rows[item]), first_bin, top)
            for c in range(len(cells)):
                totals[c], weighted[c] = cells[c], cells[c]
        standing.stale[market, side] = 0


@njit(nogil=True, cache=True, forceinline=True)
def follow_row(
    entry: U32,
    live_tiers: U8,
    lots: U32,
    multiplier: U32,
    side: int,
    market: int,
    standing: Standing,
    trigger: U32,
) -> None:
    """Rebuild live lots, triggers and the frontier of one row; ``multiplier`` u32 ``[P, T]`` is the row's."""
    live = np.uint64(0)
    frontier = NO_TRIGGER[side]
    for i in range(len(entry)):
        live += np.uint64(lots[i])
        met = NO_TRIGGER[side]
        if live_tiers[i] > 0:
            met = trigger_at(entry[i], multiplier[phase_at(entry[i]), live_tiers[i] - 1])
        trigger[i] = met
        frontier = first_met(frontier, met, side)
    standing.live[market, side] = live
    standing.frontier[market, side] = frontier


@njit(nogil=True, cache=True)
def grid_rows(
    order: I64, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, markets: I32, grid: U64
) -> None:
    """Fill rows ``2 * k + side`` in ``order`` of the zeroed leverage grid u64 ``[K, 2, T, C]``."""
    stride = np.uint64(window.bins + 2)
    tiers, top = rules.multiplier.shape[3], np.int32(window.bins + 1)
    cell, share = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    weighed = np.empty(0, np.uint32)
    for item in order:
        market, side = int(markets[item // 2]), item % 2
        first = cohorts.start[market]
        end = first + cohorts.used[market]
        cells = grid[item // 2, side].reshape(-1)
        entry, live, lots = cohorts.entry[first:end], cohorts.live_tiers[side, first:end], cohorts.lots[side, first:end]
        if aged:
            weighed = np.empty(end - first, np.uint32)
            weigh_row(lots, cohorts.opened_at[first:end], fresh, weighed)
            lots = weighed
        zero = zero_cell(window.first_bin[market])
        weights = (2 * market + side) * (tiers + 1) * (tiers + 1)
        for i in range(len(entry)):
            factors = levels_at(2 * market + side, tiers, entry[i])
            row = weights + int(live[i]) * (tiers + 1)
            for begin in range(0, int(live[i]), LANES):
                count = min(int(live[i]) - begin, LANES)
                fill_cells(cell, 0, rules.multiplier, factors + begin, count, entry[i], zero, top)
                fill_shares(share, 0, rules.weight, row + begin, count, lots[i], lots[i])
                for tier in range(count):
                    cells[np.uint64(begin + tier) * stride + np.uint64(cell[tier])] += share[tier]


@njit(nogil=True, cache=True, parallel=True)
def total_rows_parallel(
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
    """Run :func:`total_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        total_rows(mine, cohorts, rules, window, fresh, aged, rows, totals)


@njit(nogil=True, cache=True, parallel=True)
def rebuild_rows_parallel(
    order: I64,
    part: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    standing: Standing,
    rows: I32,
) -> None:
    """Run :func:`rebuild_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        rebuild_rows(mine, cohorts, rules, window, fresh, aged, standing, rows)


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
