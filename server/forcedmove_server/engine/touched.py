"""Price bins that were touched since a grid was frozen: what it had there, and what was liquidated there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHORT
from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.frozen import bin_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class HeldGrid(NamedTuple):
    """One market's grid as it was frozen, near its mark; quantities are model units."""

    first_bin: int
    mark_bin: int
    cells: NDArray[np.float32]  # [2, T, B]
    weights: F64  # [2, T]
    open_interest: float
    mark: float  # price units
    bin_width_usd: float

    def touched(self, side: int, low: float, high: float) -> slice:
        """Bins that the trigger price touched between the mark and its extremes (price units), the mark's own too."""
        here = self.mark_bin - self.first_bin
        if side == LONG:
            return slice(max((int(low) >> PRICE_BITS) - self.first_bin, 0), here + 1)
        return slice(here, min((int(high) >> PRICE_BITS) - self.first_bin + 1, self.cells.shape[2]))

    def cell_of(self, price_usd: float) -> int:
        """Index of a price's bin; may lie outside the grid."""
        return int(bin_of(price_usd, self.bin_width_usd)) - self.first_bin


class TouchedBins(NamedTuple):
    """Touched bins of markets whose liquidations are all known, arrays ``[n]``; quantities are model units."""

    market: I64
    side: I64
    tier_cells: F64  # [n, T] what the frozen grid had
    weights: F64  # [n, T] it was frozen with
    liquidated: F64


def touched_bins(
    held: Mapping[int, HeldGrid], low: F64, high: F64, liquidations: Iterable[Records], tiers: int
) -> TouchedBins:
    """Return the bins that were touched; ``low`` and ``high`` are extremes in price units by market.

    A side whose extreme stayed in the mark's bin has none. A liquidation belongs to a level that was touched, but is
    printed at its fill or its bankruptcy price: what lies beyond the extreme counts at the extreme's bin. What lies on
    the other side of the mark was opened later, and is left out.
    """
    begins: dict[tuple[int, int], tuple[int, slice]] = {}
    markets, sides, cells, weights = [], [], [np.zeros((0, tiers))], [np.zeros((0, tiers))]
    count = 0
    for market, grid in held.items():
        for side in (LONG, SHORT):
            bins = grid.touched(side, low[market], high[market])
            width = bins.stop - bins.start
            if width < 2:
                continue
            begins[market, side] = count, bins
            count += width
            markets.append(np.full(width, market))
            sides.append(np.full(width, side))
            cells.append(grid.cells[side, :, bins].T.astype(np.float64))
            weights.append(np.broadcast_to(grid.weights[side], (width, tiers)))
    liquidated = np.zeros(count)
    for rows in liquidations:
        for row in rows:
            key = int(row["market"]), int(row["side"])
            if key not in begins:
                continue
            begin, bins = begins[key]
            cell = held[key[0]].cell_of(float(row["price"]))
            cell = max(cell, bins.start) if key[1] == LONG else min(cell, bins.stop - 1)
            if bins.start <= cell < bins.stop:
                liquidated[begin + cell - bins.start] += float(row["quantity"])
    none = np.zeros(0, np.int64)
    return TouchedBins(
        np.concatenate([none, *markets]),
        np.concatenate([none, *sides]),
        np.concatenate(cells),
        np.concatenate(weights),
        liquidated,
    )
