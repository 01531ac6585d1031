"""What follows from the cohorts of a row: totals, live lots, triggers."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import (
    I32,
    U32,
    UNWEIGHTED,
    Cohorts,
    Freshness,
    Rules,
    Standing,
    Window,
    no_trigger,
)
from forcedmove_kernels.checks import check_indices, check_standing
from forcedmove_kernels.fixed_point import LONG, MAX_PRICE_UNITS, MULTIPLIER_BITS, phase_of
from forcedmove_kernels.reference.grid import tier_grid


def rebuild(cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, rows: I32) -> None:
    """Rebuild rows in place; see :meth:`forcedmove_kernels.backend.Backend.rebuild`."""
    check_standing(standing, cohorts, window)
    check_indices("rows", rows, 2 * len(cohorts.used))
    for row in rows.tolist():
        rebuild_row(cohorts, rules, window, fresh, standing, *divmod(row, 2))


def rebuild_row(
    cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, market: int, side: int
) -> None:
    """Rebuild every array of one row, which is not stale afterwards."""
    slots = slice(cohorts.start[market], cohorts.start[market] + cohorts.used[market])
    standing.totals[market, side] = tier_grid(cohorts, rules, window, UNWEIGHTED, market, side).sum(0)
    standing.fresh[market, side] = tier_grid(cohorts, rules, window, fresh, market, side).sum(0)
    standing.live[market, side] = cohorts.lots[side, slots].sum(dtype=np.uint64)
    met = triggers(cohorts, rules, market, side)
    standing.trigger[side, slots] = met
    first_met = met.max if side == LONG else met.min
    standing.frontier[market, side] = first_met(initial=no_trigger(side))
    standing.stale[market, side] = 0


def triggers(cohorts: Cohorts, rules: Rules, market: int, side: int) -> U32:
    """Price that liquidates the highest live tier of each cohort of a row; see arrays.Standing."""
    slots = slice(cohorts.start[market], cohorts.start[market] + cohorts.used[market])
    live = cohorts.live_tiers[side, slots].astype(np.int64)
    entry = cohorts.entry[slots]
    highest = rules.multiplier[market, side, phase_of(entry), np.maximum(live - 1, 0)].astype(np.uint64)
    price = np.minimum(entry * highest >> np.uint64(MULTIPLIER_BITS), MAX_PRICE_UNITS)
    return np.where(live > 0, price, no_trigger(side)).astype(np.uint32)


def reached_slots(trigger: U32, side: int, low: int, high: int) -> int:
    """How many triggers a price that covered ``low..high`` reaches."""
    return int(np.count_nonzero(trigger >= low if side == LONG else trigger <= high))
