"""Runs of cells that stand above their surroundings: one pass with a sliding sum."""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I32, I64, U64
from forcedmove_kernels.fixed_point import SHARE_BITS

HALF_SHIFT = np.uint64(32)
LOW_HALF = np.uint64(0xFFFF_FFFF)
SHARE_SHIFT = np.uint64(SHARE_BITS)


@njit(nogil=True, cache=True)
def wide_product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The 128-bit product as (high, low) words: cents times a percentage can exceed 64 bits."""
    a_high, a_low, b_high, b_low = a >> HALF_SHIFT, a & LOW_HALF, b >> HALF_SHIFT, b & LOW_HALF
    low = a_low * b_low
    middle = a_high * b_low + (low >> HALF_SHIFT)
    carry = a_low * b_high + (middle & LOW_HALF)
    return a_high * b_high + (middle >> HALF_SHIFT) + (carry >> HALF_SHIFT), a * b


@njit(nogil=True, cache=True)
def minimum_of(notional: U64, share: np.uint64) -> np.uint64:
    """The least notional of a cell of a cluster: a share of the row's sum, and something."""
    total = notional.sum()
    # a share is at most 2**32: the half products cannot exceed 64 bits
    least = (total >> SHARE_SHIFT) * share + ((total & LOW_HALF) * share >> SHARE_SHIFT)
    return max(least, np.uint64(1))


@njit(nogil=True, cache=True)
def find_clusters(
    notional: U64, half_width: int, ratio_percent: np.uint64, minimum: np.uint64
) -> tuple[I32, I32, I32, U64]:
    """Begin, end, peak and cents of the clusters of one row."""
    last = len(notional) - 2  # the outer cells are no bins
    most = len(notional) // 2 + 1
    begin, end, peak = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    amount = np.zeros(most, np.uint64)
    found, inside = 0, False
    around = np.uint64(0)
    for c in range(1, min(half_width, last) + 1):
        around += notional[c]
    for c in range(1, last + 1):
        if c + half_width <= last:
            around += notional[c + half_width]
        if c - half_width > 1:
            around -= notional[c - half_width - 1]
        cells = min(c + half_width, last) - max(c - half_width, 1) + 1
        own_high, own_low = wide_product(notional[c], np.uint64(100 * cells))
        high, low = wide_product(around, ratio_percent)
        if notional[c] < minimum or own_high < high or (own_high == high and own_low <= low):
            found += inside
            inside = False
            continue
        if not inside:
            inside = True
            begin[found], peak[found], amount[found] = c, c, np.uint64(0)
        end[found] = c + 1
        amount[found] += notional[c]
        if notional[c] > notional[peak[found]]:
            peak[found] = c
    found += inside
    return begin[:found], end[:found], peak[:found], amount[:found]


@njit(nogil=True, cache=True)
def find_all(
    notional: U64, half_width: int, ratio_percent: np.uint64, share: np.uint64
) -> tuple[I64, I32, I32, I32, U64]:
    """Columns of :class:`forcedmove_kernels.arrays.Clusters` of all rows."""
    rows, cells = notional.shape
    first = np.zeros(rows + 1, np.int64)
    most = rows * (cells // 2 + 1)
    begin, end, peak = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    amount = np.empty(most, np.uint64)
    for row in range(rows):
        own = find_clusters(notional[row], half_width, ratio_percent, minimum_of(notional[row], share))
        first[row + 1] = first[row] + len(own[0])
        begin[first[row] : first[row + 1]] = own[0]
        end[first[row] : first[row + 1]] = own[1]
        peak[first[row] : first[row + 1]] = own[2]
        amount[first[row] : first[row + 1]] = own[3]
    found = first[rows]
    return first, begin[:found].copy(), end[:found].copy(), peak[:found].copy(), amount[:found].copy()
