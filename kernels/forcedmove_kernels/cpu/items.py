"""What is computed for one cohort, written once and inlined into every kernel.

Everything is explicitly unsigned: numba promotes a mix of signed and unsigned 64-bit integers to float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I32, U32, Freshness
from forcedmove_kernels.fixed_point import FRESHNESS_BITS, MULTIPLIER_BITS, PRICE_BITS, WEIGHT_BITS, WEIGHT_ONE

MULTIPLIER_SHIFT = np.uint64(MULTIPLIER_BITS)
BIN_SHIFT = np.uint64(MULTIPLIER_BITS + PRICE_BITS)
WEIGHT_SHIFT = np.uint64(WEIGHT_BITS)
FRESHNESS_SHIFT = np.uint64(FRESHNESS_BITS)

#: tiers are computed in groups of this constant size, which the compiler turns into vector instructions
LANES = 16


@njit(nogil=True, cache=True)
def liquidation_price(entry: np.uint32, multiplier: np.uint32) -> np.uint64:
    """Trigger price in price units at which a position is liquidated; may exceed u32."""
    return (np.uint64(entry) * np.uint64(multiplier)) >> MULTIPLIER_SHIFT


@njit(nogil=True, cache=True)
def weighted(lots: np.uint64, weight: np.uint32) -> np.uint32:
    """Lots below a cumulative weight."""
    return np.uint32((lots * np.uint64(weight)) >> WEIGHT_SHIFT)


@njit(nogil=True, cache=True)
def fresh_lots(lots: np.uint32, opened_at: np.uint32, fresh: Freshness) -> np.uint32:
    """Lots weighted by age; a cohort from the future has age 0."""
    step = max(np.int64(fresh.now) - np.int64(opened_at), np.int64(0)) // np.int64(fresh.step_s)
    age = min(step, np.int64(len(fresh.table) - 1))
    return np.uint32((np.uint64(lots) * np.uint64(fresh.table[age])) >> FRESHNESS_SHIFT)


@njit(nogil=True, cache=True)
def padded_tables(multiplier: U32, weight: U32) -> tuple[U32, U32]:
    """Tables of one market and side, padded to whole groups of lanes; padding tiers get no lots."""
    tiers = len(multiplier)
    width = (tiers + LANES - 1) // LANES * LANES
    multiplier_row = np.zeros(width, np.uint32)
    multiplier_row[:tiers] = multiplier
    weight_rows = np.zeros((tiers + 1, width + 1), np.uint32)
    weight_rows[1:] = WEIGHT_ONE
    weight_rows[:, : tiers + 1] = weight
    return multiplier_row, weight_rows


@njit(nogil=True, cache=True)
def spread(
    lots: np.uint32,
    entry: np.uint32,
    multiplier: U32,
    weight: U32,
    first_bin: np.int32,
    top: np.int32,
    cell: I32,
    share: U32,
) -> None:
    """Cell and lots of every tier of one cohort: fills ``cell`` and ``share``, both as long as ``multiplier``.

    ``multiplier`` and ``weight`` are padded rows, ``weight`` that of the cohort's number of live tiers. Cells run
    from 0 (below the window) to ``top`` (above it). Lots of a (market, side) stay below 2**32, so u32 holds a share.
    """
    quantity, price = np.uint64(lots), np.uint64(entry)
    for group in range(0, len(multiplier), LANES):
        for lane in range(LANES):
            tier = group + lane
            position = np.int32((price * np.uint64(multiplier[tier])) >> BIN_SHIFT) - first_bin + np.int32(1)
            cell[tier] = min(max(np.int32(position), np.int32(0)), top)
            share[tier] = weighted(quantity, weight[tier + 1]) - weighted(quantity, weight[tier])
