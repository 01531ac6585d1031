"""Cohorts into cells: standing totals (all tiers together) and the leverage grid (tier by tier)."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Cohorts, Freshness, Rules, Window
from forcedmove_kernels.checks import check_indices, check_totals
from forcedmove_kernels.fixed_point import FRESHNESS_BITS, MULTIPLIER_BITS, PRICE_BITS, WEIGHT_BITS, phase_of


def standing_totals(cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64) -> None:
    """Rebuild rows in place; see :meth:`forcedmove_kernels.backend.Backend.standing_totals`."""
    check_totals(totals, cohorts, window)
    check_indices("rows", rows, 2 * len(cohorts.used))
    for row in rows.tolist():
        market, side = divmod(row, 2)
        totals[market, side] = tier_grid(cohorts, rules, window, fresh, market, side).sum(0)


def leverage_grid(cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
    """Return u64 ``[K, 2, T, C]``; see :meth:`forcedmove_kernels.backend.Backend.leverage_grid`."""
    check_indices("markets", markets, len(cohorts.used))
    tiers = rules.multiplier.shape[3]
    grid = np.zeros((len(markets), 2, tiers, window.bins + 2), np.uint64)
    for k, m in enumerate(markets.tolist()):
        for side in (0, 1):
            grid[k, side] = tier_grid(cohorts, rules, window, fresh, m, side)
    return grid


def tier_grid(cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, market: int, side: int) -> U64:
    """Lots per tier and cell of one market and side, u64 ``[T, C]``."""
    slots = slice(cohorts.start[market], cohorts.start[market] + cohorts.used[market])
    lots = cohorts.lots[side, slots].astype(np.uint64) * freshness(fresh, cohorts.opened_at[slots]) >> FRESHNESS_BITS
    entry = cohorts.entry[slots]
    live = cohorts.live_tiers[side, slots]
    multiplier = rules.multiplier[market, side, phase_of(entry)]  # one row of tiers per cohort
    tiers = multiplier.shape[1]
    grid = np.zeros((tiers, window.bins + 2), np.uint64)
    for tier in range(tiers):
        weight = rules.weight[market, side, live].astype(np.uint64)  # one weight row per cohort
        share = (lots * weight[:, tier + 1] >> WEIGHT_BITS) - (lots * weight[:, tier] >> WEIGHT_BITS)
        price = entry * multiplier[:, tier].astype(np.uint64) >> MULTIPLIER_BITS
        cell = (price >> PRICE_BITS).astype(np.int64) - int(window.first_bin[market]) + 1
        cell = np.clip(cell, 0, window.bins + 1)
        alive = tier < live
        np.add.at(grid[tier], cell[alive], share[alive])
    return grid


def freshness(fresh: Freshness, opened_at: np.ndarray) -> U64:
    """Weight by age of every cohort, u64 fixed point; a cohort from the future has age 0."""
    age = np.maximum(fresh.now - opened_at.astype(np.int64), 0)
    weight: U64 = fresh.table[np.minimum(age // fresh.step_s, len(fresh.table) - 1)].astype(np.uint64)
    return weight
