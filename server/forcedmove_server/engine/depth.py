"""Resting depth by price cell: visible books pooled over venues, extended by the square-root law.

Beyond the visible book the law ``I = Y sigma_D sqrt(Q / V_D)`` (MODEL section 6; exponent 0.489 +- 0.0015,
arXiv 2411.13965; bitcoin: arXiv 1412.4503) is inverted to the notional that moves the price by a fraction ``x``:
``Q(x) = V_D (x / (Y sigma_D))^2``. Depth withdraws as the price moves: at distance ``x`` a share ``exp(-x / w)`` is
left; the default ``w`` leaves 10 % after a move of 10 %, what was seen on 10 October 2025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


class BookTable:
    """The newest book snapshot of every market."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._registry = registry
        self._books: dict[int, Records] = {}

    def take(self, depth: Records) -> None:
        """Keep each market's last snapshot of a batch."""
        for market in np.unique(depth["market"]):
            rows = depth[depth["market"] == market]
            self._books[int(market)] = rows[rows["time_ns"] == rows["time_ns"][-1]]

    def age_ns(self, market: int, now_ns: int) -> int | None:
        """Age of a market's book; None where none was seen."""
        rows = self._books.get(market)
        return None if rows is None else now_ns - int(rows["time_ns"][-1])

    def visible_usd(self, markets: list[int], first_bin: int, bins: int, bin_width: float) -> tuple[F64, int]:
        """Pool the books of ``markets``: float64 ``[2, bins + 2]`` USD (0 bids, 1 asks), and how many had one."""
        pooled = np.zeros((2, bins + 2))
        seen = 0
        for market in markets:
            rows = self._books.get(market)
            if rows is None:
                continue
            seen += 1
            inverse = self._registry[market].contract_type is ContractType.INVERSE
            usd = rows["quantity"] * (1.0 if inverse else rows["price"])
            cell = np.clip(np.floor(rows["price"] / bin_width).astype(np.int64) - first_bin + 1, 0, bins + 1)
            np.add.at(pooled, (rows["side"], cell), usd)
        return pooled, seen


def extended_depth(
    visible: F64,
    mark: float,
    first_bin: int,
    bin_width: float,
    sigma_day: float,
    volume_day_usd: float,
    impact_y: float,
    withdrawal_fraction: float,
) -> U64:
    """Depth per side and cell in cents, u64 ``[2, C]``: visible books, then the law beyond them, both withdrawn.

    Side 0 absorbs sells below the mark, side 1 buys above it.
    """
    cells = visible.shape[1]
    edges = (first_bin + np.arange(cells + 1) - 1) * bin_width
    depth = np.zeros_like(visible)
    for side in (0, 1):
        # distance of each cell's near and far edge from the mark, on this side of it
        near, far = (mark - edges[1:], mark - edges[:-1]) if side == 0 else (edges[:-1] - mark, edges[1:] - mark)
        near, far = np.maximum(near, 0) / mark, np.maximum(far, 0) / mark
        filled = np.flatnonzero(visible[side])
        seen_to = float(far[filled].max()) if len(filled) else 0.0
        scale = volume_day_usd / (impact_y * sigma_day) ** 2
        implied = scale * (np.maximum(far, seen_to) ** 2 - np.maximum(near, seen_to) ** 2)
        depth[side] = (visible[side] + implied) * np.exp(-near / withdrawal_fraction)
    cents: U64 = np.floor(depth * 100).astype(np.uint64)
    return cents
