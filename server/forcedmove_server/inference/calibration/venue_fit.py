"""What all markets of a venue say together of how its weights differ from the prior: one small fit per venue.

Unknown are, per side and tier, the ratio ``r`` of weight over prior; per side the logarithm ``u`` of what the tail as a
whole has gained, and the share ``b`` of what is crossed that leaves open interest; the capture ratio ``c`` of prints.
The logarithm of the posterior, with ``n0`` the prior's strength in effective counts (:func:`prior_strength`),
``q = r exp(-u g)``, ``g`` from 0 (bulk) to 1 (tail), and ``e = b r``:

    L = sum n0 (ln q - q)                                   q ~ Gamma(n0, n0): around 1, relative variance 1 / n0
      + sum A (ln r + ln c) - c r E                         prints: Poisson, A effective counts, E expected at the prior
      + sum X ln r - r Y                                    visible positions: no touching in it, so no capture ratio
      + e.h - e.G e / 2                                     open interest: normal, G and h as in ``released``
      - (ln c)^2 / 2 s^2 - (ln b)^2 / 2 s_b^2 - u^2 / 2 s_u^2

With prints alone and ``u = 0``, ``r = (n0 + A) / (n0 + c E)``: the liquidation rate divided by the touch hazard. Where
only the tail is touched, prints tell of ``c exp(u)`` alone, and the widths of both decide which of the two it is. Open
interest tells which of the tiers that were crossed it was, and nothing of those that were not: ``b`` is each side's
own, or the side on which less leaves, as others open while it closes, would be taken for the one with less leverage.
Maximised by Fisher scoring in logarithms, in which all but the part of open interest is concave, damped where a step
does not gain (Marquardt 1963, JSIAM 11, 431); the information matrix gives the uncertainty.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.inference.calibration.settings import CalibrationSettings

F64 = NDArray[np.float64]

logger = logging.getLogger(__name__)

_STEPS = 100
#: longest step of a logarithm; least and most damping, as a share of the information
_LONGEST, _DAMPING = 2.0, (1e-9, 1e9)
#: what another step may still gain, over the value
_CONVERGED = 1e-13
#: width of the logarithm of a capture ratio that is not known at all
FREE_LOG_SD = 5.0
#: where nothing else is known: leverage up to which a position belongs to the bulk, and from which on to the tail
BULK_LEVERAGE, TAIL_LEVERAGE = 5.0, 20.0
#: where a point holds what is not of a tier: tails by side, capture ratio, shares that leave by side
_OTHERS, _TAIL, _CAPTURE, _RELEASED = 5, slice(-5, -3), -3, slice(-2, None)
#: smallest capture ratios
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class VenueCounts:
    """What was counted and what was to be expected at the prior: float64 ``[V, M]``, ``M`` = 2 T.

    ``gram`` ``[V, M, M]`` and ``cross`` ``[V, M]`` are those of open interest, already multiplied by its reliability.
    ``complete`` bool ``[V]``: whether all liquidations are published. ``prior`` ``[V, M]``: the mean of the markets'
    priors, whose two halves sum to one; ``tail`` ``[V, T]``: how much each tier belongs to the prior's tail, in 0..1.
    """

    printed: F64
    hazard: F64
    seen: F64
    seen_expected: F64
    gram: F64
    cross: F64
    complete: NDArray[np.bool_]
    prior: F64
    tail: F64


@dataclass(frozen=True, slots=True)
class VenueFit:
    """Weight over prior and the variance of its logarithm ``[V, M]``, tails ``u`` ``[V, 2]``, capture ratio ``[V]``.

    ``released_capture`` ``[V, 2]`` is ``b``, ``prior_expected`` ``[V, M]`` is ``n0 exp(-u g)``. ``interest`` and
    ``interest_expected`` ``[V, M]``: open interest as counts, in the sense that at the maximum ``r`` is
    ``n0 + printed + seen + interest`` over ``prior_expected + c hazard + seen_expected + interest_expected``. ``left``
    ``[V, M]`` is the share of the first of these in their sum: how much an error of the prior still counts.
    """

    ratio: F64
    variance: F64
    tail: F64
    capture: F64
    released_capture: F64
    prior_expected: F64
    interest: F64
    interest_expected: F64
    left: F64


def prior_strength(prior: F64, settings: CalibrationSettings) -> F64:
    """Return the strength ``n0`` of a prior, float64 ``[V, M]`` like ``prior``, in effective counts.

    ``prior_counts`` per tier in the mean, dealt out as the prior deals out weight: a Dirichlet law, under which little
    is known of a tier that the prior gives next to nothing. At least ``least_prior_counts``.
    """
    tiers = prior.shape[1] // 2
    found: F64 = np.maximum(settings.prior_counts * tiers * prior, settings.least_prior_counts)
    return found


def unfitted(venues: int, width: int, settings: CalibrationSettings) -> VenueFit:
    """Return what is held of venues that were never fitted: the prior, whose variance is each market's own.

    A variance of 0 says so; see :func:`prior_variance`.
    """
    ones, nothing = np.ones((venues, width)), np.zeros((venues, width))
    return VenueFit(
        ones,
        nothing.copy(),
        np.zeros((venues, 2)),
        np.ones(venues),
        np.ones((venues, 2)),
        ones * settings.prior_counts,
        nothing,
        nothing.copy(),
        ones.copy(),
    )


def prior_variance(prior: F64, tail: F64, settings: CalibrationSettings) -> F64:
    """Return the variance of ``ln w`` without evidence, float64 ``[K, M]``, the common scale of a side taken out.

    ``prior`` ``[K, M]``, ``tail`` ``[K, T]``. What a fit to no evidence gives: ``1 / n0`` of each tier, and that of the
    tail as a whole.
    """
    tiers = tail.shape[1]
    alone = (1 / prior_strength(prior, settings)).reshape(-1, 2, tiers)
    share, loading = prior.reshape(-1, 2, tiers), tail[:, None, :]
    together = settings.tail_log_sd**2 * (loading - (share * loading).sum(2, keepdims=True)) ** 2
    found: F64 = alone * (1 - 2 * share) + (share**2 * alone).sum(2, keepdims=True) + together
    return found.reshape(prior.shape)


def usual_tail(leverages: F64) -> F64:
    """How much each tier belongs to the tail, in 0..1: rises with the logarithm of leverage from 5x to 20x."""
    found: F64 = np.clip(np.log(leverages / BULK_LEVERAGE) / np.log(TAIL_LEVERAGE / BULK_LEVERAGE), 0.0, 1.0)
    return found


def fit_venues(counts: VenueCounts, settings: CalibrationSettings, start: VenueFit) -> VenueFit:
    """Return the maximum of the posterior of each venue, from ``start`` on."""
    model = _Posterior(counts, settings)
    point = np.concatenate(
        [
            np.log(start.ratio),
            start.tail,
            np.log(np.maximum(start.capture, _FLOOR))[:, None],
            np.log(np.maximum(start.released_capture, _FLOOR)),
        ],
        1,
    )
    value, own = model.value(point), np.arange(point.shape[1])
    damping, settled = np.full(len(value), _DAMPING[0]), np.zeros(len(value), bool)
    for _ in range(_STEPS):
        gradient, information, unexpected = model.slope(point)
        information[:, own, own] += unexpected
        information[:, own, own] *= 1 + damping[:, None]
        step = np.clip(np.linalg.solve(information, gradient[:, :, None])[:, :, 0], -_LONGEST, _LONGEST)
        settled |= (gradient * step).sum(1) * (1 + damping) <= _CONVERGED * (1 + np.abs(value))
        if settled.all():
            break
        trial = np.where(settled[:, None], point, point + step)
        found = model.value(trial)
        better = found >= value
        point, value = np.where(better[:, None], trial, point), np.where(better, found, value)
        damping = np.clip(np.where(better, damping / 10, damping * 10), *_DAMPING)
    if not settled.all():
        logger.warning("weights of %d venues were not fitted to the end in %d steps", (~settled).sum(), _STEPS)
    return model.fit(point)


class _Posterior:
    """The posterior of all venues at once; a point is ``[ln r (M), u (2), ln c, ln b (2)]`` per venue."""

    def __init__(self, counts: VenueCounts, settings: CalibrationSettings) -> None:
        self._counts, self._strength = counts, prior_strength(counts.prior, settings)
        self._width = counts.prior.shape[1]
        #: ``[V, 2, M]``: ``g`` of each side's tiers
        self._loading = np.kron(np.eye(2), counts.tail[:, None, :])
        #: ``[M, 2]``: which side a tier is of
        self._sides = np.kron(np.eye(2), np.ones((self._width // 2, 1)))
        self._tail_precision = settings.tail_log_sd**-2.0
        self._capture_precision = np.where(counts.complete, settings.capture_log_sd, FREE_LOG_SD) ** -2.0

    def value(self, point: F64) -> F64:
        """Return the logarithm of the posterior, float64 ``[V]``."""
        data, n0 = self._counts, self._strength
        log_ratio, tail, log_capture, log_released = self._parts(point)
        ratio, capture = np.exp(log_ratio), np.exp(log_capture)
        leaving = ratio * self._by_tier(np.exp(log_released))
        own = log_ratio - self._raised(tail)
        found: F64 = (
            (n0 * (own - np.exp(own))).sum(1)
            + ((data.printed + data.seen) * log_ratio).sum(1)
            - ((capture[:, None] * data.hazard + data.seen_expected) * ratio).sum(1)
            + data.printed.sum(1) * log_capture
            + (leaving * data.cross).sum(1)
            - 0.5 * (leaving * _times(data.gram, leaving)).sum(1)
            - 0.5 * self._tail_precision * (tail**2).sum(1)
            - 0.5 * self._capture_precision * log_capture**2
            - 0.5 * FREE_LOG_SD**-2.0 * (log_released**2).sum(1)
        )
        return found

    def slope(self, point: F64) -> tuple[F64, F64, F64]:
        """Return the gradient ``[V, M + 5]``, the expected information ``[V, M + 5, M + 5]``, what its diagonal lacks.

        Open interest that speaks against what is crossed bends the posterior more than is to be expected.
        """
        data, n0, width = self._counts, self._strength, self._width
        log_ratio, tail, log_capture, log_released = self._parts(point)
        ratio, capture = np.exp(log_ratio), np.exp(log_capture)[:, None]
        leaving = ratio * self._by_tier(np.exp(log_released))
        held = n0 * np.exp(log_ratio - self._raised(tail))
        printed = capture * data.hazard * ratio
        together = leaving[:, :, None] * leaving[:, None, :] * data.gram
        pull = leaving * data.cross - together.sum(2)
        gradient = np.empty_like(point)
        gradient[:, :width] = n0 - held + data.printed + data.seen - printed - data.seen_expected * ratio + pull
        gradient[:, _TAIL] = np.einsum("vm,vsm->vs", held - n0, self._loading) - self._tail_precision * tail
        gradient[:, _CAPTURE] = (data.printed - printed).sum(1) - self._capture_precision * log_capture
        gradient[:, _RELEASED] = pull @ self._sides - FREE_LOG_SD**-2.0 * log_released
        information = np.zeros((len(point), width + _OTHERS, width + _OTHERS))
        information[:, :width, :width] = together
        own = np.arange(width)
        information[:, own, own] += held + data.seen_expected * ratio + printed
        leaning = held[:, :, None] * np.swapaxes(self._loading, 1, 2)
        information[:, :width, _TAIL] = -leaning
        information[:, _TAIL, :width] = -np.swapaxes(leaning, 1, 2)
        information[:, _TAIL, _TAIL] = self._loading @ leaning + self._tail_precision * np.eye(2)
        information[:, :width, _CAPTURE] = information[:, _CAPTURE, :width] = printed
        information[:, _CAPTURE, _CAPTURE] = printed.sum(1) + self._capture_precision
        crossed = together @ self._sides
        information[:, :width, _RELEASED] = crossed
        information[:, _RELEASED, :width] = np.swapaxes(crossed, 1, 2)
        information[:, _RELEASED, _RELEASED] = self._sides.T @ crossed + FREE_LOG_SD**-2.0 * np.eye(2)
        unexpected = np.zeros_like(point)
        unexpected[:, :width] = np.maximum(-pull, 0.0)
        unexpected[:, _RELEASED] = np.maximum(-pull @ self._sides, 0.0)
        return gradient, information, unexpected

    def fit(self, point: F64) -> VenueFit:
        """Return what a point says; the variance is that of ``ln w``, the common scale of a side taken out."""
        data, width = self._counts, self._width
        log_ratio, tail, log_capture, log_released = self._parts(point)
        ratio, released = np.exp(log_ratio), np.exp(log_released)
        leaving = ratio * self._by_tier(released)
        covariance = np.linalg.inv(self.slope(point)[1])[:, :width, :width]
        share = (data.prior * ratio).reshape(len(point), 2, width // 2)
        scale = share.sum(2, keepdims=True)
        share = (share / scale).reshape(len(point), width)
        half = np.arange(width) >= width // 2
        centred = np.eye(width) - share[:, None, :] * (half[:, None] == half[None, :])
        variance = np.einsum("vtu,vuw,vtw->vt", centred, covariance, centred)
        counts = leaving**2 * np.einsum("vtt->vt", data.gram)
        pull = leaving * (data.cross - _times(data.gram, leaving))
        capture = np.exp(log_capture)
        held = self._strength * np.exp(-self._raised(tail))
        interest = (counts + np.maximum(-pull, 0.0)) / ratio
        against = held + capture[:, None] * data.hazard + data.seen_expected + interest
        return VenueFit(
            ratio,
            variance,
            tail,
            capture,
            released,
            held,
            counts + np.maximum(pull, 0.0),
            interest,
            held / against,
        )

    def _raised(self, tail: F64) -> F64:
        """Return ``u g`` of every tier, ``[V, M]``."""
        found: F64 = np.einsum("vs,vsm->vm", tail, self._loading)
        return found

    def _parts(self, point: F64) -> tuple[F64, F64, F64, F64]:
        return point[:, : self._width], point[:, _TAIL], point[:, _CAPTURE], point[:, _RELEASED]

    def _by_tier(self, by_side: F64) -> F64:
        """Repeat ``[V, 2]`` over the tiers of each side, ``[V, M]``."""
        found: F64 = by_side @ self._sides.T
        return found


def _times(gram: F64, ratio: F64) -> F64:
    found: F64 = (gram @ ratio[:, :, None])[:, :, 0]
    return found
