"""Lots into notional: one row of cells per market and side, and their sums by symbol."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from forcedmove_kernels.arrays import I64, U64, Notional, Window
from forcedmove_kernels.checks import check_groups


def profiles(totals: U64, first: I64, notional: Notional, window: Window) -> tuple[U64, U64]:
    """Return cents of markets and of symbols; see :meth:`forcedmove_kernels.backend.Backend.profiles`."""
    check_groups(first, len(totals), notional)
    cents = np.zeros_like(totals)
    for k, lots in enumerate(totals):
        cents[k] = cents_of(lots, notional.base[k], notional.slope[k], int(window.first_bin[k]))
    sums = np.zeros((len(first) - 1, *totals.shape[1:]), np.uint64)
    for symbol, (begin, end) in enumerate(pairwise(first.tolist())):
        sums[symbol] = cents[begin:end].sum(0, dtype=np.uint64)
    return cents, sums


def cents_of(lots: U64, base: float, slope: float, first_bin: int) -> U64:
    """Cents u64 ``[..., C]`` of cells of lots whose cell 1 is ``first_bin``; see arrays.Notional."""
    middle = (first_bin + np.arange(lots.shape[-1])).astype(np.float64) - 0.5
    cents: U64 = np.floor(lots.astype(np.float64) * (base + slope * middle) + 0.5).astype(np.uint64)
    return cents
