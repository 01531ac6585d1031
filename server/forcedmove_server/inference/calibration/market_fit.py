"""From a venue's weights to those of each market: what the market itself has shown, held to its venue.

A market's ratio of weight over prior is ``Gamma(s, s / r_others)``: around what all *other* markets of the venue say,
so that nothing is counted twice, with the variances of both levels added, ``1 / s = 1 / kappa + 1 / n_others``. Its own
counts then give ``r = r_others (s + A) / (s + c E)``, with its own capture ratio ``c`` around the venue's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.inference.calibration.settings import CalibrationSettings
from forcedmove_server.inference.calibration.venue_fit import (
    FREE_LOG_SD,
    VenueCounts,
    VenueFit,
    prior_strength,
    prior_variance,
)

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_BISECTIONS = 50
#: widest change of a capture ratio against its centre, in logarithms
_WIDEST = 8.0


@dataclass(frozen=True, slots=True)
class MarketCounts:
    """Counts of each market and what was to be expected at its prior, float64 ``[K, M]``; see :class:`VenueCounts`."""

    printed: F64
    hazard: F64
    seen: F64
    seen_expected: F64


@dataclass(frozen=True, slots=True)
class MarketFit:
    """Weights and their certainty, float64 ``[K, 2, T]``; capture ratio of prints ``[K]``.

    ``shape``: relative variance of a weight is one over it, as if the weight were a Gamma variable of that shape
    divided by the sum of its side.
    """

    weights: F64
    shape: F64
    capture: F64


def fit_markets(
    prior: F64, own: MarketCounts, venue: I64, counts: VenueCounts, fit: VenueFit, settings: CalibrationSettings
) -> MarketFit:
    """Return the weights of ``K`` markets; ``prior`` float64 ``[K, 2, T]``, ``venue`` i64 ``[K]``."""
    rows, _, tiers = prior.shape
    flat = prior.reshape(rows, 2 * tiers)
    n0 = prior_strength(counts.prior, settings)[venue]
    others = n0 + fit.interest[venue] + _rest(counts.printed, own.printed, venue) + _rest(counts.seen, own.seen, venue)
    expected = (
        fit.prior_expected[venue]
        + fit.interest_expected[venue]
        + fit.capture[venue, None] * _rest(counts.hazard, own.hazard, venue)
        + _rest(counts.seen_expected, own.seen_expected, venue)
    )
    pooled = others / expected
    strength = 1 / (1 / settings.market_counts + np.maximum(1 / others, fit.variance[venue]))
    scale = (prior * pooled.reshape(prior.shape)).sum(2, keepdims=True)
    share = pooled.reshape(prior.shape) / scale
    hazard, seen_expected = own.hazard * share.reshape(flat.shape), own.seen_expected * share.reshape(flat.shape)

    complete = counts.complete[venue]
    spread = np.where(complete, settings.market_capture_log_sd, FREE_LOG_SD)
    center = np.log(fit.capture[venue] * scale.mean((1, 2)))
    capture = np.exp(_capture(own, hazard, seen_expected, strength, center, spread))
    touched = capture[:, None] * hazard
    ratio = pooled * (strength + own.printed + own.seen) / (strength + touched + seen_expected)
    weights = within_bounds(prior, ratio.reshape(prior.shape), settings.most_change)
    variance = _log_variance(strength + own.seen, touched, spread, weights.reshape(flat.shape))
    return MarketFit(weights, (1 / variance).reshape(prior.shape), capture)


def readable(printed: F64, hazard: F64, ambiguous: F64, misplaced: float) -> F64:
    """Return how much of the counts of a venue's tiers is evidence, ``[V, M]`` in 0..1.

    What little is given wrongly to a tier comes from all prints of its side, so it is nothing to a tier that prints
    much, and everything to one that is hardly ever touched: that one would tell of the capture ratio what is not so.
    With ``m`` misplaced prints to fear, counts ``A`` are worth ``A^2 / (A + m^2)``; none are feared where no print of
    the tier could have been another's. All arguments but ``misplaced`` are float64 ``[V, M]``.
    """
    sides = (len(printed), 2, printed.shape[1] // 2)
    total = np.repeat(printed.reshape(sides).sum(2), printed.shape[1] // 2, 1)
    shared = np.where(printed > 0, ambiguous / np.where(printed > 0, printed, 1.0), 1.0)
    size = np.maximum(printed, hazard)
    feared = (misplaced * total * shared) ** 2
    found: F64 = np.where(size > 0, size / np.where(size > 0, size + feared, 1.0), 1.0)
    return found


def unseen(prior: F64, tail: F64, venue: I64, fit: VenueFit, settings: CalibrationSettings) -> MarketFit:
    """Return what is held of ``K`` markets that have shown nothing yet: the weights of their venue.

    ``tail`` float64 ``[K, T]`` as in :func:`~.venue_fit.prior_variance`, for venues that were never fitted.
    """
    weights = within_bounds(prior, fit.ratio[venue].reshape(prior.shape), settings.most_change)
    seen = fit.variance[venue]
    flat = prior.reshape(seen.shape)
    alone = np.maximum(1 / prior_strength(flat, settings), prior_variance(flat, tail, settings))
    strength = 1 / (1 / settings.market_counts + np.where(seen > 0, seen, alone))
    variance = _log_variance(strength, np.zeros_like(flat), np.ones(len(flat)), weights.reshape(flat.shape))
    return MarketFit(weights, (1 / variance).reshape(prior.shape), fit.capture[venue])


def within_bounds(prior: F64, ratio: F64, most_change: float) -> F64:
    """Return weights in proportion to ``prior x ratio`` whose own ratio to the prior stays in ``[1 / b, b]``.

    All float64 ``[K, 2, T]``; each side sums to one. The scale is found by bisection: the sum rises with it.
    """
    scale = 1 / (prior * ratio).sum(2, keepdims=True)
    found = prior * ratio * scale
    beyond = ((found > prior * most_change) | (found * most_change < prior)).any(2)
    if beyond.any():
        own, free = prior[beyond], ratio[beyond]
        low, high = 1 / (most_change * free.max(1)), most_change / free.min(1)
        for _ in range(_BISECTIONS):
            middle = np.sqrt(low * high)
            short = (own * np.clip(free * middle[:, None], 1 / most_change, most_change)).sum(1) < 1
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        found[beyond] = own * np.clip(free * np.sqrt(low * high)[:, None], 1 / most_change, most_change)
    whole: F64 = found / found.sum(2, keepdims=True)
    return whole


def _rest(total: F64, own: F64, venue: I64) -> F64:
    """What the other markets of a venue hold; sums are rounded, so it may come out just below zero."""
    found: F64 = np.maximum(total[venue] - own, 0.0)
    return found


def _capture(own: MarketCounts, hazard: F64, seen_expected: F64, strength: F64, center: F64, spread: F64) -> F64:
    """Return the logarithm of each market's capture ratio, weights integrated out (negative binomial), ``[K]``.

    The slope ``sum A - c E (s + A + X) / (s + c E + Y) - (ln c - center) / spread^2`` falls with ``c``.
    """
    counted = strength + own.printed + own.seen
    printed = own.printed.sum(1)
    low, high = center - _WIDEST, center + _WIDEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        touched = np.exp(middle)[:, None] * hazard
        slope = printed - (touched * counted / (strength + touched + seen_expected)).sum(1)
        rising = slope - (middle - center) / spread**2 > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    found: F64 = (low + high) / 2
    return found


def _log_variance(fixed: F64, touched: F64, spread: F64, weights: F64) -> F64:
    """Variance of ``ln w``, ``[K, M]``: of the ratios, the shared capture ratio unknown, each side's scale taken out.

    The information ``[[D, b], [b', sum b + 1 / spread^2]]`` with diagonal ``D`` has a closed inverse.
    """
    diagonal = fixed + touched
    along = touched / diagonal
    shared = 1 / ((touched - touched * along).sum(1, keepdims=True) + spread[:, None] ** -2.0)
    half = weights.shape[1] // 2
    found = np.empty_like(weights)
    for side in (slice(0, half), slice(half, None)):
        share = weights[:, side]
        alone, lean = 1 / diagonal[:, side], along[:, side]
        scale = (share**2 * alone).sum(1, keepdims=True)
        common = (lean - (share * lean).sum(1, keepdims=True)) ** 2
        found[:, side] = alone * (1 - 2 * share) + scale + shared * common
    return np.maximum(found, 1e-9)
