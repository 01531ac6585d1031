"""Levels that may be off: each cell's lots spread over the distances from the mark that its level may really have.

An even share for a run of cells is two entries in a row of differences, whose running sum is what each is given.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I64, U64, Spread
from forcedmove_kernels.fixed_point import LONG, SPREAD_BITS, SPREAD_ONE

_FRACTION = np.uint64(SPREAD_BITS)
#: below it a number is a double, and the quotient of two such rounds to no other integer than it should: a fraction
#: that falls short of one does so by more than half a unit in the last place
_NARROW = np.uint64(1 << 52)


@njit(nogil=True, cache=True, forceinline=True)
def quotient(number: np.uint64, width: np.uint64) -> np.uint64:
    """``number // width``, in a third of the time that integers take."""
    if number < _NARROW:
        return np.uint64(np.float64(number) / np.float64(width))
    return number // width


@njit(nogil=True, cache=True)
def spread_rows(order: I64, lots: U64, spread: Spread, found: U64) -> None:
    """Fill the rows ``order`` of ``found``."""
    cells = lots.shape[1]
    change = np.zeros(cells + 1, np.uint64)
    for r in order:
        own, out = lots[r], found[r]
        mark, share, near = np.int64(spread.mark[r]), np.int64(spread.share[r]), np.int64(spread.near[r])
        most = np.int64(spread.most[r])
        out[:] = own
        if share == 0 or mark < 1 or mark > cells - 2:
            continue
        step = -1 if spread.side[r] == LONG else 1
        outer = mark if step < 0 else cells - 1 - mark
        before, reach = np.uint64(0), np.int64(0)
        for distance in range(outer):
            amount = own[mark + step * distance]
            if amount == 0:
                continue
            before += amount
            over = np.uint64(SPREAD_ONE) * np.uint64(max(np.int64(distance) + near, np.int64(1)))
            half = np.int64(quotient(np.uint64(distance * distance * share), over))
            half = min(half, max(most - distance, np.int64(0)))
            width = np.uint64(2 * half + 1)
            fine = amount << _FRACTION
            each = quotient(fine, width)
            reach = min(distance + half + 1, outer)
            change[distance - half] += each
            change[reach] -= each
            rest = fine - each * width
            change[distance] += rest
            change[distance + 1] -= rest
        given, up_to, lots_before = np.uint64(0), np.uint64(0), np.uint64(0)
        for distance in range(reach):  # beyond it there is nothing and comes nothing
            given += change[distance]
            change[distance] = 0
            up_to += given
            lots_up_to = up_to >> _FRACTION
            out[mark + step * distance] = lots_up_to - lots_before
            lots_before = lots_up_to
        change[reach] = 0
        out[mark + step * outer] += before - lots_before


@njit(nogil=True, cache=True, parallel=True)
def spread_rows_parallel(order: I64, part: I64, lots: U64, spread: Spread, found: U64) -> None:
    """Run :func:`spread_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        spread_rows(order[part[thread] : part[thread + 1]], lots, spread, found)
