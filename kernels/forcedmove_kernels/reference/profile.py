"""Lots into notional: one row of cells per symbol and side."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Notional, Window
from forcedmove_kernels.checks import check_indices


def profile(totals: U64, market_symbol: I32, notional: Notional, window: Window, symbols: int) -> U64:
    """Return u64 ``[S, 2, C]`` cents; see :meth:`forcedmove_kernels.backend.Backend.profile`."""
    check_indices("market_symbol", market_symbol, symbols)
    cells = np.arange(window.bins + 2)
    cents = np.zeros((symbols, 2, window.bins + 2), np.uint64)
    for market, symbol in enumerate(market_symbol.tolist()):
        middle = (int(window.first_bin[market]) + cells).astype(np.float64) - 0.5
        per_lot = notional.base[market] + notional.slope[market] * middle
        cents[symbol] += np.floor(totals[market].astype(np.float64) * per_lot + 0.5).astype(np.uint64)
    return cents
