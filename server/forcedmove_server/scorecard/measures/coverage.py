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

    Arrays of one shape; ``region`` bool: the bins that count. Bins where band and truth are all zero say nothing and
    are left out. Raises InputError where ``low`` exceeds ``high`` or a value is not finite.
    """
    lower, upper, true = (np.asarray(values, np.float64) for values in (low, high, truth))
    if not (np.isfinite(lower) & np.isfinite(upper) & np.isfinite(true) & (lower <= upper)).all():
        raise InputError("band", None, "must be finite, low at most high")
    counted = np.asarray(region, np.bool_) & ((upper > 0) | (true > 0))
    below, above = counted & (true < lower), counted & (true > upper)
    inside = counted & ~below & ~above
    return np.array(
        [counted.sum(), inside.sum(), below.sum(), above.sum(), true[counted].sum(), true[inside].sum()], np.float64
    )


def coverage(sums: ArrayLike) -> Coverage:
    """Turn sums into shares."""
    bins, inside, below, above, mass, covered = np.asarray(sums, np.float64).tolist()
    if bins <= 0:
        return Coverage(0, None, None, None, None, "no band has been compared with a truth")
    of_truth = covered / mass if mass > 0 else None
    return Coverage(int(bins), inside / bins, of_truth, below / bins, above / bins)
