"""Checks of kernel arguments that would otherwise end in a wrong cell or outside an array.

Each raises ValueError (lots that do not fit: OverflowError) naming the field, before anything is written. They cost
a pass over the small arguments, never over the cohorts of markets that are not touched.
"""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, I64, U32, U64, Cohorts, Window
from forcedmove_kernels.fixed_point import MAX_LOTS, PRICE_BITS

#: widest entry bucket and longest time bucket for which lots-weighted offsets of 2**33 lots fit u64
MAX_ENTRY_SHIFT = 31 - PRICE_BITS
MAX_TIME_BUCKET_S = 1 << 31


def check_indices(field: str, index: I32, size: int) -> None:
    """Require ``0 <= index < size`` everywhere."""
    if len(index) and (index.min() < 0 or index.max() >= size):
        raise ValueError(f"{field}: indices must lie in 0..{size - 1}")


def check_totals(totals: U64, cohorts: Cohorts, window: Window) -> None:
    """Require standing totals u64 ``[M, 2, C]``."""
    shape = (len(cohorts.used), 2, window.bins + 2)
    if totals.shape != shape or totals.dtype != np.uint64:
        raise ValueError(f"totals: need u64 {shape}, got {totals.dtype} {totals.shape}")


def check_histograms(row: I32, first_bucket: I64, volume: U64, turnover: U64) -> None:
    """Require ``volume`` and ``turnover`` of one shape ``[R, H]`` with ``row < R``; negative rows are allowed."""
    rows = len(first_bucket)
    if volume.ndim != 2 or volume.shape != turnover.shape or volume.shape[0] != rows or volume.shape[1] < 1:
        raise ValueError(f"volume: shapes {volume.shape}, {turnover.shape} do not fit {rows} rows of buckets")
    if len(row) and row.max() >= rows:
        raise ValueError(f"row: must be below {rows}")


def lots_overflow(market: int) -> OverflowError:
    """The error for a market without an observation that keeps what survives and adds what opened: too much of it.

    What is alive before the step plus what opened must stay below 2**32 lots on either side.
    """
    return OverflowError(f"open_lots: market {market} would hold more than {MAX_LOTS} lots on a side")


def check_compaction(ladder: U32, entry_shift: int) -> None:
    """Require a ladder u32 ``[L, 2]`` of ascending ages with sane time buckets, and an entry shift that fits."""
    if ladder.ndim != 2 or ladder.shape[0] < 1 or ladder.shape[1] != 2:
        raise ValueError(f"ladder: needs rows (minimum age, time bucket), got shape {ladder.shape}")
    if np.any(np.diff(ladder[:, 0].astype(np.int64)) <= 0):
        raise ValueError("ladder: minimum ages must ascend")
    if np.any((ladder[:, 1] < 1) | (ladder[:, 1] > MAX_TIME_BUCKET_S)):
        raise ValueError(f"ladder: time buckets must be 1 to {MAX_TIME_BUCKET_S} seconds")
    if not 0 <= entry_shift <= MAX_ENTRY_SHIFT:
        raise ValueError(f"entry_shift: must be 0 to {MAX_ENTRY_SHIFT}, got {entry_shift}")


def check_axis(notional: U64, depth: U64, mark: int, shock: int) -> None:
    """Require notional and depth of one length that holds both cells."""
    if notional.ndim != 1 or notional.shape != depth.shape:
        raise ValueError(f"depth: shape {depth.shape} does not fit notional {notional.shape}")
    for name, cell in (("mark", mark), ("shock", shock)):
        if not 0 <= cell < len(notional):
            raise ValueError(f"{name}: cell {cell} is not in 0..{len(notional) - 1}")


def check_cluster_rule(half_width: int, ratio_percent: int, minimum: int) -> None:
    """Require a cluster rule of non-negative numbers that fit 64 bits."""
    rule = {"half_width": half_width, "ratio_percent": ratio_percent, "minimum": minimum}
    for name, number in rule.items():
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{name}: must be 0 or more and fit 64 bits, got {number}")
