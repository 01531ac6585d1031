"""Nulls that know distance and nothing else: a prior over distance from the mark, and a map made flat.

Most of what a map seems to know is that the mark rarely goes far. A map has structure only as far as it beats these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.errors import InputError
from forcedmove_server.inference.leverage_prior import LeveragePrior, prior_for, tier_shares
from forcedmove_server.scorecard.frozen import Axis, FrozenMap

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: upper edges of distance bands, as log distance from the mark: 0.25 % to 64 % in steps of the square root of two. A
#: smooth law falls too little inside one band to be worth a hundredth of a bit
BAND_EDGES: F64 = 0.0025 * 2.0 ** (np.arange(17) / 2)
#: entries of open positions around the mark: log standard deviation
ENTRY_LOG_SD = 0.04
#: the leverages that the prior is spread over; finer than any map's tiers, so that the law has no peaks
_LEVERAGES: F64 = np.geomspace(1.05, 200, 160)
_DISTANCES: F64 = np.concatenate(([0.0], np.geomspace(1e-5, 8.0, 1023)))


@dataclass(frozen=True, slots=True)
class DistancePrior:
    """Share of open interest whose level lies within a log distance of the mark: a law per side.

    ``distance`` float64 ``[N]`` ascending from 0; ``within`` float64 ``[2, N]`` non-decreasing from 0 to at most 1.
    Raises InputError otherwise.
    """

    distance: F64
    within: F64

    def __post_init__(self) -> None:
        if self.within.shape != (2, len(self.distance)):
            raise InputError("within", self.within.shape, f"must have shape (2, {len(self.distance)})")
        if self.distance[0] != 0 or (np.diff(self.distance) <= 0).any():
            raise InputError("distance", self.distance[:3].tolist(), "must ascend from 0")
        if self.within[:, 0].any() or (np.diff(self.within) < 0).any() or (self.within[:, -1] > 1 + 1e-9).any():
            raise InputError("within", self.within[:, -1].tolist(), "must be cumulative shares from 0 to at most 1")

    @classmethod
    def of_leverage(cls, prior: LeveragePrior, max_leverage: float, maintenance_rate: float = 0.005) -> DistancePrior:
        """Spread the leverage prior over entries that are log-normal around the mark.

        A position of leverage ``L`` entered at ``E`` has its level near ``E (1 -/+ (1/L - m))``, ``m`` being
        ``maintenance_rate`` (at most half of ``1/L``); ``E / mark`` is log-normal with :data:`ENTRY_LOG_SD`. Only
        levels that the mark has not passed are open, so the law is conditioned on that.
        """
        leverages = _LEVERAGES[: max(int(np.searchsorted(_LEVERAGES, max_leverage, "right")), 1)]
        shares = tier_shares(prior, leverages, max_leverage)
        margin = 1 / leverages - np.minimum(maintenance_rate, 0.5 / leverages)
        within = np.empty((2, len(_DISTANCES)))
        for side, level in ((LONG, -np.log1p(-margin)), (SHORT, np.log1p(margin))):
            below = shares @ _normal_cdf((_DISTANCES[None] - level[:, None]) / ENTRY_LOG_SD)
            within[side] = np.maximum.accumulate((below - below[0]) / (1 - below[0]))
        return cls(_DISTANCES, within)

    @classmethod
    def of_venue(cls, venue: str, max_leverage: float) -> DistancePrior:
        """Return the law of a venue's default leverage prior; markets with equal ones share it."""
        return _of_leverage(prior_for(venue), max_leverage)

    def profile(self, axis: Axis, side: int, open_interest: float) -> F64:
        """Quantity per bin outward from the mark: float64 ``[axis.length(side)]``."""
        edges = axis.far_edges(side)
        with np.errstate(divide="ignore"):  # the lowest edge there is, 0, is infinitely far
            away = axis.mark_usd / edges if side == LONG else edges / axis.mark_usd
        reached = np.interp(np.log(np.maximum(away, 1.0)), self.distance, self.within[side])
        mass: F64 = np.diff(reached, prepend=0.0) * open_interest
        return mass

    def map(self, like: FrozenMap) -> FrozenMap:
        """Return what the law says of a map's market: same axis, mark and open interest."""
        levels = np.zeros_like(like.levels)
        for side in (LONG, SHORT):
            like.axis.outward(levels, side)[:] = self.profile(like.axis, side, like.open_interest)
        return replace(like, name="distance", levels=levels)


@lru_cache(maxsize=256)
def _of_leverage(prior: LeveragePrior, max_leverage: float) -> DistancePrior:
    return DistancePrior.of_leverage(prior, max_leverage)


def band_of(axis: Axis, side: int) -> I64:
    """Distance band of each entry of a profile, by the bin's centre: i64, non-decreasing from 0."""
    return np.searchsorted(BAND_EDGES, np.abs(np.log(axis.prices(side) / axis.mark_usd)), "right").astype(np.int64)


def band_means(values: F64, band: I64) -> F64:
    """Every entry replaced by its band's mean: float64 ``[..., n]`` like ``values``; ``band`` i64 ``[n]`` ascending."""
    starts = np.flatnonzero(np.diff(band, prepend=-1))
    sizes = np.diff(starts, append=len(band))
    means: F64 = np.repeat(np.add.reduceat(values, starts, axis=-1) / sizes, sizes, axis=-1)
    return means


def flattened(frozen: FrozenMap) -> FrozenMap:
    """Make a map flat inside each side and distance band; every band keeps what it holds.

    What lies on the wrong side of the mark, which nothing scores, stays as it is.
    """
    levels = frozen.levels.astype(np.float64, copy=True)
    for side in (LONG, SHORT):
        frozen.axis.outward(levels, side)[:] = band_means(frozen.profile(side), band_of(frozen.axis, side))
    return replace(frozen, name=f"{frozen.name}, flattened", levels=levels)


def _normal_cdf(z: F64) -> F64:
    """Standard normal distribution; Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7."""
    x = np.abs(z) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-x * x)
    cdf: F64 = np.where(z < 0, tail, 1 - tail)
    return cdf
