"""Lots into notional: one row of cells per symbol and side."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Notional, Window
from forcedmove_kernels.checks import check_indices


def profile(totals: U64, market_symbol: I32, notional: Notional, window: Window, symbols: int) -> U64:
    """Return u64 ``[S, 2, C]`` cents; see :meth:`forcedmove_kernels.backend.Backend.profile`."""
    check_indices("market_symbol", market_symbol, symbols)
    cents = np.zeros((symbols, 2, window.bins + 2), np.uint64)
    for market, symbol in enumerate(market_symbol.tolist()):
        money = notional.base[market], notional.slope[market]
        cents[symbol] += cents_of(totals[market], *money, int(window.first_bin[market]))
    return cents


def cents_of(lots: U64, base: float, slope: float, first_bin: int) -> U64:
    """Cents u64 ``[..., C]`` of cells of lots whose cell 1 is ``first_bin``; see arrays.Notional."""
    middle = (first_bin + np.arange(lots.shape[-1])).astype(np.float64) - 0.5
    cents: U64 = np.floor(lots.astype(np.float64) * (base + slope * middle) + 0.5).astype(np.uint64)
    return cents
