"""How far what is liquidated in a bin may be off, and whether that is true.

Of a bin the map says ``mean = sum_t w_t x_t``. Two things make it uncertain: the weights, and that a few large
positions make a bin (compound Poisson: the variance is the mean times the size-biased mean quantity, whatever the
sizes). The quantiles are those of the Gamma distribution with that mean and variance.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]

#: shapes of the table of quantiles: below the first all but the tail is at zero, above the last its cube root is normal
_SHAPES = np.geomspace(1e-3, 500.0, 80)
_BISECTIONS = 32
#: what a Gamma law can be asked for: its tails beyond are not known
LEVELS = (0.01, 0.999)


def weight_deviations(tier_cells: F64, alpha: F64, weights: F64 | None = None) -> F64:
    """Return what one standard deviation of each tier's weight adds to ``sum_t w_t x_t``, float64 ``[.., T, B]``.

    ``tier_cells`` float64 ``[.., T, B]`` are ``w_t x_t``, zero also for tiers that are left out of the sum. With
    ``alpha`` ``[.., T]`` alone the weights are Dirichlet. With ``weights`` ``[.., T]`` given, ``alpha`` are shapes of
    Gamma variables with other scales (:meth:`Calibration.shape`), so that a tier that was seen often is surer than one
    that never was. To first order ``(w_t / sqrt(alpha_t)) (x_t - mean)``, signed: deviations of markets whose weights
    are the same are added up before they are squared.
    """
    total = alpha.sum(-1, keepdims=True)
    means = alpha / total if weights is None else weights
    relative = np.sqrt(np.divide(total / (total + 1), alpha, out=np.zeros_like(means), where=alpha > 0))
    return relative_deviations(tier_cells, relative, means)


def relative_deviations(tier_cells: F64, relative: F64, weights: F64) -> F64:
    """Return what it adds to ``sum_t w_t x_t`` that each weight is greater by ``relative`` ``[.., T]`` of itself.

    float64 ``[.., T, B]``, to first order and the weights summing to one all the same; the rest as in
    :func:`weight_deviations`.
    """
    # w_t (x_t - mean), without dividing by a weight that may be zero
    away = tier_cells - weights[..., None] * tier_cells.sum(-2, keepdims=True)
    found: F64 = relative[..., None] * away
    return found


def weight_variance(tier_cells: F64, alpha: F64, weights: F64 | None = None, common: F64 | None = None) -> F64:
    """Return the variance of ``sum_t w_t x_t`` from the weights alone, float64 ``[.., B]``.

    Arguments as in :func:`weight_deviations`, whose squares it sums: ``(sum w_t x_t^2 - mean^2) / (alpha0 + 1)`` for a
    Dirichlet law. ``common`` ``[.., T]``, with ``weights``: by how much of itself a weight may be off besides.
    """
    found: F64 = (weight_deviations(tier_cells, alpha, weights) ** 2).sum(-2)
    if common is not None and weights is not None:
        found += (relative_deviations(tier_cells, common, weights) ** 2).sum(-2)
    return found


def gamma_band(mean: F64, variance: F64, level: float = 0.9) -> tuple[F64, F64]:
    """Return the quantiles that hold ``level`` of a Gamma law, float64 like ``mean``.

    Both tails are cut alike, unless nothing at all is likelier than the lower tail (``exp(-shape)``, the chance of no
    event of a compound Poisson of that shape): then the band begins at zero and leaves out the upper tail alone. A bin
    that holds far less than one position is nearly always empty, so that its quantile lies below its mean: the upper
    bound then stays where it is furthest, so that more doubt makes no band narrower, and never below the mean. Raises
    :class:`InputError` unless ``level`` lies in ``LEVELS``.
    """
    check_level(level)
    known = (mean > 0) & (variance > 0)
    shape = np.where(known, mean / np.where(known, variance, 1.0) * mean, 1.0)
    tail = (1 - level) / 2
    may_be_empty = shape < -math.log(tail)
    low = np.where(may_be_empty, 0.0, mean * np.minimum(_quantile(shape, tail), 1.0))
    held = np.maximum(shape, _furthest(level))
    high = mean * np.maximum(np.where(may_be_empty, _quantile(held, level), _quantile(shape, 1 - tail)), 1.0)
    return np.where(known, low, mean), np.where(known, high, mean)


def check_level(level: float, field: str = "level") -> None:
    """Raise :class:`InputError` for a level that no band can have."""
    low, high = LEVELS
    if not low <= level <= high:
        raise InputError(field, level, f"must lie between {low:g} and {high:g}")


def credible_band(
    tier_cells: F64,
    alpha: F64,
    typical_quantity: F64 | float,
    level: float = 0.9,
    phi: F64 | float = 1.0,
    weights: F64 | None = None,
    common: F64 | None = None,
) -> tuple[F64, F64]:
    """Return the bounds within which the quantity liquidated in each bin lies with probability ``level``.

    Two float64 ``[.., B]``. ``tier_cells``, ``alpha``, ``weights``, ``common`` as in :func:`weight_variance`;
    ``typical_quantity`` is the size-biased mean quantity of a liquidation, ``phi`` what :class:`Dispersion` found, both
    broadcast over ``[.., B]``. Raises :class:`InputError` as :func:`gamma_band` does.
    """
    mean = tier_cells.sum(-2)
    return gamma_band(mean, weight_variance(tier_cells, alpha, weights, common) + phi * mean * typical_quantity, level)


class Dispersion:
    """The factor ``phi`` on the variance by which bands cover as many touched bins as they claim.

    For a ladder of values it is counted how many realised quantities the band would have covered; ``phi`` is the first
    value at which ``level`` is reached, in between by interpolation. Nothing is assumed of the law of what is realised
    and no order of bins matters. Counts fade: ``forget`` once per ``half_life``.
    """

    LADDER = np.geomspace(1 / 16, 64, 41)

    def __init__(self, level: float = 0.9, prior_bins: float = 50.0) -> None:
        check_level(level)
        self.level, self._prior_bins = level, prior_bins
        self.covered, self.bins = np.zeros(len(self.LADDER)), 0.0

    def observe(self, mean: F64, variance_w: F64, realised: F64, typical_quantity: F64 | float) -> None:
        """Take in touched bins, all float64 ``[n]``: what the map said, its variance from weights, what came.

        Bins of which the map said nothing are left out: no factor would make a band of them.
        """
        told = mean > 0
        own, sure, came = mean[told], variance_w[told], realised[told]
        typical = np.broadcast_to(np.asarray(typical_quantity, np.float64), mean.shape)[told]
        for step, phi in enumerate(self.LADDER.tolist()):
            low, high = gamma_band(own, sure + phi * own * typical, self.level)
            self.covered[step] += np.count_nonzero((low <= came) & (came <= high))
        self.bins += float(len(own))

    def forget(self, factor: float) -> None:
        """Multiply what was counted by ``factor``."""
        self.covered *= factor
        self.bins *= factor

    @property
    def phi(self) -> float:
        """The factor; drawn to 1 while fewer than about ``prior_bins`` bins were seen, 1 without any."""
        if self.bins <= 0:
            return 1.0
        coverage = np.maximum.accumulate(self.covered / self.bins)
        logs = np.log(self.LADDER)
        reached = np.flatnonzero(coverage >= self.level)
        if not len(reached):
            found = logs[int(np.argmax(coverage))]
        elif reached[0] == 0:
            found = logs[0]
        else:
            at = int(reached[0])
            part = (self.level - coverage[at - 1]) / (coverage[at] - coverage[at - 1])
            found = logs[at - 1] + part * (logs[at] - logs[at - 1])
        return math.exp(float(found) * self.bins / (self.bins + self._prior_bins))


@lru_cache(maxsize=64)
def _table(probability: float) -> F64:
    """Logarithms of the quantiles over the mean at ``_SHAPES``, times the shape, which bends little between them."""
    found = np.empty(len(_SHAPES))
    for index, shape in enumerate(_SHAPES.tolist()):
        # below the first: P(a, x) < x^a / Gamma(a + 1)
        low = (math.log(probability) + math.lgamma(shape + 1)) / shape - math.log(shape)
        high = math.log(1 + 40 / math.sqrt(shape) + 40 / shape)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            short = _lower(shape, math.log(shape) + middle) < probability
            low, high = (middle, high) if short else (low, middle)
        found[index] = shape * (low + high) / 2
    return found


def _quantile(shape: F64, probability: float) -> F64:
    """Quantile of a Gamma law of mean 1: from a table, above it by Wilson and Hilferty (PNAS 17, 1931); within 2 %."""
    held = np.clip(shape, _SHAPES[0], _SHAPES[-1])
    tabled = np.exp(np.interp(np.log(held), np.log(_SHAPES), _table(probability)) / held)
    normal = NormalDist().inv_cdf(probability)
    large = np.maximum(shape, _SHAPES[-1])
    found: F64 = np.where(shape < _SHAPES[-1], tabled, (1 - 1 / (9 * large) + normal / (3 * np.sqrt(large))) ** 3)
    return found


@lru_cache(64)
def _furthest(probability: float) -> float:
    """Shape at which a quantile lies furthest beyond the mean."""
    return float(_SHAPES[np.argmax(_quantile(_SHAPES, probability))])


def _lower(shape: float, log_x: float) -> float:
    """Regularised lower incomplete gamma function ``P(shape, x)``: series or continued fraction (DLMF 8.11, 8.9)."""
    x = math.exp(log_x)
    front = shape * log_x - x - math.lgamma(shape)
    if x < shape + 1:
        term = total = 1 / shape
        n = shape
        while term > total * 1e-15:
            n += 1
            term *= x / n
            total += term
        return math.exp(front) * total
    b = x + 1 - shape
    c, d = 1e300, 1 / b
    h = d
    for i in range(1, 100_000):
        an = -i * (i - shape)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        step = c * d
        h *= step
        if abs(step - 1) < 1e-15:
            break
    return 1 - math.exp(front) * h
