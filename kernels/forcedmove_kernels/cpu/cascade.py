"""What one shock sets off, and what every shock of one side sets off.

Positions count cells along the path from the mark (position 0) to the outer cell (``last``). Depth beyond all that
could fire is never used up; clipped to that, sums of depth stay within u64 for any order book.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I32, I64, U8, U64
from forcedmove_kernels.cpu.vectors import LANES, lanes_below
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS

ROW_CENTS = np.uint64(MAX_ROW_CENTS)
NEVER = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
#: cells of prefix sums that are compared at once
BLOCK = np.uint64(LANES)
ONE = np.uint64(1)


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


@njit(nogil=True, cache=True, forceinline=True)
def is_crowded(notional: U64) -> bool:
    """Whether a row adds up to more than MAX_ROW_CENTS; each cell is looked at too, because the sum may wrap."""
    total, highest = np.uint64(0), np.uint64(0)
    for cell in range(len(notional)):
        total += notional[cell]
        highest = max(highest, notional[cell])
    return bool(total > ROW_CENTS or highest > ROW_CENTS)


@njit(nogil=True, cache=True, forceinline=True)
def sum_path(notional: U64, depth: U64, mark: int, up: bool, fired: U64, held: U64, runs: I32) -> int:
    """Fill prefix sums by position; returns the last position.

    ``fired`` and ``held`` sum notional and clipped depth over positions ``0..p``, ``runs`` counts the runs of non-empty
    cells that begin there. A block of ``held`` behind the last position can never be held.
    """
    last = len(notional) - 1 - mark if up else mark
    fires, holds, begun, before = np.uint64(0), np.uint64(0), np.int32(0), np.uint64(0)
    cell, step = np.uint64(mark), ONE if up else NEVER  # modulo 2**64 that is one back
    for p in range(last + 1):
        own = notional[cell]
        fires += own
        holds += min(depth[cell], ROW_CENTS)
        begun += np.int32((own != 0) & (before == 0))
        before = own
        fired[p], held[p], runs[p] = fires, holds, begun
        cell += step
    held[last + 1 : last + 1 + LANES] = NEVER
    return last


@njit(nogil=True, cache=True, forceinline=True)
def first_holding(held: U64, position: np.uint64, last: np.uint64, target: np.uint64) -> np.uint64:
    """First position from ``position`` on whose prefix sum reaches ``target``, or the last one."""
    step = BLOCK  # gallop: most rounds go no further than a few cells
    while position + step <= last and held[position + step - ONE] < target:
        position += step
        step += step
    while step > BLOCK:
        step >>= ONE
        if position + step <= last and held[position + step - ONE] < target:
            position += step
    short = lanes_below(held, position, target)  # sums do not fall: those that are short come first
    return min(position + short, last)


@njit(nogil=True, cache=True)
def count_by_row(row: I32, rows: int) -> tuple[I64, I64]:
    """Chains by row: their numbers i64 ``[J]``, and where each row's begin, i64 ``[rows + 1]``."""
    begin = np.zeros(rows + 1, np.int64)
    for j in range(len(row)):
        begin[row[j] + 1] += 1
    for r in range(rows):
        begin[r + 1] += begin[r]
    chain, free = np.empty(len(row), np.int64), begin[:-1].copy()
    for j in range(len(row)):
        chain[free[row[j]]] = j
        free[row[j]] += 1
    return chain, begin


@njit(nogil=True, cache=True, forceinline=True)
def levels_before(runs: I32, position: np.uint64) -> np.int32:
    """Runs that begin before a position."""
    return runs[position - ONE] if position > 0 else np.int32(0)


