"""Lots into notional: one row of cells per symbol and side."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I64, U64, Notional, Window


@njit(nogil=True, cache=True)
def profile_symbols(
    order: I64, market: I64, first_market: I64, totals: U64, notional: Notional, window: Window, cents: U64
) -> None:
    """Add the cells of the symbols in ``order`` to the zeroed ``cents``.

    ``market`` lists the markets by symbol: those of symbol ``s`` from ``first_market[s]`` to ``first_market[s + 1]``.
    """
    for symbol in order:
        for m in market[first_market[symbol] : first_market[symbol + 1]]:
            base, slope, first_bin = notional.base[m], notional.slope[m], np.int64(window.first_bin[m])
            for side in range(2):
                for cell in range(totals.shape[2]):
                    lots = totals[m, side, cell]
                    if lots == 0:
                        continue
                    per_lot = base + slope * (np.float64(first_bin + cell) - 0.5)
                    cents[symbol, side, cell] += np.uint64(np.floor(np.float64(lots) * per_lot + 0.5))


@njit(nogil=True, cache=True, parallel=True)
def profile_symbols_parallel(
    order: I64, part: I64, market: I64, first_market: I64, totals: U64, notional: Notional, window: Window, cents: U64
) -> None:
    """Run :func:`profile_symbols` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        profile_symbols(mine, market, first_market, totals, notional, window, cents)
