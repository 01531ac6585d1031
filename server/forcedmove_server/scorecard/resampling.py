"""Estimates with intervals: block and cluster bootstraps that draw the same resamples for the same seed, and Wilson's.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval; Hesterberg, What Teachers
Should Know About the Bootstrap (2015), its expansion for few blocks; Cameron, Gelbach and Miller, Bootstrap-based
improvements for inference with clustered errors (2008); Wilson (1927), JASA 22, 209.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: more clusters than this are joined at random into this many: whole clusters stay together, so intervals stay valid
MOST_CLUSTERS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval. ``n`` observations in ``blocks`` independent blocks stand behind it.

    A value or an interval that cannot be given is None, and ``reason`` says why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    blocks: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn; see :class:`~forcedmove_server.scorecard.rules.ScoringRules`."""

    resamples: int = 500
    level: float = 0.95
    seed: int = 0
    least_blocks: int = 5

    def weights(self, blocks: int) -> F64:
        """Times that each block is drawn: float64 ``[resamples, blocks]``, rows summing to ``blocks``."""
        rng = np.random.default_rng(self.seed)
        return rng.multinomial(blocks, np.full(blocks, 1 / blocks), self.resamples).astype(np.float64)

    def interval(self, estimate: Estimate, draws: F64) -> Estimate:
        """Add the percentile interval of ``draws`` to an estimate, or the reason why there is none."""
        if estimate.value is None:
            return estimate
        if estimate.blocks < self.least_blocks:
            return replace(estimate, reason=f"no interval from {estimate.blocks} blocks, {self.least_blocks} needed")
        usable = draws[np.isfinite(draws)]
        if not len(draws):
            return replace(estimate, reason="no interval was asked for")
        if 2 * len(usable) < len(draws):
            return replace(estimate, reason="no interval: most resamples have no value")
        tail = expanded_tail(self.level, estimate.blocks)
        low, high = np.quantile(usable, (tail, 1 - tail))
        return replace(estimate, low=float(low), high=float(high))

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike, cluster: ArrayLike, n: int | None = None) -> Estimate:
        """Ratio of sums ``sum(numerator) / sum(denominator)`` with a cluster-bootstrap interval.

        Arrays ``[n]``; ``cluster`` int labels. The estimate's ``n`` counts entries unless given.
        """
        top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
        count = len(top) if n is None else n
        total = float(bottom.sum())
        if not total > 0:
            return Estimate(None, n=count, reason="nothing observed")
        labels, index = np.unique(np.asarray(cluster, np.int64), return_inverse=True)
        blocks = len(labels)
        estimate = Estimate(float(top.sum()) / total, n=count, blocks=blocks)
        if blocks < self.least_blocks:
            return self.interval(estimate, np.empty(0))
        if blocks > MOST_CLUSTERS:
            shuffled = np.random.default_rng(self.seed).permutation(blocks) % MOST_CLUSTERS
            index, blocks = shuffled[index], MOST_CLUSTERS
        drawn = self.weights(blocks)
        tops, bottoms = (drawn @ np.bincount(index, values, blocks) for values in (top, bottom))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.interval(estimate, np.where(bottoms > 0, tops / bottoms, np.nan))


def expanded_tail(level: float, blocks: int) -> float:
    """Share of draws left out on either side, for an interval that covers ``level`` from few blocks too.

    ``Phi(-sqrt(B / (B - 1)) t)`` with Student's quantile ``t`` of ``B - 1`` degrees of freedom, in the expansion of
    Cornish and Fisher (Abramowitz and Stegun 26.7.5). Of a mean of 7 blocks the plain 95 % percentile interval covers
    88 %.
    """
    normal, v = NormalDist(), blocks - 1
    z = normal.inv_cdf((1 + level) / 2)
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return normal.cdf(-math.sqrt(blocks / v) * t)


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share observed in ``n`` (possibly effective, not whole) trials.

    ``(p + z^2/2n -/+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``; (0, 1) without trials.
    """
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def effective_size(weight_sum: float, weight_squared_sum: float) -> float:
    """Kish's effective sample size ``(sum w)^2 / sum w^2``; 0 for nothing (Kish 1965, Survey Sampling)."""
    return weight_sum**2 / weight_squared_sum if weight_squared_sum > 0 else 0.0
