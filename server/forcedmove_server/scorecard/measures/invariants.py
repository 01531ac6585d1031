"""What must be true at every time, whatever else is: conservation of open interest and of contracts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]


def interest_error(live: ArrayLike, open_interest: ArrayLike) -> F64:
    """``max over sides |live - OI| / OI`` per market: float64 ``[M]``.

    ``live`` ``[M, 2]``: live inferred quantity per side; ``open_interest`` ``[M]``. Live positions against an open
    interest of zero are an infinite error; nothing against nothing is none.
    """
    held, reported = np.asarray(live, np.float64), np.asarray(open_interest, np.float64)
    gap = np.abs(held - reported[:, None]).max(axis=1)
    error: F64 = np.divide(gap, reported, out=np.where(gap > 0, np.inf, 0.0), where=reported > 0)
    return error


def flow_error(
    opened: ArrayLike, overkill: ArrayLike, live: ArrayLike, closed: ArrayLike, liquidated: ArrayLike
) -> F64:
    """``|opened + overkill - live - closed - liquidated| / opened`` per entry, float64 of the inputs' shape.

    Everything ever opened is live, closed or liquidated; ``overkill`` is what the model had killed although open
    interest proves it alive (MODEL section 2). The error is absolute where nothing was ever opened.
    """
    into = np.asarray(opened, np.float64)
    balance = into + np.asarray(overkill) - np.asarray(live) - np.asarray(closed) - np.asarray(liquidated)
    gap = np.asarray(np.abs(balance))
    error: F64 = np.divide(gap, into, out=gap.copy(), where=into > 0)
    return error
