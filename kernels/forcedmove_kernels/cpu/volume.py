"""Trades into per-row histograms by entry bucket."""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I32, I64, U32, U64
from forcedmove_kernels.fixed_point import PRICE_BITS

PRICE_SHIFT = np.uint32(PRICE_BITS)
LAST_OFFSET = np.uint32((1 << PRICE_BITS) - 1)


@njit(nogil=True, cache=True)
def add_trades(row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
    """Add trades in place; return how many were clamped into a row's outer buckets."""
    buckets = volume.shape[1]
    clamped = 0
    for i in range(len(row)):
        if row[i] < 0:
            continue
        bucket = np.int64(price[i] >> PRICE_SHIFT) - first_bucket[row[i]]
        offset = np.uint32(price[i] & LAST_OFFSET)
        if bucket < 0:  # the nearest price of the first bucket is its lower edge
            bucket, offset, clamped = np.int64(0), np.uint32(0), clamped + 1
        elif bucket >= buckets:  # the nearest price of the last bucket is its upper edge
            bucket, offset, clamped = np.int64(buckets - 1), LAST_OFFSET, clamped + 1
        volume[row[i], bucket] += np.uint64(lots[i])
        turnover[row[i], bucket] += np.uint64(lots[i]) * np.uint64(offset)
    return clamped
