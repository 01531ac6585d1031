"""One lifecycle step per market: the sweep kills, the open interest scales, the openings are appended."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import (
    NOT_OBSERVED,
    U32,
    Cohorts,
    Freshness,
    Outcome,
    Rules,
    Standing,
    Updates,
    Window,
    check_updates,
    empty_outcome,
)
from forcedmove_kernels.checks import check_lots, check_standing, live_lots
from forcedmove_kernels.fixed_point import LONG, MULTIPLIER_BITS, WEIGHT_BITS, phase_of, prefix_scaled
from forcedmove_kernels.reference.standing import reached_slots, rebuild_row, triggers


def apply_updates(
    cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, updates: Updates
) -> Outcome:
    """Run the step in place; see :meth:`forcedmove_kernels.backend.Backend.apply_updates`.

    Raises ValueError or OverflowError before anything is changed. Whether a row becomes stale is decided by the rule;
    rows that stay up to date are simply rebuilt.
    """
    check_standing(standing, cohorts, window)
    check_updates(updates, cohorts)
    check_lots(updates, live_lots(cohorts, updates.market))
    outcome = empty_outcome(len(updates.market))
    for k, market in enumerate(updates.market.tolist()):
        crashed = [
            4 * reached_slots(triggers(cohorts, rules, market, side), side, updates.low[k], updates.high[k])
            > cohorts.used[market]
            for side in (0, 1)
        ]
        scaled = step_market(cohorts, rules, updates, outcome, k)
        for side in (0, 1):
            if not standing.stale[market, side]:
                rebuild_row(cohorts, rules, window, fresh, standing, market, side)
                standing.stale[market, side] = crashed[side] or scaled[side]
    return outcome


def step_market(cohorts: Cohorts, rules: Rules, updates: Updates, outcome: Outcome, k: int) -> tuple[bool, bool]:
    """Run the step of the ``k``-th updated market and fill its row of ``outcome``.

    Returns whether scaling changed any lots, by side.
    """
    market = int(updates.market[k])
    low, high, price = int(updates.low[k]), int(updates.high[k]), int(updates.price[k])
    first = int(cohorts.start[market])
    end = first + int(cohorts.used[market])
    openings = slice(int(updates.first_open[k]), int(updates.first_open[k + 1]))
    entry = updates.open_entry[openings]
    new_lots = np.zeros((2, len(entry)), np.uint32)
    new_tiers = np.zeros((2, len(entry)), np.uint8)
    scaled = [False, False]
    for side in (0, 1):
        lots, live = cohorts.lots[side, first:end], cohorts.live_tiers[side, first:end]
        before, tiers_before = lots.copy(), live.copy()
        live[:] = surviving_tiers(rules, market, side, cohorts.entry[first:end], live, low, high)
        kept = rules.weight[market, side, tiers_before, live].astype(np.uint64)
        lots[:] = np.where(live > 0, lots * kept >> WEIGHT_BITS, 0)
        survived = lots.sum(dtype=np.uint64)
        outcome.liquidated[k, side] = before.sum(dtype=np.uint64) - survived

        opened = updates.open_lots[openings]
        outcome.opened[k, side] = opened.sum(dtype=np.uint64)
        new_lots[side] = opened
        interest = int(updates.open_interest[k, side])
        if interest != NOT_OBSERVED:
            target = interest - int(outcome.opened[k, side])
            if survived > 0:
                unscaled = lots.copy()
                lots[:] = prefix_scaled(lots, target)
                scaled[side] = bool(np.any(lots != unscaled))
                outcome.closed[k, side] = max(int(survived) - target, 0)
                outcome.overkill[k, side] = max(target - int(survived), 0)
            elif target > 0:  # nothing is left to scale up: the openings take the side's open interest
                new_lots[side] = prefix_scaled(opened, interest)
                outcome.overkill[k, side] = target
        outcome.live[k, side] = lots.sum(dtype=np.uint64) + new_lots[side].sum(dtype=np.uint64)

        born = np.full(len(entry), rules.tiers[market])
        new_tiers[side] = np.maximum(surviving_tiers(rules, market, side, entry, born, price, price), 1)

    kept_rows = np.flatnonzero(new_lots.any(0))
    slots = slice(end, end + len(kept_rows))
    cohorts.entry[slots] = entry[kept_rows]
    cohorts.opened_at[slots] = updates.opened_at[k]
    cohorts.lots[:, slots] = new_lots[:, kept_rows]
    cohorts.live_tiers[:, slots] = new_tiers[:, kept_rows]
    cohorts.used[market] += len(kept_rows)
    return scaled[0], scaled[1]


def surviving_tiers(
    rules: Rules, market: int, side: int, entry: U32, live: np.ndarray, low: int, high: int
) -> np.ndarray:
    """Live tiers u8 after the highest ones whose liquidation price lies within reach of ``low..high`` have died."""
    live = live.copy()
    multiplier = rules.multiplier[market, side, phase_of(entry)].astype(np.uint64)  # one row of tiers per cohort
    for tier in range(multiplier.shape[1] - 1, -1, -1):
        price = entry * multiplier[:, tier] >> MULTIPLIER_BITS
        crossed = price >= low if side == LONG else price <= high
        live[(live == tier + 1) & crossed] = tier
    return live
