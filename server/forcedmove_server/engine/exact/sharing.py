"""How a market is shared between what is known of it and what is inferred: integer arithmetic on lots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]


def shared(whole: I64, exact: I64) -> tuple[I64, I64]:
    """Return what exact lots leave of the ``whole`` of each side, and by how much they exceed it; all int64 ``[2]``."""
    return np.maximum(whole - exact, 0), np.maximum(exact - whole, 0)


def openings_of_the_rest(lots: U32, interest_before: int, interest: int, before: I64, rest: I64) -> U32:
    """Return the part of a market's openings that is of positions that are not known, u32 ``[J]`` as ``lots``.

    ``before`` and ``rest`` int64 ``[2]`` are what was and what is left of the open interest for those. Their growth
    opened; of turnover, which is what opened beyond the growth of all, they have their share. A step opens the same on
    both sides: the side that needs less decides, and the other is scaled up.
    """
    opened = int(lots.sum(dtype=np.int64))
    if not opened:
        return lots
    turned_over = max(opened - max(interest - interest_before, 0), 0)
    wanted = [
        max(now - then, 0) + turned_over * now // max(interest, 1)
        for then, now in zip(before.tolist(), rest.tolist(), strict=True)
    ]
    kept = min(*wanted, *rest.tolist(), opened)
    prefix = np.cumsum(lots, dtype=np.uint64) * np.uint64(kept) // np.uint64(opened)
    return np.diff(prefix, prepend=np.uint64(0)).astype(np.uint32)