@njit(nogil=True, cache=True)
def follow_rows(
    order: I64,
    chain: I64,
    begin: I64,
    notional: U64,
    depth: U64,
    mark: I32,
    shock: I32,
    crowded: U8,
    terminal: I32,
    total: U64,
    levels: I32,
) -> None:
    """Follow the chains of the rows ``order``; rows of too many cents are marked in ``crowded``."""
    room = notional.shape[1] + LANES
    fired, held, runs = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int32)
    for row in order:
        if is_crowded(notional[row]):
            crowded[row] = 1
            continue
        start = int(mark[row])
        mine = chain[begin[row] : begin[row + 1]]
        for up in (False, True):
            last = -1  # until a chain asks for this side
            for j in mine:
                if (shock[j] > start) != up:
                    continue
                if last < 0:
                    last = sum_path(notional[row], depth[row], start, up, fired, held, runs)
                position, end = np.uint64(abs(int(shock[j]) - start)), np.uint64(last)
                before = held[position - ONE] if position > 0 else np.uint64(0)
                fires, near, levels_so_far = np.uint64(0), np.uint64(0), np.int32(0)
                while position >= near:
                    is_inside = fired[near] != fires and runs[near] == levels_before(runs, near)
                    levels_so_far += runs[position] - levels_before(runs, near) + np.int32(is_inside)
                    near, fires = position + ONE, fired[position]
                    position = first_holding(held, position, end, before + fires)
                terminal[j] = start + np.int64(position) if up else start - np.int64(position)
                total[j] = fired[position]
                levels[j] = levels_so_far


@njit(nogil=True, cache=True, parallel=True)
def follow_rows_parallel(
    order: I64,
    part: I64,
    chain: I64,
    begin: I64,
    notional: U64,
    depth: U64,
    mark: I32,
    shock: I32,
    crowded: U8,
    terminal: I32,
    total: U64,
    levels: I32,
) -> None:
    """Run :func:`follow_rows` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        follow_rows(mine, chain, begin, notional, depth, mark, shock, crowded, terminal, total, levels)


@njit(nogil=True, cache=True)
def curves(order: I64, notional: U64, depth: U64, mark: I32, side: I32, crowded: U8, terminal: I32, total: U64) -> None:
    """Terminal cell and notional fired of every shock of one side of the rows ``order``.

    A chain ends at the first position from the shock on where the depth from the shock holds all that the way there
    fires. Both ends of that stretch only move outwards as the shock grows: one sweep finds them all.
    """
    for row in order:
        fires, rests = notional[row], depth[row]
        if is_crowded(fires):
            crowded[row] = 1
            continue
        start, cells = int(mark[row]), len(fires)
        if side[row]:
            terminal[row, : start + 1], total[row, : start + 1] = start, np.uint64(0)
            sweep_curve(fires[start:], rests[start:], terminal[row, start:], total[row, start:], start, 1)
        else:
            terminal[row, start + 1 :], total[row, start + 1 :] = start, np.uint64(0)
            way = slice(cells - 1 - start, None)
            sweep_curve(fires[::-1][way], rests[::-1][way], terminal[row, ::-1][way], total[row, ::-1][way], start, 0)


@njit(nogil=True, cache=True, forceinline=True)
def sweep_curve(fires: U64, rests: U64, terminal: I32, total: U64, start: int, up: int) -> None:
    """Fill the curve of one row by position; the mark's own cell belongs to the shocks downwards."""
    last = len(fires) - 1
    step = 1 if up else -1
    position, fired, held = 0, fires[0], min(rests[0], ROW_CENTS)
    for shock in range(last + 1):
        if position < shock:
            position = shock
            fired += fires[shock]
            held = min(rests[shock], ROW_CENTS)
        elif shock > 0:
            held -= min(rests[shock - 1], ROW_CENTS)
        while held < fired and position < last:
            position += 1
            held += min(rests[position], ROW_CENTS)
            fired += fires[position]
        if shock >= up:
            terminal[shock] = start + step * position
            total[shock] = fired


@njit(nogil=True, cache=True, parallel=True)
def curves_parallel(
    order: I64, part: I64, notional: U64, depth: U64, mark: I32, side: I32, crowded: U8, terminal: I32, total: U64
) -> None:
    """Run :func:`curves` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        curves(mine, notional, depth, mark, side, crowded, terminal, total)
