"""What a sweep will reach, and asking memory for it before it is needed.

A step touches little of much memory: most of its time it would wait.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import U32, U64, Cohorts, Rules
from forcedmove_kernels.cpu.items import NO_TRIGGER
from forcedmove_kernels.cpu.vectors import LANES, lanes_between, lowest_bit, prefetch
from forcedmove_kernels.fixed_point import LONG, PHASES

#: u32 of a cache line
LINE_WORDS = 16


@njit(nogil=True, cache=True, forceinline=True)
def is_reached(trigger: np.uint32, side: int, low: np.uint32, high: np.uint32) -> bool:
    """Whether a price that covered ``low..high`` reaches a trigger."""
    return bool(trigger >= low) if side == LONG else bool(trigger <= high)


@njit(nogil=True, cache=True, forceinline=True)
def find_reached(
    trigger: U32, first: np.uint64, end: np.uint64, side: int, low: np.uint32, high: np.uint32, reached: U64, turn: int
) -> np.uint64:
    """List the slots of a row whose trigger ``low..high`` reaches in ``reached[turn, side]``; returns how many."""
    row = np.uint64(side) * np.uint64(trigger.shape[1])
    least, most = (low, NO_TRIGGER[1]) if side == LONG else (NO_TRIGGER[0], high)
    found, slot = np.uint64(0), first
    while slot + np.uint64(LANES) <= end:
        bits = lanes_between(trigger, row + slot, least, most)
        while bits:
            reached[turn, side, found] = slot + lowest_bit(bits)
            found += np.uint64(1)
            bits &= bits - np.uint64(1)
        slot += np.uint64(LANES)
    while slot < end:
        reached[turn, side, found] = slot
        found += np.uint64(is_reached(trigger[side, slot], side, low, high))
        slot += np.uint64(1)
    return found


@njit(nogil=True, cache=True, forceinline=True)
def find_frontier(trigger: U32, side: int) -> np.uint32:
    """The trigger of a row that the mark meets first."""
    frontier = NO_TRIGGER[side]
    if side == LONG:
        for i in range(len(trigger)):
            frontier = max(frontier, trigger[i])
    else:
        for i in range(len(trigger)):
            frontier = min(frontier, trigger[i])
    return frontier


@njit(nogil=True, cache=True, forceinline=True)
def are_few(found: np.uint64, used: np.uint64) -> bool:
    """Whether the cohorts that a sweep reaches lie on few lines of their row: neighbours come quicker than lines here
    and there.
    """
    return bool(np.uint64(LINE_WORDS * 2) * found < used)


@njit(nogil=True, cache=True, forceinline=True)
def expect_cohorts(cohorts: Cohorts, side: int, slot: np.uint64) -> None:
    """Ask for what is kept of a cohort."""
    row = np.uint64(side) * np.uint64(len(cohorts.entry))
    prefetch(cohorts.entry, slot)
    prefetch(cohorts.opened_at, slot)
    prefetch(cohorts.lots, row + slot)
    prefetch(cohorts.live_tiers, row + slot)


@njit(nogil=True, cache=True, forceinline=True)
def expect_tables(rules: Rules, row: np.uint64) -> None:
    """Ask for the tables of a market's side."""
    tiers = np.uint64(rules.multiplier.shape[3])
    levels = np.uint64(PHASES) * tiers
    square = (tiers + np.uint64(1)) * (tiers + np.uint64(1))
    for word in range(row * levels, (row + np.uint64(1)) * levels, np.uint64(LINE_WORDS)):
        prefetch(rules.multiplier, word)
    for word in range(row * square, (row + np.uint64(1)) * square, np.uint64(LINE_WORDS)):
        prefetch(rules.weight, word)


@njit(nogil=True, cache=True, forceinline=True)
def expect_row(totals: U64, weighted_totals: U64, row: np.uint64, cells: np.uint64) -> None:
    """Ask for a whole row of cells, both kinds."""
    for cell in range(row, row + cells, np.uint64(LINE_WORDS // 2)):
        prefetch(totals, cell)
        prefetch(weighted_totals, cell)


@njit(nogil=True, cache=True, forceinline=True)
def expect_cells(totals: U64, weighted_totals: U64, row: np.uint64, cell: U32, tiers: int) -> None:
    """Ask for the cells of some tiers, both kinds."""
    for lane in range(tiers):
        prefetch(totals, row + np.uint64(cell[lane]))
        prefetch(weighted_totals, row + np.uint64(cell[lane]))
