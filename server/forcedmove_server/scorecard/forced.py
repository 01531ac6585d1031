"""Forced closes of all markets and horizons, summed by market, side and bin while their windows are open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.frozen import Liquidations, bin_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_SIDE_BIT, _MARKET_BIT = 32, 33
#: parts of a window that are joined when there are more
_MOST_PARTS = 16


class ForcedCloses:
    """Sums of quantity, USD, squared USD and events by (market, side, bin), of the open cell and of every window."""

    def __init__(self, horizons: int) -> None:
        self._cell: list[tuple[I64, F64]] = []
        self._windows: list[list[tuple[I64, F64]]] = [[] for _ in range(horizons)]

    def add(self, market: I64, side: I64, price_usd: F64, width: F64, quantity: F64, usd: F64) -> None:
        """Take events, arrays ``[n]``."""
        if len(market):
            key = (market << _MARKET_BIT) | (side << _SIDE_BIT) | bin_of(price_usd, width)
            self._cell.append((key, np.stack([quantity, usd, usd**2, np.ones(len(usd))], axis=1)))

    def end_cell(self, keep: bool) -> None:
        """Move the cell into every window, or drop it and them."""
        if not keep:
            self._windows = [[] for _ in self._windows]
        elif self._cell:
            part = _joined(self._cell)
            for parts in self._windows:
                parts.append(part)
                if len(parts) > _MOST_PARTS:
                    parts[:] = [_joined(parts)]
        self._cell = []

    def restart(self, index: int) -> None:
        """Empty a window."""
        self._windows[index] = []

    def by_market(self, index: int) -> Callable[[int], Liquidations]:
        """Return a look-up of one window's sums by market."""
        key, sums = _joined(self._windows[index])
        market = key >> _MARKET_BIT
        bounds: dict[int, tuple[int, int]] = {}
        if len(market):
            first = np.flatnonzero(np.diff(market, prepend=-1))
            ends = np.append(first[1:], len(market))
            bounds = dict(zip(market[first].tolist(), zip(first.tolist(), ends.tolist(), strict=True), strict=True))

        def found(wanted: int) -> Liquidations:
            begin, end = bounds.get(wanted, (0, 0))
            keys, columns = key[begin:end], sums[begin:end].T
            return Liquidations((keys >> _SIDE_BIT) & 1, keys & ((1 << _SIDE_BIT) - 1), *columns)

        return found


def _joined(parts: list[tuple[I64, F64]]) -> tuple[I64, F64]:
    """Parts added up, by ascending key."""
    if not parts:
        return np.empty(0, np.int64), np.empty((0, 4))
    keys, index = np.unique(np.concatenate([key for key, _ in parts]), return_inverse=True)
    sums = np.zeros((len(keys), 4))
    np.add.at(sums, index, np.concatenate([columns for _, columns in parts]))
    return keys, sums
