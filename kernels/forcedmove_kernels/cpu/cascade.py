"""What one shock sets off, and what every shock of one side sets off.

Positions count cells along the path from the mark (position 0) to the outer cell (``last``). A cell's depth beyond the
notional of the whole path can never be used up; clipped to it, sums of depth stay within u64 for any order book.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I32, U64


@njit(nogil=True, cache=True)
def path_of(notional: U64, depth: U64, mark: int, up: bool) -> tuple[U64, U64]:
    """Notional and clipped depth along the path from ``mark`` to the outer cell."""
    fires = notional[mark:].copy() if up else notional[: mark + 1][::-1].copy()
    rests = depth[mark:].copy() if up else depth[: mark + 1][::-1].copy()
    return fires, np.minimum(rests, fires.sum())


@njit(nogil=True, cache=True)
def follow(notional: U64, depth: U64, mark: int, shock: int) -> tuple[I32, I32, U64, I32, int]:
    """Columns of :class:`forcedmove_kernels.arrays.Chain`."""
    up = shock > mark
    step = 1 if up else -1
    fires, rests = path_of(notional, depth, mark, up)
    last, first = len(fires) - 1, abs(shock - mark)
    near, far, reached = np.empty(last + 1, np.int32), np.empty(last + 1, np.int32), np.empty(last + 1, np.int32)
    amount = np.zeros(last + 1, np.uint64)
    levels, fired = 0, 0
    total, held = np.uint64(0), rests[first]
    position = first
    while position >= fired:
        round_begin, inside = levels, False
        for p in range(fired, position + 1):
            if fires[p] == 0:
                inside = False
                continue
            if not inside:
                inside = True
                near[levels] = mark + step * p
                levels += 1
            far[levels - 1] = mark + step * p
            amount[levels - 1] += fires[p]
            total += fires[p]
        fired = position + 1
        while held < total and position < last:
            position += 1
            held += rests[position]
        reached[round_begin:levels] = mark + step * position
    return near[:levels], far[:levels], amount[:levels], reached[:levels], mark + step * position


@njit(nogil=True, cache=True)
def curve(notional: U64, depth: U64, mark: int, up: bool) -> tuple[I32, U64]:
    """Terminal cell and notional fired of every shock of one side.

    A chain ends at the first position from the shock on where the depth from the shock holds all that the way there
    fires. Both ends of that stretch only move outwards as the shock grows: one sweep finds them all.
    """
    fires, rests = path_of(notional, depth, mark, up)
    last = len(fires) - 1
    step = 1 if up else -1
    terminal, fired = np.full(len(notional), mark, np.int32), np.zeros(len(notional), np.uint64)
    position, total, held = 0, fires[0], rests[0]
    for shock in range(last + 1):
        if position < shock:
            position = shock
            total += fires[shock]
            held = rests[shock]
        elif shock > 0:
            held -= rests[shock - 1]
        while held < total and position < last:
            position += 1
            held += rests[position]
            total += fires[position]
        if shock > 0 or not up:  # the mark's own cell belongs to the shocks downwards
            terminal[mark + step * shock] = mark + step * position
            fired[mark + step * shock] = total
    return terminal, fired
