"""The map that open-source heatmaps draw, as a baseline: what every scorecard shows beside ours.

Where open interest rose between two observations, the rise was opened at the price of the second one, by longs and
shorts alike, with fixed weights of 5x to 100x. Levels that the trigger price crossed are removed; where open interest
fell, everything shrinks in proportion. Nothing else closes, nothing is conserved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHORT

F64 = NDArray[np.float64]

#: leverages and their weights, as the most copied implementations have them
NAIVE_LEVERAGES: F64 = np.array([5.0, 10.0, 25.0, 50.0, 100.0])
NAIVE_WEIGHTS: F64 = np.array([0.15, 0.30, 0.25, 0.20, 0.10])
#: bins beyond this many times the highest price so far are not kept: a 5x short lies at 1.2
_REACH = 1.5


def bankruptcy_ratios() -> F64:
    """Level over entry without maintenance, ``1 -/+ 1 / L``: float64 ``[2, 5]``."""
    return np.stack([1 - 1 / NAIVE_LEVERAGES, 1 + 1 / NAIVE_LEVERAGES])


class NaiveMaps:
    """The naive map of every market, fed with the same observations as ours. Quantities are lots.

    ``ratios`` gives a market's levels over entry, float64 ``[2, 5]``, at :data:`NAIVE_LEVERAGES`; default:
    :func:`bankruptcy_ratios`.
    """

    def __init__(self, ratios: Callable[[int], F64] | None = None) -> None:
        self._ratios_of = ratios or (lambda _: bankruptcy_ratios())
        self._ratios: dict[int, F64] = {}
        self._levels: dict[int, F64] = {}
        self._open_interest: dict[int, int] = {}

    def apply(self, updates: Updates) -> None:
        """Take one lifecycle step; steps without an observation only sweep."""
        interest = updates.open_interest.reshape(len(updates.market), -1)[:, 0]
        for k, market in enumerate(updates.market.tolist()):
            ratios = self._ratios.get(market)
            if ratios is None:
                ratios = self._ratios[market] = self._ratios_of(market)
            levels = self._room(market, int(updates.high[k]))
            levels[LONG, int(updates.low[k]) >> PRICE_BITS :] = 0
            levels[SHORT, : (int(updates.high[k]) >> PRICE_BITS) + 1] = 0
            if interest[k] == NOT_OBSERVED:
                continue
            now = int(interest[k])
            before = self._open_interest.get(market, now)
            self._open_interest[market] = now
            if now < before:
                levels *= now / before
            elif now > before:
                # a short that no price liquidates has an infinite level
                units = np.minimum(ratios * int(updates.price[k]), float(levels.shape[1] << PRICE_BITS))
                bins = units.astype(np.int64) >> PRICE_BITS
                for side in (LONG, SHORT):
                    inside = bins[side] < levels.shape[1]
                    np.add.at(levels[side], bins[side, inside], (now - before) * NAIVE_WEIGHTS[inside])

    def coarsen(self, market: int) -> None:
        """Follow a market whose lot became ten times as large."""
        if market in self._levels:
            self._levels[market] /= 10
            self._open_interest[market] //= 10

    def levels(self, market: int, first_bin: int, bins: int) -> F64:
        """Lots by side and bin from ``first_bin`` on: float64 ``[2, bins]``."""
        found = np.zeros((2, bins))
        kept = self._levels.get(market)
        if kept is not None:
            part = kept[:, first_bin : first_bin + bins]
            found[:, : part.shape[1]] = part
        return found

    def open_interest(self) -> Mapping[int, int]:
        """Lots that each market had open at its last observation."""
        return self._open_interest

    def _room(self, market: int, high: int) -> F64:
        """Return a market's levels, with room for those of positions opened at ``high``."""
        wanted = int(_REACH * (high >> PRICE_BITS)) + 2
        levels = self._levels.get(market)
        if levels is None or levels.shape[1] < wanted:
            grown = np.zeros((2, wanted + wanted // 4))
            if levels is not None:
                grown[:, : levels.shape[1]] = levels
            levels = self._levels[market] = grown
        return levels
