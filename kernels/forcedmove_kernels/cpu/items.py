"""What is computed for one cohort, written once and inlined into every kernel.

Everything is explicitly unsigned: numba promotes a mix of signed and unsigned 64-bit integers to float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import U32, Freshness
from forcedmove_kernels.fixed_point import (
    FRESHNESS_BITS,
    FRESHNESS_ONE,
    LONG,
    MAX_PRICE_UNITS,
    MULTIPLIER_BITS,
    PHASES,
    PRICE_BITS,
    WEIGHT_BITS,
)

PRICE_SHIFT = np.uint32(PRICE_BITS)
PHASE_MASK = np.uint32(PHASES - 1)
MULTIPLIER_SHIFT = np.uint64(MULTIPLIER_BITS)
WEIGHT_SHIFT = np.uint64(WEIGHT_BITS)
FRESHNESS_SHIFT = np.uint64(FRESHNESS_BITS)
ONE = np.uint32(FRESHNESS_ONE)
MAX_TRIGGER = np.uint64(MAX_PRICE_UNITS)
#: of a cohort without a live tier, by side
NO_TRIGGER = (np.uint32(0), np.uint32(MAX_PRICE_UNITS))
#: no bin lies beyond: price units have 32 bits and multipliers 4 before the point
MAX_FIRST_BIN = np.uint32(1 << 26)


@njit(nogil=True, cache=True, forceinline=True)
def phase_at(entry: np.uint32) -> np.int64:
    """Which of the levels of its tiers a cohort has; see fixed_point.phase_of."""
    return np.int64((entry >> PRICE_SHIFT) & PHASE_MASK)


@njit(nogil=True, cache=True, forceinline=True)
def levels_at(row: int | np.int64, tiers: int, entry: np.uint32) -> np.int64:
    """Where the multipliers of a cohort of a row (``2 * market + side``) begin among those of all rows."""
    return (np.int64(row) * PHASES + phase_at(entry)) * tiers


@njit(nogil=True, cache=True, forceinline=True)
def liquidation_price(entry: np.uint32, multiplier: np.uint32) -> np.uint64:
    """Trigger price in price units at which a position is liquidated; may exceed u32."""
    return (np.uint64(entry) * np.uint64(multiplier)) >> MULTIPLIER_SHIFT


@njit(nogil=True, cache=True, forceinline=True)
def weighted(lots: np.uint64, weight: np.uint64) -> np.uint64:
    """Lots below a cumulative weight."""
    return (lots * weight) >> WEIGHT_SHIFT


@njit(nogil=True, cache=True, forceinline=True)
def trigger_at(entry: np.uint32, multiplier: np.uint32) -> np.uint32:
    """Price that liquidates a tier, as arrays.Standing has it."""
    return np.uint32(min(liquidation_price(entry, multiplier), MAX_TRIGGER))


@njit(nogil=True, cache=True, forceinline=True)
def first_met(a: np.uint32, b: np.uint32, side: int) -> np.uint32:
    """Which of two triggers the mark meets first."""
    return max(a, b) if side == LONG else min(a, b)


@njit(nogil=True, cache=True, forceinline=True)
def weight_of(opened_at: np.uint32, fresh: Freshness) -> np.uint32:
    """Weight by age; a cohort from the future has age 0."""
    age = np.uint64(max(np.int64(fresh.now) - np.int64(opened_at), np.int64(0)))
    return np.uint32(fresh.table[min(age // np.uint64(fresh.step_s), np.uint64(len(fresh.table) - 1))])


@njit(nogil=True, cache=True, forceinline=True)
def fresh_lots(lots: np.uint32, weight: np.uint32) -> np.uint32:
    """Lots weighted by age."""
    return np.uint32((np.uint64(lots) * np.uint64(weight)) >> FRESHNESS_SHIFT)


@njit(nogil=True, cache=True, forceinline=True)
def weight_span(opened_at: np.uint32, fresh: Freshness) -> tuple[np.int64, np.uint64, np.uint32]:
    """Weight by age, and which cohorts share it: those opened within so many seconds from a time on.

    Neighbours in a row are neighbours in time: to know this saves most of them a division.
    """
    now, step, opened = np.int64(fresh.now), np.int64(fresh.step_s), np.int64(opened_at)
    weight = weight_of(opened_at, fresh)
    if opened > now:
        return opened, np.uint64(1), weight
    return now - ((now - opened) // step + np.int64(1)) * step + np.int64(1), np.uint64(step), weight


@njit(nogil=True, cache=True, forceinline=True)
def weigh_row(lots: U32, opened_at: U32, fresh: Freshness, weighed: U32) -> None:
    """Fill ``weighed`` with the lots of a row of cohorts weighted by age."""
    since, span, weight = np.int64(0), np.uint64(0), ONE
    for i in range(len(lots)):
        if np.uint64(np.int64(opened_at[i]) - since) >= span:
            since, span, weight = weight_span(opened_at[i], fresh)
        weighed[i] = fresh_lots(lots[i], weight)


@njit(nogil=True, cache=True, forceinline=True)
def zero_cell(first_bin: np.uint32) -> np.int32:
    """The bin that cell 0 would be if it were one."""
    return np.int32(min(first_bin, MAX_FIRST_BIN)) - np.int32(1)
