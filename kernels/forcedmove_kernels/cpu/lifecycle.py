"""One lifecycle step per market: the sweep kills, the open interest scales, the openings are appended."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I64, NOT_OBSERVED, U32, Cohorts, Outcome, Rules, Updates
from forcedmove_kernels.cpu.items import liquidation_price, weighted
from forcedmove_kernels.fixed_point import LONG, MAX_LOTS


@njit(nogil=True, cache=True)
def first_overflow(cohorts: Cohorts, updates: Updates) -> int:
    """First unobserved market whose live lots plus openings leave the format, as an index into ``updates``, or -1."""
    for k in range(len(updates.market)):
        if updates.open_interest[k] != NOT_OBSERVED:
            continue
        opened = np.uint64(0)
        for j in range(updates.first_open[k], updates.first_open[k + 1]):
            opened += np.uint64(updates.open_lots[j])
        first = cohorts.start[updates.market[k]]
        for side in range(2):
            live = np.uint64(0)
            for slot in range(first, first + cohorts.used[updates.market[k]]):
                live += np.uint64(cohorts.lots[side, slot])
            if live + opened > np.uint64(MAX_LOTS):
                return k
    return -1


@njit(nogil=True, cache=True)
def surviving_tiers(
    entry: np.uint32, live: np.int64, multiplier: U32, side: int, low: np.uint32, high: np.uint32
) -> np.int64:
    """Live tiers left when the trigger price has covered ``low..high``; the highest leverage dies first."""
    left = np.int64(live)
    while left > 0:
        price = liquidation_price(entry, multiplier[left - 1])
        if (price < np.uint64(low)) if side == LONG else (price > np.uint64(high)):
            break
        left -= 1
    return left


@njit(nogil=True, cache=True)
def sweep(
    cohorts: Cohorts, rules: Rules, market: int, side: int, low: np.uint32, high: np.uint32
) -> tuple[np.uint64, np.uint64, bool]:
    """Kill the tiers that ``low..high`` crosses. Returns lots before, lots that survive, whether anything changed."""
    multiplier, weight = rules.multiplier[market, side], rules.weight[market, side]
    first = cohorts.start[market]
    before, survived, changed = np.uint64(0), np.uint64(0), False
    for slot in range(first, first + cohorts.used[market]):
        old, lots = np.int64(cohorts.live_tiers[side, slot]), cohorts.lots[side, slot]
        before += np.uint64(lots)
        live = surviving_tiers(cohorts.entry[slot], old, multiplier, side, low, high)
        kept = np.uint32(weighted(np.uint64(lots), np.uint64(weight[old, live])) if live > 0 else np.uint64(0))
        if live != old or kept != lots:
            changed = True
            cohorts.live_tiers[side, slot] = live
            cohorts.lots[side, slot] = kept
        survived += np.uint64(kept)
    return before, survived, changed


@njit(nogil=True, cache=True)
def scale(cohorts: Cohorts, market: int, side: int, live: np.uint64, target: np.uint64) -> bool:
    """Scale live lots from ``live`` (above zero) to ``target`` by prefix rounding; whether anything changed."""
    first = cohorts.start[market]
    prefix, placed, changed = np.uint64(0), np.uint64(0), False
    for slot in range(first, first + cohorts.used[market]):
        lots = cohorts.lots[side, slot]
        if lots == 0:
            continue
        prefix += np.uint64(lots)
        scaled = prefix * target // live
        changed |= scaled - placed != np.uint64(lots)
        cohorts.lots[side, slot] = np.uint32(scaled - placed)
        placed = scaled
    return changed


@njit(nogil=True, cache=True)
def append(
    cohorts: Cohorts,
    rules: Rules,
    updates: Updates,
    k: int,
    opened: np.uint64,
    total_long: np.uint64,
    total_short: np.uint64,
) -> None:
    """Append the opening rows of market ``k``, scaled from ``opened`` to a total per side by prefix rounding.

    Where ``opened`` is zero the last row takes the total. Rows without lots are not appended.
    """
    market, price = updates.market[k], updates.price[k]
    last = updates.first_open[k + 1] - 1
    slot = cohorts.start[market] + np.int64(cohorts.used[market])
    prefix, placed_long, placed_short = np.uint64(0), np.uint64(0), np.uint64(0)
    for j in range(updates.first_open[k], last + 1):
        prefix += np.uint64(updates.open_lots[j])
        if opened > 0:
            through_long, through_short = prefix * total_long // opened, prefix * total_short // opened
        elif j == last:
            through_long, through_short = total_long, total_short
        else:
            continue
        if through_long == placed_long and through_short == placed_short:
            continue
        cohorts.entry[slot] = updates.open_entry[j]
        cohorts.opened_at[slot] = updates.opened_at[k]
        cohorts.lots[0, slot] = np.uint32(through_long - placed_long)
        cohorts.lots[1, slot] = np.uint32(through_short - placed_short)
        placed_long, placed_short = through_long, through_short
        for side in range(2):
            born = np.int64(rules.tiers[market])
            multiplier = rules.multiplier[market, side]
            left = surviving_tiers(updates.open_entry[j], born, multiplier, side, price, price)
            cohorts.live_tiers[side, slot] = np.uint8(max(left, np.int64(1)))
        slot += 1
    cohorts.used[market] = slot - cohorts.start[market]


@njit(nogil=True, cache=True)
def step_markets(order: I64, cohorts: Cohorts, rules: Rules, updates: Updates, outcome: Outcome) -> None:
    """Run the steps ``order`` of ``updates`` and fill their rows of the zeroed ``outcome``."""
    totals = np.zeros(2, np.uint64)
    for k in order:
        market = updates.market[k]
        opened = np.uint64(0)
        for j in range(updates.first_open[k], updates.first_open[k + 1]):
            opened += np.uint64(updates.open_lots[j])
        outcome.first_new[k] = cohorts.start[market] + np.int64(cohorts.used[market])
        for side in range(2):
            before, live, changed = sweep(cohorts, rules, market, side, updates.low[k], updates.high[k])
            outcome.liquidated[k, side] = before - live
            outcome.opened[k, side] = opened
            totals[side] = opened
            if updates.open_interest[k] != NOT_OBSERVED:
                target = np.uint64(updates.open_interest[k]) - opened
                if live > 0:
                    outcome.closed[k, side] = live - min(live, target)
                    outcome.overkill[k, side] = target - min(live, target)
                    if live != target:
                        changed |= scale(cohorts, market, side, live, target)
                    live = target
                elif target > 0:  # nothing is left to scale up: the openings take the whole open interest
                    outcome.overkill[k, side] = target
                    totals[side] = opened + target
            outcome.live[k, side] = live + totals[side]
            outcome.rebuild[k, side] = changed
        append(cohorts, rules, updates, k, opened, totals[0], totals[1])


@njit(nogil=True, cache=True, parallel=True)
def step_markets_parallel(
    order: I64, part: I64, cohorts: Cohorts, rules: Rules, updates: Updates, outcome: Outcome
) -> None:
    """Run :func:`step_markets` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        step_markets(order[part[thread] : part[thread + 1]], cohorts, rules, updates, outcome)
