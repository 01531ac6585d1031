"""Sums by day, market, side and cluster: what every score but the released open interest is made of."""

from __future__ import annotations

import copy
from itertools import islice

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: columns of a key
DAY, MARKET, SIDE, CLUSTER = range(4)


class DaySums:
    """A table that is only added to: keys i64 ``[n, 4]``, sums float64 ``[n, width]``.

    At most ``most_days`` days and about ``most_rows`` rows are kept; whole days go, the oldest first, and the newest
    day always stays.
    """

    def __init__(self, width: int, most_days: int, most_rows: int) -> None:
        self.width = width
        self._most_days, self._most_rows = most_days, most_rows
        self._row_of: dict[tuple[int, int, int, int], int] = {}
        self._rows_of_day: dict[int, int] = {}
        self._sums = np.zeros((16, width))
        #: rows that were dropped
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._row_of)

    def add(self, keys: I64, sums: F64) -> None:
        """Add ``sums`` ``[n, width]`` to the rows of ``keys`` ``[n, 4]``; a key may come more than once."""
        if not len(keys):
            return
        row_of, before = self._row_of, len(self._row_of)
        index = [row_of.setdefault((day, market, side, c), len(row_of)) for day, market, side, c in keys.tolist()]
        for day, _, _, _ in islice(row_of, before, None):
            self._rows_of_day[day] = self._rows_of_day.get(day, 0) + 1
        if len(row_of) > len(self._sums):
            grown = np.zeros((max(len(row_of), 2 * len(self._sums)), self.width))
            grown[: len(self._sums)] = self._sums
            self._sums = grown
        np.add.at(self._sums, index, sums)
        self._forget()

    def copied(self) -> DaySums:
        """Return a table that later additions to this one do not change."""
        other = copy.copy(self)
        other._row_of, other._rows_of_day = dict(self._row_of), dict(self._rows_of_day)
        other._sums = self._sums.copy()
        return other

    def rows(self) -> tuple[I64, F64]:
        """Return keys and sums, sorted by key."""
        keys = np.array(list(self._row_of), np.int64).reshape(-1, 4)
        order = np.lexsort(keys.T[::-1])
        return keys[order], self._sums[: len(keys)][order]

    def _forget(self) -> None:
        held, first = len(self._row_of), min(self._rows_of_day)
        for day in sorted(self._rows_of_day)[:-1]:
            if len(self._rows_of_day) <= self._most_days and held <= self._most_rows:
                break
            held -= self._rows_of_day.pop(day)
            first = day + 1
        if held == len(self._row_of):
            return
        keys, sums = self.rows()
        kept = keys[:, DAY] >= first
        self.forgotten += int((~kept).sum())
        self._row_of = {(day, market, side, c): row for row, (day, market, side, c) in enumerate(keys[kept].tolist())}
        self._sums = np.concatenate([sums[kept], np.zeros((16, self.width))])
