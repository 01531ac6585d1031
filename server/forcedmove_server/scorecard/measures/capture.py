"""How much of what was liquidated lay where the map was dense, and whether the map promised as much as there was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.inference.comparison import top_decile
from forcedmove_server.scorecard.distance import band_means
from forcedmove_server.scorecard.resampling import effective_size, wilson

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Capture:
    """Share of realised notional in the map's top-decile touched bins.

    ``low`` is the lower bound of the 95 % Wilson interval at the effective sample size ``effective_n``. ``uniform`` is
    what random bins would have captured, ``distance_matched`` what random bins of each event's own distance band would
    have; the lifts are ratios to them (None where the null captures nothing).
    """

    share: float | None
    low: float | None
    effective_n: float
    uniform: float | None
    distance_matched: float | None
    lift: float | None
    lift_distance_matched: float | None
    reason: str | None = None


def decile_members(profile: F64, band: I64) -> tuple[F64, F64]:
    """Membership of each touched bin in the top tenth, and the same averaged over the bin's distance band.

    ``profile`` float64 ``[K, n]`` by map, ``band`` i64 ``[n]``. The second is the chance that an event moved to a
    random touched bin of its own band would be captured: the distance-matched null in closed form, no draws needed.
    """
    member = np.stack([top_decile(row) for row in profile])
    return member, band_means(member, band)


def capture(
    captured: float, distance_matched: float, uniform: float, total: float, squared: float, least_n: float = 1.0
) -> Capture:
    """Turn sums over windows into shares.

    ``captured``, ``distance_matched`` and ``uniform`` are USD inside the top decile of the map and of its nulls,
    ``total`` all USD in scored windows and ``squared`` the sum of squared USD of single events.
    """
    size = effective_size(total, squared)
    if not total > 0 or size < least_n:
        return Capture(None, None, size, None, None, None, None, "nothing liquidated in the bins that were touched")
    share, chance, matched = (min(value / total, 1.0) for value in (captured, uniform, distance_matched))
    return Capture(
        share=share,
        low=wilson(share, size)[0],
        effective_n=size,
        uniform=chance,
        distance_matched=matched,
        lift=share / chance if chance > 0 else None,
        lift_distance_matched=share / matched if matched > 0 else None,
    )


def capture_ratio(realised: ArrayLike, predicted: ArrayLike) -> F64:
    """Realised over predicted, entry by entry: NaN where nothing was predicted, as nothing can be said there."""
    got, wanted = np.asarray(realised, np.float64), np.asarray(predicted, np.float64)
    ratio: F64 = np.divide(got, wanted, out=np.full(np.broadcast(got, wanted).shape, np.nan), where=wanted > 0)
    return ratio


def capture_by_tier(realised: ArrayLike, predicted: ArrayLike) -> F64:
    """Capture ratio per leverage tier: float64 ``[T]``.

    ``realised`` ``[B]``, ``predicted`` ``[T, B]`` on touched bins. The leverage of a liquidated position is not
    published: what a bin realised is divided among tiers as the map has them in that bin. What fell on bins that the
    map has empty belongs to no tier.
    """
    tiers = np.asarray(predicted, np.float64)
    by_bin = capture_ratio(realised, tiers.sum(axis=0))
    return capture_ratio(tiers @ np.nan_to_num(by_bin), tiers.sum(axis=1))


def floored_mass(mass: F64, null: F64, floor: float) -> F64:
    """Mix a share ``floor`` of the null's mass into a map's, so that no bin is impossible: ``[..., n]``."""
    mixed: F64 = (1 - floor) * mass + floor * null
    return mixed


def poisson_bits_per_event(
    log_mass: ArrayLike, mass: ArrayLike, null_log_mass: float, null_mass: float, events: float
) -> F64:
    """Fall of Poisson deviance from the null to the map, in bits per event: ``(D0 - D) / (2 ln 2 N)``.

    Counts per bin are Poisson with a rate proportional to the mass, ``lambda = c m``. ``c`` is the maximum-likelihood
    one, ``sum(k) / sum(m)``, for map and null alike, so that ``D = 2 sum(k ln(k / lambda))`` and the difference is
    ``sum(k log2 m) / N - sum(k log2 m0) / N + log2(sum m0 / sum m)`` (McCullagh and Nelder 1989, section 6.2).
    ``log_mass`` is ``sum(k log2 m)``, ``mass`` ``sum(m)`` over all touched bins, those without events included.
    NaN without events or mass.
    """
    logs, masses = np.asarray(log_mass, np.float64), np.asarray(mass, np.float64)
    if events <= 0 or null_mass <= 0:
        return np.full(masses.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(masses > 0, (logs - null_log_mass) / events + np.log2(null_mass / masses), np.nan)
