"""Levels that may be off: each cell's lots spread over the distances from the mark that its level may really have."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import U64, Spread
from forcedmove_kernels.checks import check_spread
from forcedmove_kernels.fixed_point import LONG, SPREAD_BITS, SPREAD_ONE


def spread_levels(lots: U64, spread: Spread) -> U64:
    """Return rows u64 ``[R, C]``; see :meth:`forcedmove_kernels.backend.Backend.spread_levels`."""
    check_spread(lots, spread)
    found = lots.copy()
    last = lots.shape[1] - 2
    for row, side, mark, *width in zip(found, *(field.tolist() for field in spread), strict=True):
        if 1 <= mark <= last:
            outward = row[mark::-1] if side == LONG else row[mark:]
            outward[:] = spread_profile(outward.copy(), *width)
    return found


def spread_profile(profile: U64, share: int, near: int, most: int) -> U64:
    """Spread cells in the order of their distance from the mark; the last one is the outer cell and only takes."""
    outer = len(profile) - 1
    given = np.zeros(outer, np.uint64)
    for distance in np.flatnonzero(profile[:outer]).tolist():
        half = distance * distance * share // (SPREAD_ONE * max(distance + near, 1))
        half = min(half, max(most - distance, 0))
        each, rest = divmod(int(profile[distance]) << SPREAD_BITS, 2 * half + 1)
        given[distance - half : distance + half + 1] += np.uint64(each)
        given[distance] += np.uint64(rest)
    up_to = np.cumsum(given, dtype=np.uint64) >> np.uint64(SPREAD_BITS)
    beyond = profile[:outer].sum(dtype=np.uint64) - up_to[-1]
    return np.append(np.diff(up_to, prepend=np.uint64(0)), profile[outer] + beyond)
