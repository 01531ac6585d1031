"""Lots into notional: one row of cells per symbol and side."""

from __future__ import annotations

from numba import njit, prange

from forcedmove_kernels.arrays import I64, U64, Notional, Window
from forcedmove_kernels.cpu.frames import add_cents


@njit(nogil=True, cache=True)
def profile_symbols(
    order: I64, market: I64, first_market: I64, totals: U64, notional: Notional, window: Window, cents: U64
) -> None:
    """Add the cells of the symbols in ``order`` to the zeroed ``cents``.

    ``market`` lists the markets by symbol: those of symbol ``s`` from ``first_market[s]`` to ``first_market[s + 1]``.
    """
    for symbol in order:
        for m in market[first_market[symbol] : first_market[symbol + 1]]:
            base, slope, first_bin = notional.base[m], notional.slope[m], int(window.first_bin[m])
            for side in range(2):
                add_cents(cents[symbol, side], totals[m, side], base, slope, first_bin)


@njit(nogil=True, cache=True, parallel=True)
def profile_symbols_parallel(
    order: I64, part: I64, market: I64, first_market: I64, totals: U64, notional: Notional, window: Window, cents: U64
) -> None:
    """Run :func:`profile_symbols` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        profile_symbols(mine, market, first_market, totals, notional, window, cents)
