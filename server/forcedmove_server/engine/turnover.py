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
#: a rise of more than this times the root mean square of those before waits for the next observation to confirm it
_SUSPECT = 8.0
#: share of open interest that no rise between two observations is believed to be positions: a wrong or another unit
_MOST = 0.5
#: rises that the mean square of a market fades over, as a count
_MEMORY = 256.0


class Turnover:
    """Sums per market, in model units, from lifecycle updates.

    Where positions of sizes ``q`` come and go independently (compound Poisson), squares of the rises of open interest
    add up to ``sum q^2`` over what opened, however often it is observed: the quadratic variation, of which openings
    have their half. Over the quantity opened that is the size-biased mean size of a position. Falls are left out: those
    that are forced come together. One wrong reading must not count, as squares would remember it for weeks: a rise that
    is out of all proportion counts with what the next observation leaves of it.
    """

    def __init__(self, table: MarketTable) -> None:
        self._table = table
        self._interest, self._at_s = np.full(table.capacity, -1.0), np.zeros(table.capacity, np.int64)
        self._opened, self._squares = np.zeros(table.capacity), np.zeros(table.capacity)
        self._mean_square, self._rises = np.zeros(table.capacity), np.zeros(table.capacity)
        #: rises that wait, and the open interest before them
        self._waiting, self._base = np.zeros(table.capacity), np.zeros(table.capacity)
        #: share of open interest that was there at the first observation, float64 ``[M]``
        self.stood = np.ones(table.capacity)

    def observe(self, updates: Updates) -> None:
        """Take in a lifecycle step; one that observed no open interest says nothing."""
        seen = np.flatnonzero(updates.open_interest[:, 0] != NOT_OBSERVED)
        market, now_s = updates.market[seen].astype(np.int64), updates.opened_at[seen].astype(np.int64)
        lot = self._table.lot[market]
        interest = updates.open_interest[seen].max(1) * lot
        opened = np.add.reduceat(updates.open_lots.astype(np.float64), updates.first_open[:-1])[seen] * lot
        before = self._interest[market]
        counted = (before >= 0) & (now_s - self._at_s[market] <= _LONGEST_S)
        self._opened[market] += np.where(counted, opened, 0.0)
        self._add_rises(market[counted], interest[counted], before[counted])
        self._waiting[market[~counted]] = 0.0
        new = np.minimum(opened / np.where(interest > 0, interest, 1.0), 1.0)
        self.stood[market] *= np.where(before >= 0, 1 - new, 1.0)
        self._interest[market], self._at_s[market] = interest, now_s

    def _add_rises(self, market: I64, interest: F64, before: F64) -> None:
        confirmed = np.clip(interest - self._base[market], 0.0, self._waiting[market])
        rise = np.maximum(interest - before, 0.0)
        most = _SUSPECT**2 * self._mean_square[market]
        # a first rise has nothing to be compared with
        suspect = np.where(most > 0, rise**2 > most, rise > _MOST * before)
        self._squares[market] += confirmed**2 + np.where(suspect, 0.0, rise**2)
        self._waiting[market] = np.where(suspect & (rise <= _MOST * before), rise, 0.0)
        self._base[market] = before
        self._rises[market] = np.minimum(self._rises[market] + (rise > 0), _MEMORY)
        weight = np.where(rise > 0, 1 / np.maximum(self._rises[market], 1.0), 0.0)
        usual = np.where(most > 0, np.minimum(rise**2, most), rise**2)
        self._mean_square[market] += weight * (usual - self._mean_square[market])

    def taken(self, markets: I64) -> tuple[F64, F64]:
        """Return the quantity opened and the squared rises since the last call, float64 ``[K]`` each."""
        found = self._opened[markets], self._squares[markets]
        self._opened[markets] = self._squares[markets] = 0.0
        return found
