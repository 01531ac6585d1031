"""The credible band of a view: how far the notional of each of its cells may be off, at a level that readers choose.

Four things make a cell uncertain. The weights: those of one venue's markets are learnt together (partial pooling), so
they are taken to vary as one, tier by tier; those of different venues, and of the two sides, independently. The prior
that they began with: its error is one for all venues and both sides, and counts less the more a venue has shown. The
entries of what was open before the first observation: their mean may be off by as much as they are taken to scatter,
for all markets of a symbol alike, and turnover makes it matter less. And that a few large positions make a cell
(compound Poisson): those variances add up over markets. What is known as exact positions is certain. Weights and
entries count to first order, and as if no tier of a cohort had been liquidated yet; levels are taken to lie as the map
spreads them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.frames import CredibleBand, RenderedView, ViewSpec
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import PlannedView, usd_per_lot
from forcedmove_server.errors import InputError
from forcedmove_server.inference.calibration import check_level, gamma_band, relative_deviations, weight_deviations

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Certainty:
    """How sure what is said of ``K`` markets is.

    ``weights`` and ``shape`` float64 ``[K, 2, T]``: the weights in use, and one over their relative variances.
    ``typical`` float64 ``[K]``: size-biased mean quantity of a liquidation, in lots; zero where positions are known.
    ``phi`` float64 ``[K]``: the factor on that by which bands were seen to cover what they claim. ``opened`` float64
    ``[K]``: the size-biased mean quantity of the positions that open, in lots.

    ``common`` float64 ``[K, 2, T]``: by how much of itself a weight is off where the prior of all venues is. ``stood``
    float64 ``[K]``: share of open interest that was there at the first observation; ``displacement`` float64 ``[K]``:
    by how many bins the mean of its entries may be off.
    """

    weights: F64
    shape: F64
    typical: F64
    phi: F64
    opened: F64
    common: F64
    stood: F64
    displacement: F64

    @property
    def quantity(self) -> F64:
        """Size-biased mean quantity of what makes a cell, in lots, float64 ``[K]``.

        Small positions at high leverage are liquidated first, so that prints are smaller than what stands; bands that
        cover what was touched can widen what openings say, and not narrow it.
        """
        return np.maximum(self.phi * self.typical, self.opened)


class _Feed(NamedTuple):
    """Tiers of one side of a market that add to a row of the output."""

    row: int
    venue: str
    side: int
    market: int
    tiers: NDArray[np.int64]


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
        asked, known = self.planned.asked, self.certainty
        mean, variance = np.zeros((2, *asked.shape))
        quantity = known.quantity
        for row, feeds in itertools.groupby(self._feeds(), key=lambda feed: feed.row):
            common, moved = np.zeros((len(LEVERAGES), asked.shape[1])), np.zeros(asked.shape[1])
            for _, group in itertools.groupby(feeds, key=lambda feed: (feed.venue, feed.side)):
                deviation = np.zeros_like(common)
                for feed in group:
                    market, of = feed.market, (feed.market, feed.side)
                    usd = self.lots[market, feed.side, feed.tiers] * self.usd[market]
                    cells = np.zeros_like(common)
                    cells[feed.tiers] = self._cut(usd)
                    deviation += weight_deviations(cells, known.shape[of], known.weights[of])
                    common += relative_deviations(cells, known.common[of], known.weights[of])
                    whole, total = usd.sum(0), cells.sum(0)
                    moved += known.stood[market] * self._cut(_displaced(whole, float(known.displacement[market])))
                    mean[row] += total
                    variance[row] += total * quantity[market] * self.usd[market, asked.low : asked.high + 2]
                variance[row] += (deviation**2).sum(0)
            variance[row] += (common**2).sum(0) + moved**2
        low, high = gamma_band(mean, variance, level)
        shown = self.view.values.reshape(mean.shape)  # rounded to cents and to single precision
        bounds = np.minimum(low.astype(np.float32), shown), np.maximum(high.astype(np.float32), shown)
        return CredibleBand(level, *(bound.reshape(self.view.values.shape) for bound in bounds))

    def _feeds(self) -> list[_Feed]:
        """Return what adds to each row of the output, those together whose weights vary as one."""
        asked, tiers = self.planned.asked, np.arange(len(LEVERAGES))
        feeds = []
        for market, venue in enumerate(self.planned.market_venues):
            for side in (0, 1):
                rows = asked.target[market, side]
                for row in np.unique(rows[rows >= 0]).tolist():
                    own = tiers if asked.tiers is None else asked.tiers[rows == row].astype(np.int64)
                    feeds.append(_Feed(row, venue, side, market, own))
        return sorted(feeds, key=lambda feed: feed[:4])

    def _cut(self, usd: F64) -> F64:
        """Cells ``[.., W]`` of the view of ``usd`` ``[.., C]``; its ends hold what lies outside the view too."""
        low, high = self.planned.asked.low, self.planned.asked.high
        inner: F64 = usd[..., low : high + 2].copy()
        inner[..., 0], inner[..., -1] = usd[..., : low + 1].sum(-1), usd[..., high + 1 :].sum(-1)
        return inner


def _displaced(usd: F64, bins: float) -> F64:
    """Return half of what ``usd`` ``[C]`` changes by from a shift down to one up; its ends are sums, and stay."""
    inner = usd[1:-1]
    steps = min(round(bins), len(inner) - 1)
    found = np.zeros_like(usd)
    padded = np.pad(inner, steps, mode="edge")
    found[1:-1] = (padded[2 * steps :] - padded[: len(inner)]) / 2
    return found


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
