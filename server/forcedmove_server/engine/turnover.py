"""What open interest tells of the positions that make it: how large those are that open, and how many are old."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_server.inference.markets import MarketTable

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: seconds between two observations above which a rise says nothing of how many positions made it
_LONGEST_S = 600


class Turnover:
    """Sums per market, in model units, from lifecycle updates.

    Where positions of sizes ``q`` come and go independently (compound Poisson), squares of the rises of open interest
    add up to ``sum q^2`` over what opened, however often it is observed: the quadratic variation, of which openings
    have their half. Over the quantity opened that is the size-biased mean size of a position. Falls are left out: those
    that are forced come together.
    """

    def __init__(self, table: MarketTable) -> None:
        self._table = table
        self._interest, self._at_s = np.full(table.capacity, -1.0), np.zeros(table.capacity, np.int64)
        self._opened, self._squares = np.zeros(table.capacity), np.zeros(table.capacity)
        #: share of open interest that was there at the first observation, float64 ``[M]``
        self.stood = np.ones(table.capacity)

    def observe(self, updates: Updates) -> None:
        """Take in a lifecycle step; one that observed no open interest says nothing."""
        seen = np.flatnonzero(updates.open_interest[:, 0] != NOT_OBSERVED)
        market, now_s = updates.market[seen], updates.opened_at[seen].astype(np.int64)
        lot = self._table.lot[market]
        # of the side of which less is known otherwise
        interest = updates.open_interest[seen].max(1) * lot
        opened = np.add.reduceat(updates.open_lots.astype(np.float64), updates.first_open[:-1])[seen] * lot
        before = self._interest[market]
        counted = (before >= 0) & (now_s - self._at_s[market] <= _LONGEST_S)
        self._opened[market] += np.where(counted, opened, 0.0)
        self._squares[market] += np.where(counted, np.maximum(interest - before, 0.0) ** 2, 0.0)
        new = np.minimum(opened / np.where(interest > 0, interest, 1.0), 1.0)
        self.stood[market] *= np.where(before >= 0, 1 - new, 1.0)
        self._interest[market], self._at_s[market] = interest, now_s

    def taken(self, markets: I64) -> tuple[F64, F64]:
        """Return the quantity opened and the squared rises since the last call, float64 ``[K]`` each."""
        found = self._opened[markets], self._squares[markets]
        self._opened[markets] = self._squares[markets] = 0.0
        return found
