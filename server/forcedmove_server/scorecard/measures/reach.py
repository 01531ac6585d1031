"""Will the price get there at all? The reach probability of a driftless diffusion, and how well it is calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

#: log distances from the mark whose reach is forecast, on either side: 0.1 % to 12.8 %
REACH_DISTANCES: F64 = 0.001 * 2.0 ** np.arange(8, dtype=np.float64)
#: forecasts are compared with frequencies in this many equal bins of probability
RELIABILITY_BINS = 10
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Forecasts between two probabilities: how many, their mean, and how often the price did reach."""

    n: int
    forecast: float
    observed: float


@dataclass(frozen=True, slots=True)
class Reach:
    """Brier score ``mean((p - hit)^2)`` and its skill ``1 - brier / (h (1 - h))`` over saying the base rate ``h``.

    Brier (1950), MWR 78, 1; skill is None where everything or nothing was reached.
    """

    n: int
    brier: float | None
    skill: float | None
    reliability: tuple[ReliabilityBin, ...]
    reason: str | None = None


def reach_probability(distance: ArrayLike, volatility: ArrayLike, horizon_s: float) -> F64:
    """``P = 2 Phi(-d / (sigma sqrt(H)))``: that a driftless diffusion touches a level within ``horizon_s``.

    The reflection principle (Karatzas and Shreve 1991, 2.6). ``distance`` in log price, at least 0; ``volatility`` per
    square root of a second. Without volatility only a level at distance 0 is reached.
    """
    away, sigma = np.broadcast_arrays(np.asarray(distance, np.float64), np.asarray(volatility, np.float64))
    spread = sigma * math.sqrt(2 * horizon_s)
    scaled = np.divide(away, spread, out=np.where(away > 0, np.inf, 0.0), where=spread > 0)
    probability: F64 = np.asarray(_erfc(scaled), np.float64)
    return probability


def reach_sums(probability: ArrayLike, reached: ArrayLike) -> F64:
    """Sums that scores are made of, per bin of probability: n, sum p, sum hit, sum (p - hit)^2.

    Inputs ``[..., D]``; float64 ``[..., RELIABILITY_BINS, 4]``.
    """
    p, hit = np.asarray(probability, np.float64), np.asarray(reached, np.float64)
    lead = p.shape[:-1]
    cells = int(np.prod(lead)) * RELIABILITY_BINS
    index = np.minimum((p * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    index += np.arange(cells // RELIABILITY_BINS).reshape(*lead, 1) * RELIABILITY_BINS
    columns = (np.ones_like(p), p, hit, (p - hit) ** 2)
    sums: F64 = np.stack([np.bincount(index.ravel(), c.ravel(), cells).astype(np.float64) for c in columns], -1)
    return sums.reshape(*lead, RELIABILITY_BINS, 4)


def reach_score(sums: F64) -> Reach:
    """Turn sums, added over as many forecasts as one likes, into scores."""
    n, _, hits, squared = sums.sum(axis=0)
    if n <= 0:
        return Reach(0, None, None, (), "no forecast has come due: volatility needs a history first")
    rate = hits / n
    spread = rate * (1 - rate)
    return Reach(
        n=int(n),
        brier=float(squared / n),
        skill=float(1 - squared / n / spread) if spread > 0 else None,
        reliability=tuple(
            ReliabilityBin(int(count), float(p / count), float(hit / count)) for count, p, hit, _ in sums if count > 0
        ),
    )
