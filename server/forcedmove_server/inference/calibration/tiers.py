"""Which leverage tier a position belongs to whose leverage, or whose liquidation price, is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def tiers_of_leverage(leverages: F64, leverage: F64, offered: int | None = None) -> I64:
    """Return the tier of each effective leverage, i64 ``[P]``.

    ``leverages`` float64 ``[T]`` ascending; a tier stands for what lies between the geometric means with its
    neighbours, as in the prior. ``offered``: how many tiers the market offers (default: all); nothing lies above.
    """
    own = leverages[:offered]
    found: I64 = np.searchsorted(np.sqrt(own[:-1] * own[1:]), leverage, "right").astype(np.int64)
    return found


def tiers_of_prices(ratio: F64, side: I64, entry: F64, liquidation: F64) -> I64:
    """Return the tier of each position by its entry and its liquidation price, i64 ``[P]``.

    ``ratio`` float64 ``[2, T]`` is liquidation price over entry price of each side and offered tier. A tier's reach is
    bounded by the geometric means of its distance ``|ln ratio|`` with those of its neighbours. Raises
    :class:`InputError` for a liquidation price beyond the entry, as a position has whose gain was taken out.
    """
    distance = np.log(liquidation / entry) * np.where(side == 0, -1.0, 1.0)
    if not (distance > 0).all():
        raise InputError("liquidation", float(liquidation[distance <= 0][0]), "must be where the position loses")
    own = np.abs(np.log(ratio))
    edges = np.sqrt(own[:, :-1] * own[:, 1:])
    found: I64 = (distance[:, None] < edges[side]).sum(1).astype(np.int64)
    return found
