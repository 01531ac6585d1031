"""The credible band of a view: how far the notional of each of its cells may be off, at a level that readers choose.

Two things make a cell uncertain. The weights: those of one venue's markets are learnt together (partial pooling), so
they are taken to vary as one, tier by tier; those of different venues, and of the two sides, independently. And that a
few large positions make a cell (compound Poisson): those variances add up over markets. What is known as exact
positions is certain. Weights count to first order, and as if no tier of a cohort had been liquidated yet; levels are
taken to lie as the map spreads them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.frames import CredibleBand, RenderedView, ViewSpec
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import PlannedView, usd_per_lot
from forcedmove_server.errors import InputError
from forcedmove_server.inference.calibration import check_level, gamma_band, weight_deviations

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Certainty:
    """How sure what is said of ``K`` markets is.

    ``weights`` and ``shape`` float64 ``[K, 2, T]``: the weights in use, and one over their relative variances.
    ``typical`` float64 ``[K]``: size-biased mean quantity of a liquidation, in lots; zero where positions are known.
    ``phi`` float64 ``[K]``: the factor on that by which bands were seen to cover what they claim.
    """

    weights: F64
    shape: F64
    typical: F64
    phi: F64


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """All that the band of a rendered view is made of; its arrays are its own, so that any thread may ask."""

    view: RenderedView
    planned: PlannedView
    lots: U64  # [K, 2, T, C]
    usd: F64  # [K, C] of one lot
    certainty: Certainty

    def band(self, level: float) -> CredibleBand:
        """Return the bounds that hold each cell's notional with probability ``level``; the view's own lies between.

        Raises InputError for a level that no band has.
        """
        asked = self.planned.asked
        mean, variance = np.zeros((2, *asked.shape))
        for row, parts in self._parts():
            deviation = np.zeros((len(LEVERAGES), asked.shape[1]))
            for market, side, tiers in parts:
                cells = np.zeros_like(deviation)
                cells[tiers] = self._usd(market, side, tiers)
                known = self.certainty
                deviation += weight_deviations(cells, known.shape[market, side], known.weights[market, side])
                total = cells.sum(0)
                mean[row] += total
                one = known.phi[market] * known.typical[market] * self.usd[market, asked.low : asked.high + 2]
                variance[row] += total * one
            variance[row] += (deviation**2).sum(0)
        low, high = gamma_band(mean, variance, level)
        shown = self.view.values.reshape(mean.shape)  # rounded to cents and to single precision
        bounds = np.minimum(low.astype(np.float32), shown), np.maximum(high.astype(np.float32), shown)
        return CredibleBand(level, *(bound.reshape(self.view.values.shape) for bound in bounds))

    def _parts(self) -> Iterator[tuple[int, list[tuple[int, int, NDArray[np.int64]]]]]:
        """Yield rows of the output with (market, side, tiers) that add to them and whose weights vary as one."""
        asked, tiers = self.planned.asked, np.arange(len(LEVERAGES))
        feeds: list[tuple[int, str, int, int, NDArray[np.int64]]] = []
        for market, venue in enumerate(self.planned.market_venues):
            for side in (0, 1):
                rows = asked.target[market, side]
                for row in np.unique(rows[rows >= 0]).tolist():
                    own = tiers if asked.tiers is None else asked.tiers[rows == row].astype(np.int64)
                    feeds.append((row, venue, side, market, own))
        feeds.sort(key=lambda feed: feed[:4])
        for (row, _, _), group in itertools.groupby(feeds, key=lambda feed: feed[:3]):
            yield row, [(market, side, own) for _, _, side, market, own in group]

    def _usd(self, market: int, side: int, tiers: NDArray[np.int64]) -> F64:
        """Notional of some tiers of a market, float64 ``[L, W]``; its ends hold what lies outside the view too."""
        low, high = self.planned.asked.low, self.planned.asked.high
        usd = self.lots[market, side, tiers] * self.usd[market]
        inner: F64 = usd[:, low : high + 2].copy()
        inner[:, 0], inner[:, -1] = usd[:, : low + 1].sum(1), usd[:, high + 1 :].sum(1)
        return inner


def check_band(level: float, spec: ViewSpec) -> None:
    """Raise InputError for a level that no band has, and for a view that has none.

    A band is of what would be liquidated. What is weighted by freshness is not that.
    """
    check_level(level, "band_level")
    if spec.weighting == "fresh":
        raise InputError("band_level", level, "no band is known of a map weighted by freshness: ask for live")


def uncertainty_of(store: CohortStore, planned: PlannedView, view: RenderedView, certainty: Certainty) -> Uncertainty:
    """Take what the bands of a view are made of, ``view`` being its rendering as of the store's last refresh.

    The view is one that :func:`check_band` lets pass.
    """
    asked = planned.asked
    first_bin = store.first_bin(int(asked.markets[0]))
    lots = store.resident.leverage_grid(asked.markets, weighted=False)
    usd = usd_per_lot(asked.notional, np.arange(len(asked.markets)), first_bin, store.bins)
    return Uncertainty(view, planned, lots, usd, certainty)
