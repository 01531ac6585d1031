"""Bits per position and per liquidated dollar: how much surer of the right bin a map is than its null.

The information gain of a forecast over a reference, ``mean log2(q / q0)`` (Good 1952, JRSS B 14, 107; ignorance score
of Roulston and Smith 2002, MWR 130, 1653). It is negative where sharp peaks stand in the wrong place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.resampling import Estimate, Resampling

F64 = NDArray[np.float64]

#: share of both map and null that is spread evenly over the scored region, so that no bin is impossible
FLOOR = 0.05


def log_gain(profile: ArrayLike, null: ArrayLike, floor: float = FLOOR) -> F64:
    """Bits that a position found in each bin is worth: ``log2(q / q0)``, float64 ``[..., n]``.

    ``profile`` and ``null`` non-negative ``[..., n]``, the bins of the scored region alone; both are scaled to one on
    it, then floored alike: ``q = (1 - floor) q + floor / n``. So a map's empty bin costs ``log2(floor / (n q0))``, -4.3
    bits on an even null, and the null against itself is exactly 0. A map with nothing in the region says nothing: it is
    taken for its null there, 0 bits.
    """
    values, base = np.asarray(profile, np.float64), np.asarray(null, np.float64)
    spread = floor / base.shape[-1]
    expected = _scaled(base, 1 / base.shape[-1])
    found = _scaled(values, expected)
    gain: F64 = np.log2(((1 - floor) * found + spread) / ((1 - floor) * expected + spread))
    return gain


def bits(
    gain: ArrayLike, side: ArrayLike, bins: ArrayLike, weight: ArrayLike, cluster: ArrayLike, resampling: Resampling
) -> Estimate:
    """Mean gain of positions, or of dollars: ``sum(weight gain[side, bin]) / sum(weight)`` with its interval.

    ``gain`` float64 ``[2, B]`` from :func:`log_gain`, NaN outside the scored region: positions there do not count.
    ``side``, ``bins`` (index into ``gain``), ``weight`` (1 for bits per position, USD for bits per dollar) and
    ``cluster`` (account or day) are ``[n]``. Raises InputError for a bin that ``gain`` does not have.
    """
    table, at = np.asarray(gain, np.float64), np.asarray(bins, np.int64)
    if at.size and (at.min() < 0 or at.max() >= table.shape[1]):
        raise InputError("bins", int(at.max()), f"must lie in 0..{table.shape[1] - 1}")
    value = table[np.asarray(side, np.int64), at]
    scored = np.isfinite(value)
    weights = np.asarray(weight, np.float64)[scored]
    return resampling.ratio(value[scored] * weights, weights, np.asarray(cluster)[scored])


def _scaled(values: F64, otherwise: F64 | float) -> F64:
    """Scale the last axis to one; rows of zeros become ``otherwise``."""
    total = values.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled: F64 = np.where(total > 0, values / total, otherwise)
    return scaled
