"""What is computed for one cohort, written once and inlined into every kernel.

Everything is explicitly unsigned: numba promotes a mix of signed and unsigned 64-bit integers to float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import U32, U64, Freshness
from forcedmove_kernels.fixed_point import FRESHNESS_BITS, MULTIPLIER_BITS, PRICE_BITS, WEIGHT_BITS, WEIGHT_ONE

MULTIPLIER_SHIFT = np.uint64(MULTIPLIER_BITS)
BIN_SHIFT = np.uint64(MULTIPLIER_BITS + PRICE_BITS)
WEIGHT_SHIFT = np.uint64(WEIGHT_BITS)
FRESHNESS_SHIFT = np.uint64(FRESHNESS_BITS)

#: position of the cell in a packed word
CELL_SHIFT = np.uint64(32)

#: tiers are padded to a multiple of this, which leaves the compiler's vector loops no remainder
LANES = 16


@njit(nogil=True, cache=True)
def liquidation_price(entry: np.uint32, multiplier: np.uint32) -> np.uint64:
    """Trigger price in price units at which a position is liquidated; may exceed u32."""
    return (np.uint64(entry) * np.uint64(multiplier)) >> MULTIPLIER_SHIFT


@njit(nogil=True, cache=True)
def weighted(lots: np.uint64, weight: np.uint64) -> np.uint64:
    """Lots below a cumulative weight."""
    return (lots * weight) >> WEIGHT_SHIFT


@njit(nogil=True, cache=True)
def fresh_lots(lots: U32, opened_at: U32, fresh: Freshness) -> U32:
    """Lots of a row of cohorts weighted by age; a cohort from the future has age 0."""
    weighed = np.empty_like(lots)
    oldest = np.int64(len(fresh.table) - 1)
    for i in range(len(lots)):
        step = max(np.int64(fresh.now) - np.int64(opened_at[i]), np.int64(0)) // np.int64(fresh.step_s)
        weight = np.uint64(fresh.table[min(step, oldest)])
        weighed[i] = np.uint32((np.uint64(lots[i]) * weight) >> FRESHNESS_SHIFT)
    return weighed


@njit(nogil=True, cache=True)
def padded_tables(multiplier: U32, weight: U32) -> tuple[U64, U64]:
    """Tables of one market and side, padded to whole vectors; padding tiers get no lots.

    Words of 64 bits, so that products need no widening.
    """
    tiers = len(multiplier)
    width = (tiers + LANES - 1) // LANES * LANES
    multiplier_row = np.zeros(width, np.uint64)
    multiplier_row[:tiers] = multiplier
    weight_rows = np.zeros((tiers + 1, width + 1), np.uint64)
    weight_rows[1:] = WEIGHT_ONE
    weight_rows[:, : tiers + 1] = weight
    return multiplier_row, weight_rows


@njit(nogil=True, cache=True)
def pack_tier(
    lots: np.uint64,
    entry: np.uint64,
    multiplier: np.uint64,
    weight_from: np.uint64,
    weight_to: np.uint64,
    cell_zero: np.int64,
    top: np.int64,
) -> np.uint64:
    """Cell and lots of one tier of one cohort, packed as ``cell << 32 | lots``.

    ``cell_zero`` is the bin that cell 0 would be if it were one; cells end at ``top``. Lots of a (market, side) stay
    below 2**32, so a tier's share fits its half of the word.
    """
    cell = np.int64((entry * multiplier) >> BIN_SHIFT) - cell_zero
    share = weighted(lots, weight_to) - weighted(lots, weight_from)
    return np.uint64(min(max(cell, np.int64(0)), top)) << CELL_SHIFT | share


@njit(nogil=True, cache=True, inline="always")
def spread(
    lots: np.uint32, entry: np.uint32, multiplier: U64, weight: U64, cell_zero: np.int64, top: np.int64, packed: U64
) -> None:
    """Fill ``packed`` with the word of every padded tier of one cohort.

    ``multiplier`` and ``weight`` are padded rows, ``weight`` that of the cohort's number of live tiers.
    """
    q, e = np.uint64(lots), np.uint64(entry)
    if len(packed) == LANES:  # the usual case; a constant trip count unrolls
        for t in range(LANES):
            packed[t] = pack_tier(q, e, multiplier[t], weight[t], weight[t + 1], cell_zero, top)
    else:
        for t in range(len(packed)):
            packed[t] = pack_tier(q, e, multiplier[t], weight[t], weight[t + 1], cell_zero, top)
