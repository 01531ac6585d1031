"""Resting depth by price cell: visible books pooled over venues, extended by the square-root law.

Beyond the visible book the law ``I = Y sigma_D sqrt(Q / V_D)`` (MODEL section 6; exponent 0.489 +- 0.0015,
arXiv 2411.13965; bitcoin: arXiv 1412.4503) is inverted to the notional that moves the price by a fraction ``x``:
``Q(x) = V_D (x / (Y sigma_D))^2``. ``x`` counts from where the shock has brought the mark: a shock is news, the latent
book re-forms around the price it leads to, and what is then forced to trade meets that book. Depth withdraws as the
price moves: at a distance ``d`` from the mark before the shock a share ``exp(-d / w)`` is left; the default ``w``
leaves 10 % after a move of 10 %, what was seen on 10 October 2025.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import PRICE_BITS, price_units
from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


#: a cell that holds this much stops every chain; what the law gives may exceed the integer format
_DEEPEST_CENTS = float(1 << 62)


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

    def forget(self, markets: Iterable[int]) -> None:
        """Drop books that are not fed any more: nobody knows what is left of them."""
        for market in markets:
            self._books.pop(market, None)

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
            absolute = (price_units(rows["price"], bin_width) >> PRICE_BITS).astype(np.int64)
            cell = np.clip(absolute - first_bin + 1, 0, bins + 1)
            np.add.at(pooled, (rows["side"], cell), usd)
        return pooled, seen


@dataclass(frozen=True, slots=True)
class ImpactLaw:
    """Parameters of the depth beyond the visible book: fractions of price, USD per day."""

    sigma_day: float
    volume_day_usd: float
    y: float
    withdrawal_fraction: float


def depth_after_shock(
    visible: F64, mark: float, shock: float, side: int, first_bin: int, bin_width: float, law: ImpactLaw
) -> U64:
    """Depth per cell on one side in cents, u64 ``[C]``, as a chain that starts at ``shock`` meets it.

    ``visible`` float64 ``[2, C]`` USD. Side 0 absorbs sells at and below the shock, side 1 buys at and above it; cells
    between mark and shock keep their visible depth, which no chain uses.
    """
    edges = (first_bin + np.arange(visible.shape[1] + 1) - 1) * bin_width
    away = (shock - edges) if side == 0 else (edges - shock)
    near, far = np.sort(np.stack([np.maximum(away[1:], 0), np.maximum(away[:-1], 0)]), axis=0) / mark
    filled = np.flatnonzero(visible[side])
    seen_to = float(far[filled].max(initial=0))
    implied = (np.maximum(far, seen_to) ** 2 - np.maximum(near, seen_to) ** 2) * law.volume_day_usd
    implied /= (law.y * law.sigma_day) ** 2
    moved = np.maximum((mark - edges[1:]) if side == 0 else (edges[:-1] - mark), 0) / mark
    usd = (visible[side] + implied) * np.exp(-moved / law.withdrawal_fraction)
    cents: U64 = np.floor(np.minimum(usd * 100, _DEEPEST_CENTS)).astype(np.uint64)
    return cents
