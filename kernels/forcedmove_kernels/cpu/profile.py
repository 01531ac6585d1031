"""Lots into notional: one row of cells per market and side, and their sums by symbol."""

from __future__ import annotations

from numba import njit, prange

from forcedmove_kernels.arrays import I64, U64, Notional, Window
from forcedmove_kernels.cpu.frames import add_cents


@njit(nogil=True, cache=True)
def profile_symbols(
    order: I64, first: I64, totals: U64, notional: Notional, window: Window, cents: U64, sums: U64
) -> None:
    """Add cents to the zeroed rows of the symbols in ``order``: to ``cents`` by market, to ``sums`` by symbol."""
    for symbol in order:
        for m in range(first[symbol], first[symbol + 1]):
            base, slope, first_bin = notional.base[m], notional.slope[m], int(window.first_bin[m])
            for side in range(2):
                add_cents(cents[m, side], totals[m, side], base, slope, first_bin)
                own, of_symbol = cents[m, side], sums[symbol, side]
                for cell in range(len(own)):
                    of_symbol[cell] += own[cell]


@njit(nogil=True, cache=True, parallel=True)
def profile_symbols_parallel(
    order: I64, part: I64, first: I64, totals: U64, notional: Notional, window: Window, cents: U64, sums: U64
) -> None:
    """Run :func:`profile_symbols` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        profile_symbols(mine, first, totals, notional, window, cents, sums)
