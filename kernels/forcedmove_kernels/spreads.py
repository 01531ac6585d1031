"""How far the levels of a store's markets may be off, and where their marks are: the same on every store."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import I32, I64, U32, Spread, Updates
from forcedmove_kernels.fixed_point import LONG, NEAR_BITS, PRICE_BITS, SPREAD_ONE

#: a mark that has not been seen yet lies outside every window
_UNSEEN = -(1 << 30)
#: no short's level is too far away
_UNBOUNDED = (1 << 31) - 1
#: bins. Distances are counted from multiples of this on the levels' side of the mark, so that cells far away do not
#: change whenever the mark moves by a bin. What lies nearer to the mark is not spread, which would be over few bins.
MARK_STEP = 8


def nearest(mark_bin: I64, side: NDArray[np.integer] | int) -> I64:
    """Bins from which distances are counted for marks in ``mark_bin``: never above it for longs or below for shorts."""
    short: I64 = -(-mark_bin // MARK_STEP)
    return np.where(side == LONG, mark_bin // MARK_STEP, short) * MARK_STEP


class Spreads:
    """Shares and marks by market, host arrays. Nothing is spread until told otherwise."""

    def __init__(self, markets: int) -> None:
        self._share: U32 = np.zeros(markets, np.uint32)
        self._near: I64 = np.zeros(markets, np.int64)
        self._mark: I64 = np.full(markets, _UNSEEN, np.int64)

    def set(self, markets: I32, share: int, near: int) -> None:
        """Spread the levels of ``markets`` by ``share``, by half of it at a distance of ``near`` (share of the mark).

        Raises ValueError for more than their whole distance and for more than the mark.
        """
        for name, value, most in (("share", share, SPREAD_ONE), ("near", near, 1 << NEAR_BITS)):
            if not 0 <= value <= most:
                raise ValueError(f"{name}: must lie in 0..{most}, got {value}")
        self._share[markets], self._near[markets] = share, near

    def copy(self, source: int, target: int) -> None:
        """Spread the levels of one market as those of another, from the same mark."""
        for column in (self._share, self._near, self._mark):
            column[target] = column[source]

    def follow(self, updates: Updates) -> None:
        """Note where the marks of a step are."""
        self._mark[updates.market] = updates.price >> np.uint32(PRICE_BITS)

    def of_rows(self, markets: I32, side: NDArray[np.integer], first_bin: U32) -> Spread | None:
        """Return how rows are spread: ``[R]`` markets, sides and first bins of windows; None where none of them is."""
        share = self._share[markets]
        if not share.any():
            return None
        mark = nearest(self._mark[markets], side)
        cell = np.clip(mark - first_bin.astype(np.int64) + 1, -1, 1 << 30)
        near = np.maximum(mark, 0) * self._near[markets] >> NEAR_BITS
        most = np.where(side == LONG, np.maximum(mark, 0), _UNBOUNDED)
        return Spread(
            side.astype(np.int32), cell.astype(np.int32), share, near.astype(np.uint32), most.astype(np.uint32)
        )

    def of_grid(self, markets: I32, first_bin: U32, columns: int = 1) -> Spread | None:
        """Return how the rows of ``[K, 2, columns]`` are spread; ``markets`` and ``first_bin`` are ``[K]``."""
        side = np.tile(np.repeat(np.arange(2), columns), len(markets))
        return self.of_rows(np.repeat(markets, 2 * columns), side, np.repeat(first_bin, 2 * columns))
