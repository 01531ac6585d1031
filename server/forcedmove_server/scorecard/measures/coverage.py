"""Does the truth lie inside the credible band as often as the band says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of bins whose truth lies inside the band, the same weighted by truth, and the bins it rests on.

    ``below`` and ``above`` say on which side of the band the truth lay where it was missed.
    """

    bins: int
    share: float | None
    share_of_truth: float | None
    below: float | None
    above: float | None
    reason: str | None = None


def coverage_sums(low: ArrayLike, high: ArrayLike, truth: ArrayLike, region: ArrayLike) -> F64:
    """Bins, bins covered, below, above, truth, truth covered: float64 ``[6]``, to be added over maps.

    ``region`` bool: the bins that count; the rest as in :func:`coverage_counts`.
    """
    found: F64 = coverage_counts(low, high, truth)[np.asarray(region, np.bool_)].sum(0)
    return found


def coverage_counts(low: ArrayLike, high: ArrayLike, truth: ArrayLike) -> F64:
    """Return for each bin what :func:`coverage_sums` adds up: float64 ``[.., 6]`` for arrays of one shape.

    Bins where band and truth are all zero say nothing and are left out. Raises InputError where ``low`` exceeds
    ``high`` or a value is not finite.
    """
    lower, upper, true = (np.asarray(values, np.float64) for values in (low, high, truth))
    if not (np.isfinite(lower) & np.isfinite(upper) & np.isfinite(true) & (lower <= upper)).all():
        raise InputError("band", None, "must be finite, low at most high")
    counted = (upper > 0) | (true > 0)
    below, above = counted & (true < lower), counted & (true > upper)
    inside = counted & ~below & ~above
    return np.stack([counted, inside, below, above, true * counted, true * inside], axis=-1).astype(np.float64)


def coverage(sums: ArrayLike) -> Coverage:
    """Turn sums into shares."""
    bins, inside, below, above, mass, covered = np.asarray(sums, np.float64).tolist()
    if bins <= 0:
        return Coverage(0, None, None, None, None, "no bin was touched where all liquidations are known")
    of_truth = covered / mass if mass > 0 else None
    return Coverage(int(bins), inside / bins, of_truth, below / bins, above / bins)
