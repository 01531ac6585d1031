"""Lots into what is sent: USD per output row and cell, and which cells changed."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import F32, I64, U32, U64, Notional
from forcedmove_kernels.cpu.vectors import LANES, lanes_differ, lowest_bit

#: cells that are compared at once
CHUNK = 4096


@njit(nogil=True, cache=True, forceinline=True)
def add_cents(cents: U64, lots: U64, base: float, slope: float, first_bin: int) -> None:
    """Add the cents of a row of lots whose cell 1 is ``first_bin``; see arrays.Notional."""
    for cell in range(len(lots)):
        per_lot = base + slope * (np.float64(first_bin + cell) - 0.5)
        cents[cell] += np.uint64(np.floor(np.float64(lots[cell]) * per_lot + 0.5))


@njit(nogil=True, cache=True)
def render_outputs(
    order: I64,
    row: I64,
    first_row: I64,
    lots: U64,
    notional: Notional,
    first_bin: int,
    low: int,
    high: int,
    usd: F32,
) -> None:
    """Fill the outputs ``order`` of ``usd``.

    ``row`` lists the rows of lots by output: those of output ``o`` from ``first_row[o]`` to ``first_row[o + 1]``.
    """
    cents = np.empty(lots.shape[1], np.uint64)
    for output in order:
        cents[:] = 0
        for r in row[first_row[output] : first_row[output + 1]]:
            add_cents(cents, lots[r], notional.base[r], notional.slope[r], first_bin)
        own = usd[output]
        own[0] = in_usd(cents[: low + 1].sum())
        for cell in range(low + 1, high + 1):
            own[cell - low] = in_usd(cents[cell])
        own[high - low + 1] = in_usd(cents[high + 1 :].sum())


@njit(nogil=True, cache=True, forceinline=True)
def in_usd(cents: np.uint64) -> np.float32:
    """Cents as the wire has them."""
    return np.float32(np.float64(cents) / 100.0)


@njit(nogil=True, cache=True, parallel=True)
def render_outputs_parallel(
    order: I64,
    part: I64,
    row: I64,
    first_row: I64,
    lots: U64,
    notional: Notional,
    first_bin: int,
    low: int,
    high: int,
    usd: F32,
) -> None:
    """Run :func:`render_outputs` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        render_outputs(mine, row, first_row, lots, notional, first_bin, low, high, usd)


@njit(nogil=True, cache=True)
def list_changes(order: I64, previous: U32, values: U32, changed: U32, count: I64) -> None:
    """List the indices where words differ, chunk by chunk: those of chunk ``c`` from ``changed[c * CHUNK]`` on."""
    for chunk in order:
        begin = chunk * CHUNK
        end = min(begin + CHUNK, len(values))
        found = begin
        for i in range(begin, end, LANES):
            bits = lanes_differ(previous, values, i, end - i)
            while bits:
                changed[found] = i + np.int64(lowest_bit(bits))
                found += 1
                bits &= bits - np.uint64(1)
        count[chunk] = found - begin


@njit(nogil=True, cache=True, parallel=True)
def list_changes_parallel(order: I64, part: I64, previous: U32, values: U32, changed: U32, count: I64) -> None:
    """Run :func:`list_changes` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        list_changes(order[part[thread] : part[thread + 1]], previous, values, changed, count)


@njit(nogil=True, cache=True)
def close_gaps(changed: U32, count: I64) -> U32:
    """The indices of all chunks, one behind the other."""
    found = np.empty(count.sum(), np.uint32)
    end = 0
    for chunk in range(len(count)):
        begin = chunk * CHUNK
        found[end : end + count[chunk]] = changed[begin : begin + count[chunk]]
        end += count[chunk]
    return found
