"""The depth that chains of many shocks meet, each around its own: :func:`~forcedmove_server.engine.depth.
depth_after_shock` for a side by position, to the cent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.depth import DEEPEST_CENTS
from forcedmove_server.engine.scan.books import Outward

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


def depths_after_shocks(side: Outward, shocks_usd: F64) -> U64:
    """Return depth in cents by shock and position, u64 ``[S, L]``, for shocks float64 ``[S]`` in USD.

    Every operation is that of ``depth_after_shock`` in its order, so that the cents are the same.
    """
    law, mark = side.book.law, side.book.mark_usd
    away = np.subtract(side.edges[None], shocks_usd[:, None])
    if side.sign < 0:
        np.negative(away, out=away)
    np.maximum(away, 0, out=away)
    away /= mark
    away *= away
    usd = away[:, 1:] - away[:, :-1]
    usd *= law.volume_day_usd
    usd /= (law.y * law.sigma_day) ** 2
    usd *= side.unseen
    usd += side.visible
    usd *= side.left
    usd *= 100
    np.minimum(usd, DEEPEST_CENTS, out=usd)
    np.floor(usd, out=usd)
    return usd.astype(np.uint64)


def kernel_rows(fires: U64, depth: U64) -> tuple[U64, U64]:
    """Return notional and depth u64 ``[S, L + 1]`` as kernels take them: an empty cell for the mark, then positions.

    Every shock leads upwards from that cell, so that one into the mark's own cell has a direction too.
    """
    notional, rests = np.zeros((2, len(depth), len(fires) + 1), np.uint64)
    notional[:, 1:], rests[:, 1:] = fires, depth
    return notional, rests
