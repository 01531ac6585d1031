"""Trades into per-row histograms by entry bucket."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, I64, U32, U64
from forcedmove_kernels.checks import check_histograms
from forcedmove_kernels.fixed_point import PRICE_BITS


def accumulate_volume(row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
    """Add trades in place; see :meth:`forcedmove_kernels.backend.Backend.accumulate_volume`."""
    check_histograms(row, first_bucket, volume, turnover)
    buckets = volume.shape[1]
    clamped = 0
    for r, p, q in zip(row.tolist(), price.tolist(), lots.tolist(), strict=True):
        if r < 0:
            continue
        bucket = (p >> PRICE_BITS) - int(first_bucket[r])
        offset = p - ((p >> PRICE_BITS) << PRICE_BITS)
        if bucket < 0:  # the nearest price of the first bucket is its lower edge
            bucket, offset, clamped = 0, 0, clamped + 1
        elif bucket >= buckets:  # the nearest price of the last bucket is its upper edge
            bucket, offset, clamped = buckets - 1, (1 << PRICE_BITS) - 1, clamped + 1
        volume[r, bucket] += np.uint64(q)
        turnover[r, bucket] += np.uint64(q * offset)
    return clamped
