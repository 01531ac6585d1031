"""One lifecycle step per market: the sweep kills, the open interest scales, the openings are appended.

On rows that are not stale a sweep looks at the frontier, then at the triggers; what it changes it takes out of the
standing totals and puts back in. Such a step never reads a cohort that it does not change.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import (
    I64,
    NOT_OBSERVED,
    U32,
    U64,
    Cohorts,
    Freshness,
    Outcome,
    Rules,
    Standing,
    Updates,
    Window,
)
from forcedmove_kernels.cpu.intake import opened_lots, plan
from forcedmove_kernels.cpu.items import (
    NO_TRIGGER,
    first_met,
    fresh_lots,
    levels_at,
    liquidation_price,
    phase_at,
    trigger_at,
    weight_of,
    weight_span,
    weighted,
    zero_cell,
)
from forcedmove_kernels.cpu.reach import (
    LINE_WORDS,
    are_few,
    expect_cells,
    expect_cohorts,
    expect_row,
    expect_tables,
    find_frontier,
    find_reached,
    is_reached,
)
from forcedmove_kernels.cpu.vectors import (
    LANES,
    fill_cells,
    fill_changes,
    fill_shares,
    lanes_set,
    lowest_bit,
    prefetch,
    scatter,
)
from forcedmove_kernels.fixed_point import LONG

HALF_SHIFT = np.uint64(32)
LOW_HALF = np.uint64(0xFFFF_FFFF)


@njit(nogil=True, cache=True, forceinline=True)
def is_crossed(entry: np.uint32, multiplier: np.uint32, side: int, low: np.uint32, high: np.uint32) -> bool:
    """Whether a tier is liquidated when the trigger price covers ``low..high``; the highest leverage dies first."""
    price = liquidation_price(entry, multiplier)
    return bool(price >= np.uint64(low)) if side == LONG else bool(price <= np.uint64(high))


@njit(nogil=True, cache=True)
def sweep(
    cohorts: Cohorts, rules: Rules, market: int, side: int, low: np.uint32, high: np.uint32
) -> tuple[np.uint64, np.uint64]:
    """Kill the tiers of a stale row that ``low..high`` crosses. Returns lots before and lots killed."""
    multiplier, weight = rules.multiplier[market, side], rules.weight[market, side]
    first = cohorts.start[market]
    before, killed = np.uint64(0), np.uint64(0)
    for slot in range(first, first + cohorts.used[market]):
        old, lots = np.int64(cohorts.live_tiers[side, slot]), cohorts.lots[side, slot]
        before += np.uint64(lots)
        entry = cohorts.entry[slot]
        live, phase = old, phase_at(entry)
        while live > 0 and is_crossed(entry, multiplier[phase, live - 1], side, low, high):
            live -= 1
        if live != old:
            kept = np.uint32(weighted(np.uint64(lots), np.uint64(weight[old, live])))
            killed += np.uint64(lots - kept)
            cohorts.live_tiers[side, slot] = live
            cohorts.lots[side, slot] = kept
    return before, killed


@njit(nogil=True, cache=True)
def scale(cohorts: Cohorts, market: int, side: int, live: np.uint64, target: np.uint64) -> None:
    """Scale live lots from ``live`` (above zero) to ``target`` by prefix rounding."""
    first = cohorts.start[market]
    prefix, placed = np.uint64(0), np.uint64(0)
    for slot in range(first, first + cohorts.used[market]):
        lots = cohorts.lots[side, slot]
        if lots == 0:
            continue
        prefix += np.uint64(lots)
        scaled = prefix * target // live
        cohorts.lots[side, slot] = np.uint32(scaled - placed)
        placed = scaled


@njit(nogil=True, cache=True, forceinline=True)
def placed_through(prefix: np.uint64, opened: np.uint64, total: np.uint64, is_last: bool) -> np.uint64:
    """Lots of a side that are placed once ``prefix`` of ``opened`` are; without any the last row takes all."""
    if total == opened:
        return prefix
    if opened > 0:
        return prefix * total // opened
    return total if is_last else np.uint64(0)


class Scratch(NamedTuple):
    """What a thread works with."""

    cell: U32  # [LANES] of a vector of tiers
    change: U64  # [LANES] what is added to those cells: lots | weighted lots << 32
    changes: U64  # [2, whole chunks of cells] of a market's rows: they stay in the cache, the totals do not
    reached: U64  # [2, 2, most cohorts of a market] slots, of the market at hand and the next one, by side
    found: U64  # [2, 2] how many
    placed: U32  # [2, most openings of a market] lots


@njit(nogil=True, cache=True)
def make_scratch(order: I64, cohorts: Cohorts, rules: Rules, window: Window, updates: Updates) -> Scratch:
    """Allocate what the steps ``order`` of ``updates`` work with."""
    most, openings = np.int64(0), np.int64(0)
    for k in order:
        most = max(most, np.int64(cohorts.used[updates.market[k]]))
        openings = max(openings, updates.first_open[k + 1] - updates.first_open[k])
    return Scratch(
        np.empty(LANES, np.uint32),
        np.empty(LANES, np.uint64),
        np.zeros((2, (window.bins + 1 + LANES) // LANES * LANES), np.uint64),
        np.empty((2, 2, most), np.uint64),
        np.zeros((2, 2), np.uint64),
        np.empty((2, openings), np.uint32),
    )


@njit(nogil=True, cache=True, forceinline=True)
def lanes_left(live: np.int64, tier: int) -> int:
    """Live tiers of the vector that begins at ``tier``."""
    return LANES if live - tier > LANES else int(live) - tier


@njit(nogil=True, cache=True, forceinline=True)
def add_changes(changes: U64, side: int, totals: U64, weighted_totals: U64, row: np.uint64, cells: np.uint64) -> None:
    """Add a row of changes to the cells of both kinds of totals, and clear it."""
    begin = np.uint64(side) * np.uint64(changes.shape[1])
    for chunk in range(np.uint64(0), cells, np.uint64(LANES)):
        bits = lanes_set(changes, begin + chunk)
        while bits:
            c = chunk + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            word = (totals[row + c] | weighted_totals[row + c] << HALF_SHIFT) + changes[side, c]
            totals[row + c], weighted_totals[row + c] = word & LOW_HALF, word >> HALF_SHIFT
            changes[side, c] = 0


@njit(nogil=True, cache=True)
def step_markets(
    order: I64,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    standing: Standing,
    updates: Updates,
    outcome: Outcome,
) -> None:
    """Run the steps ``order`` of ``updates`` and fill their rows of the zeroed ``outcome``.

    What is inside the loop is inlined: a call counts references to arrays, which is atomic, and threads that step
    markets of one store would wait for each other on the counters. A step touches little of much memory, so that it
    asks for what it will need before it needs it.
    """
    entries, opened_at, lots_of, live_of = cohorts.entry, cohorts.opened_at, cohorts.lots, cohorts.live_tiers
    totals, weighted_totals = standing.totals.reshape(-1), standing.fresh.reshape(-1)
    multipliers, weights = rules.multiplier, rules.weight
    cell, change, changes, reached, found, placed = make_scratch(order, cohorts, rules, window, updates)
    tiers, room = multipliers.shape[3], changes.shape[1]
    stride = tiers + 1
    since, span, by_age = np.int64(0), np.uint64(0), np.uint32(0)  # when cohorts open that share a weight by age
    cells, top = np.uint64(window.bins + 2), np.int32(window.bins + 1)
    given = np.empty(2, np.uint64)
    for step in range(len(order) + 1):
        if step < len(order):  # one market ahead: what the sweep finds, and what the step will need
            k, turn = order[step], step & 1
            market = updates.market[k]
            first, end = np.uint64(cohorts.start[market]), np.uint64(cohorts.start[market] + cohorts.used[market])
            for side in range(2):
                expect_cohorts(cohorts, side, end)
                prefetch(standing.trigger, np.uint64(side) * np.uint64(len(entries)) + end)
                found[turn, side] = 0
                if standing.stale[market, side]:
                    continue
                expect_tables(rules, np.uint64(2 * market + side))
                if is_reached(standing.frontier[market, side], side, updates.low[k], updates.high[k]):
                    found[turn, side] = find_reached(
                        standing.trigger, first, end, side, updates.low[k], updates.high[k], reached, turn
                    )
                    if are_few(found[turn, side], end - first):
                        for i in range(found[turn, side]):
                            expect_cohorts(cohorts, side, reached[turn, side, i])
                    else:
                        for slot in range(first, end, np.uint64(LINE_WORDS)):
                            expect_cohorts(cohorts, side, np.uint64(slot))
                        expect_row(totals, weighted_totals, np.uint64(2 * market + side) * cells, cells)
        if step == 0:
            continue
        k, turn = order[step - 1], (step - 1) & 1
        market, low, high, price = updates.market[k], updates.low[k], updates.high[k], updates.price[k]
        first, used = np.uint64(cohorts.start[market]), np.uint64(cohorts.used[market])
        end = first + used
        zero = zero_cell(window.first_bin[market])
        opened = opened_lots(updates, k)
        for side in range(2):
            # The sweep.
            killed, live_lots = np.uint64(0), np.uint64(0)
            table = 2 * np.int64(market) + side
            rates, row = table * stride * stride, np.uint64(table) * cells
            if standing.stale[market, side]:
                live_lots, killed = sweep(cohorts, rules, market, side, low, high)
            else:
                live_lots = standing.live[market, side]
                if found[turn, side]:
                    is_clean = np.uint64(4) * found[turn, side] <= used
                    for i in range(found[turn, side]):
                        slot = reached[turn, side, i]
                        entry, lots, old = entries[slot], lots_of[side, slot], np.int64(live_of[side, slot])
                        live, phase = old, phase_at(entry)
                        while live > 0 and is_crossed(
                            entry, multipliers[market, side, phase, live - 1], side, low, high
                        ):
                            live -= 1
                        if live != old:
                            kept = np.uint32(weighted(np.uint64(lots), np.uint64(weights[market, side, old, live])))
                            killed += np.uint64(lots - kept)
                            live_of[side, slot], lots_of[side, slot] = live, kept
                            if is_clean:
                                if np.uint64(np.int64(opened_at[slot]) - since) >= span:
                                    since, span, by_age = weight_span(opened_at[slot], fresh)
                                factors = levels_at(table, tiers, entry)
                                aged, aged_kept = fresh_lots(lots, by_age), fresh_lots(kept, by_age)
                                for t in range(0, old, LANES):
                                    count = lanes_left(old, t)
                                    before, after = rates + old * stride + t, rates + live * stride + t
                                    fill_cells(cell, 0, multipliers, factors + t, count, entry, zero, top)
                                    fill_changes(change, 0, weights, before, after, count, lots, aged, kept, aged_kept)
                                    scatter(changes, side * room, cell, change, 0, count)
                                    if are_few(found[turn, side], used):
                                        expect_cells(totals, weighted_totals, row, cell, count)
                        if is_clean:
                            met = NO_TRIGGER[side]
                            if live > 0:
                                met = trigger_at(entry, multipliers[market, side, phase, live - 1])
                            standing.trigger[side, slot] = met
                    if is_clean:
                        standing.frontier[market, side] = find_frontier(standing.trigger[side, first:end], side)
                    else:
                        standing.stale[market, side] = 1
            live_lots -= killed
            # The open interest.
            given[side] = opened
            if updates.open_interest[k, side] != NOT_OBSERVED:
                target = np.uint64(updates.open_interest[k, side]) - opened
                if live_lots > 0:
                    outcome.closed[k, side] = live_lots - min(live_lots, target)
                    outcome.overkill[k, side] = target - min(live_lots, target)
                    if live_lots != target:
                        scale(cohorts, market, side, live_lots, target)
                        standing.stale[market, side] = 1
                    live_lots = target
                elif target > 0:  # nothing is left to scale up: the openings take the side's open interest
                    outcome.overkill[k, side] = target
                    given[side] = opened + target
            outcome.opened[k, side], outcome.liquidated[k, side] = opened, killed
            outcome.live[k, side] = live_lots + given[side]
            if not standing.stale[market, side]:
                standing.live[market, side] = outcome.live[k, side]
        # The openings.
        begin, openings = updates.first_open[k], updates.first_open[k + 1] - updates.first_open[k]
        for side in range(2):
            prefix, through = np.uint64(0), np.uint64(0)
            for j in range(openings):
                prefix += np.uint64(updates.open_lots[begin + j])
                before_it = through
                through = placed_through(prefix, opened, given[side], j == openings - 1)
                placed[side, j] = np.uint32(through - before_it)
        new_weight = weight_of(updates.opened_at[k], fresh)
        born = np.int64(rules.tiers[market])
        for side in range(2):
            is_clean = standing.stale[market, side] == 0
            frontier, row = standing.frontier[market, side], np.uint64(2 * market + side) * cells
            table = 2 * np.int64(market) + side
            rates = table * stride * stride
            free = end
            for j in range(openings):
                lots = placed[side, j]
                if lots == 0 and placed[1 - side, j] == 0:
                    continue
                entry = updates.open_entry[begin + j]
                live, phase = born, phase_at(entry)
                while live > 1 and is_crossed(entry, multipliers[market, side, phase, live - 1], side, price, price):
                    live -= 1
                entries[free], opened_at[free] = entry, updates.opened_at[k]
                lots_of[side, free], live_of[side, free] = lots, live
                if is_clean:
                    met = trigger_at(entry, multipliers[market, side, phase, live - 1])
                    standing.trigger[side, free] = met
                    frontier = first_met(frontier, met, side)
                    factors = levels_at(table, tiers, entry)
                    aged = fresh_lots(lots, new_weight)
                    for t in range(0, live, LANES):
                        count = lanes_left(live, t)
                        fill_cells(cell, 0, multipliers, factors + t, count, entry, zero, top)
                        fill_shares(change, 0, weights, rates + live * stride + t, count, lots, aged)
                        scatter(changes, side * room, cell, change, 0, count)
                        if free == end:  # the others go to the same cells or close to them
                            expect_cells(totals, weighted_totals, row, cell, count)
                free += np.uint64(1)
            standing.frontier[market, side] = frontier
            cohorts.used[market] = np.int64(free - first)
        for side in range(2):  # in stale rows it does not matter what is added
            add_changes(changes, side, totals, weighted_totals, np.uint64(2 * market + side) * cells, cells)


@njit(nogil=True, cache=True, parallel=True)
def apply(
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    standing: Standing,
    updates: Updates,
    outcome: Outcome,
    threads: int,
    least: int,
) -> tuple[bool, int]:
    """Run a step unless :func:`forcedmove_kernels.cpu.intake.plan` finds a reason not to; returns what that found.

    One call from Python for all of it, because handing over so many arrays costs as much as the step of some markets.
    """
    is_refused, crowded, order, part = plan(cohorts, window, standing, updates, threads, least)
    if is_refused or crowded >= 0:
        return is_refused, crowded
    if len(part) == 2:
        step_markets(order, cohorts, rules, window, fresh, standing, updates, outcome)
    else:
        for thread in prange(len(part) - 1):
            mine = order[part[thread] : part[thread + 1]]
            step_markets(mine, cohorts, rules, window, fresh, standing, updates, outcome)
    return is_refused, crowded
