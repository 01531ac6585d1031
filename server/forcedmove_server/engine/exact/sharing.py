"""How a side of a market is shared between what is known of it and what is inferred: integer arithmetic on lots.

``interest`` is the side's open interest when it was last observed. Of it, ``live`` lots are exact positions that are
alive, and ``crossed`` lots were exact positions that have been crossed since: both int64 ``[2]``, by side. What follows
depends on these alone, and not on how often or in which order positions were told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


def left(interest: int, crossed: I64, live: I64) -> I64:
    """Return of how many lots of the open interest nothing is known, int64 ``[2]``.

    ``left / interest`` of every inferred cohort is shown. Of one that was crossed nobody takes over the part until the
    open interest is observed without it.
    """
    kept: I64 = np.maximum(interest - crossed - live, 0)
    return kept


def excess(interest: int, crossed: I64, live: I64) -> I64:
    """Return by how many lots the exact positions that are alive exceed the open interest, int64 ``[2]``."""
    beyond: I64 = np.clip(crossed + live - interest, 0, live)
    return beyond
