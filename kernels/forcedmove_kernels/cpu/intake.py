"""Whether a step can be run, and by whom: all that is looked at before anything changes, in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I64, NOT_OBSERVED, Cohorts, Standing, Updates, Window
from forcedmove_kernels.cpu.schedule import share_out
from forcedmove_kernels.fixed_point import MAX_LOTS

# Costs are measured in cohorts of one row that are rebuilt, about 10 ns.
OPENING_COST = 6  # both sides, two rows of cells each
MARKET_COST = 100
TRIGGERS_PER_COST = 64


@njit(nogil=True, cache=True, forceinline=True)
def opened_lots(updates: Updates, k: int) -> np.uint64:
    """Lots that open in market ``k``."""
    opened = np.uint64(0)
    for j in range(updates.first_open[k], updates.first_open[k + 1]):
        opened += np.uint64(updates.open_lots[j])
    return opened


@njit(nogil=True, cache=True)
def is_fitting(cohorts: Cohorts, window: Window, standing: Standing) -> bool:
    """Whether the arrays of a standing have the shapes that a store and a window of this size need."""
    rows, cells = (len(cohorts.used), 2), (len(cohorts.used), 2, window.bins + 2)
    for_rows = standing.stale.shape == rows and standing.live.shape == rows and standing.frontier.shape == rows
    return (
        for_rows
        and standing.totals.shape == cells == standing.fresh.shape
        and (standing.trigger.shape == cohorts.lots.shape)
    )


@njit(nogil=True, cache=True)
def plan(
    cohorts: Cohorts, window: Window, standing: Standing, updates: Updates, threads: int, least: int
) -> tuple[bool, int, I64, I64]:
    """Look through a step and share its markets out to threads.

    Returns whether :func:`forcedmove_kernels.arrays.check_updates` or :func:`forcedmove_kernels.checks.check_standing`
    would refuse it, the first unobserved market whose live lots plus openings leave the format (as an index into
    ``updates``, or -1), and what :func:`forcedmove_kernels.cpu.schedule.share_out` makes of the markets.
    """
    steps, rows, ends = len(updates.market), len(updates.open_lots), updates.first_open
    cost, crowded = np.empty(steps, np.int64), -1
    order, part = cost[:0], cost[:0]
    if not is_fitting(cohorts, window, standing):
        return True, crowded, order, part
    if len(ends) != steps + 1 or ends[0] != 0 or ends[steps] != rows or len(updates.open_entry) != rows:
        return True, crowded, order, part
    if updates.open_interest.shape != (steps, 2):
        return True, crowded, order, part
    is_seen = np.zeros(len(cohorts.used), np.uint8)
    for k in range(steps):
        market, openings = updates.market[k], ends[k + 1] - ends[k]
        if market < 0 or market >= len(cohorts.used) or is_seen[market] or updates.low[k] > updates.high[k]:
            return True, crowded, order, part
        is_seen[market] = 1
        first, used = cohorts.start[market], np.int64(cohorts.used[market])
        if openings < 1 or ends[k + 1] > rows or used + openings > cohorts.start[market + 1] - first:
            return True, crowded, order, part
        opened, is_observed = opened_lots(updates, k), updates.open_interest[k, 0] != NOT_OBSERVED
        if is_observed != (updates.open_interest[k, 1] != NOT_OBSERVED):
            return True, crowded, order, part
        if is_observed and opened > np.uint64(min(updates.open_interest[k, 0], updates.open_interest[k, 1])):
            return True, crowded, order, part
        passes = 2 * np.int64(is_observed) + np.int64(standing.stale[market, 0]) + np.int64(standing.stale[market, 1])
        cost[k] = MARKET_COST + OPENING_COST * openings + used // TRIGGERS_PER_COST + used * passes
        for side in range(2):
            live = standing.live[market, side]
            if standing.stale[market, side]:
                live = np.uint64(0)
                for slot in range(first, first + used):
                    live += np.uint64(cohorts.lots[side, slot])
            if not is_observed and crowded < 0 and live + opened > np.uint64(MAX_LOTS):
                crowded = k
    order, part = share_out(cost, threads, least)
    return False, crowded, order, part
