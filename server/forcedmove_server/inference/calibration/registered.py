"""Which market has which row, and which venue it belongs to."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError, UnknownNameError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_FIRST_ROWS = 16


class Registered:
    """Rows of markets and numbers of venues; rows are added by doubling, those without a market are free.

    ``keys`` by row, "" for a free one; ``venue`` i64 ``[rows]``; ``prior`` float64 ``[rows, 2, T]``; ``tail`` float64
    ``[rows, T]`` how much each tier belongs to the prior's tail; ``live`` and ``used`` bool ``[rows]``: not live but
    used are those delisted or not registered since a restore. ``publishes`` i64 ``[V]``: 1 all liquidations, 0 some,
    -1 none.
    """

    def __init__(self, tiers: int) -> None:
        self._tiers = tiers
        self.keys: list[str] = []
        self.row_of: dict[str, int] = {}
        self.venues: list[str] = []
        self.publishes: I64 = np.zeros(0, np.int64)
        self.venue: I64 = np.zeros(0, np.int64)
        self.prior: F64 = np.zeros((0, 2, tiers))
        self.tail: F64 = np.zeros((0, tiers))
        self.live, self.used = np.zeros(0, bool), np.zeros(0, bool)
        self._free: list[int] = []
        self._sorted: tuple[I64, I64] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are, free ones included."""
        return len(self.keys)

    @property
    def sorted_rows(self) -> I64:
        """Return the used rows by venue and key: the order of every sum, so that results hang on no other order."""
        return self._in_order()[0]

    @property
    def order(self) -> I64:
        """Return the place of each row in :attr:`sorted_rows`."""
        return self._in_order()[1]

    def venue_number(self, venue: str) -> int:
        """Return the number of a venue; :class:`UnknownNameError` if there is none."""
        if venue not in self.venues:
            raise UnknownNameError("venue", venue, sorted(self.venues))
        return self.venues.index(venue)

    def publishes_by_row(self) -> I64:
        """Return what the venue of each row publishes; nothing for free rows."""
        if not self.venues:
            return np.full(self.rows, -1, np.int64)
        found: I64 = np.where(self.used, self.publishes[self.venue], -1)
        return found

    def add_venue(self, venue: str, publishes_all: bool | None) -> int:
        """Register a venue if it is new, and return its number."""
        publishes = -1 if publishes_all is None else int(publishes_all)
        if venue not in self.venues:
            self.venues.append(venue)
            self.publishes = np.append(self.publishes, publishes)
        number = self.venues.index(venue)
        if self.publishes[number] != publishes:
            raise InputError("publishes_all", publishes_all, f"must be the same for all markets of {venue}")
        return number

    def add(self, key: str, venue: str, prior: F64, publishes_all: bool | None, tail: F64, live: bool = True) -> int:
        """Register a market, or make one that is known live again, and return its row."""
        row = self.row_of.get(key)
        if not key or (row is not None and (self.live[row] or self.venues[self.venue[row]] != venue)):
            raise InputError("key", key, "must be new, or that of a market of this venue that is not live")
        number = self.add_venue(venue, publishes_all)
        if row is None:
            row = self._free_row()
            self._sorted = None
        self.keys[row], self.row_of[key] = key, row
        self.venue[row], self.prior[row], self.tail[row] = number, prior, tail
        self.live[row], self.used[row] = live, True
        return row

    def free(self, row: int) -> None:
        """Take a row from its market."""
        del self.row_of[self.keys[row]]
        self.keys[row], self.live[row], self.used[row] = "", False, False
        heapq.heappush(self._free, row)
        self._sorted = None

    def copy(self) -> Registered:
        """Return a registry of the same rows that can be changed on its own."""
        found = Registered(self._tiers)
        for name in ("publishes", "venue", "prior", "tail", "live", "used"):
            setattr(found, name, getattr(self, name).copy())
        found.keys, found.venues, found._free = self.keys.copy(), self.venues.copy(), self._free.copy()
        found.row_of = self.row_of.copy()
        return found

    def sum_by_venue(self, values: F64) -> F64:
        """Sum values ``[rows, M]`` over the markets of each venue, in the order of their keys: ``[V, M]``."""
        found = np.zeros((len(self.venues), *values.shape[1:]))
        np.add.at(found, self.venue[self.sorted_rows], values[self.sorted_rows])
        return found

    def mean_prior(self) -> F64:
        """Return the mean of the markets' priors per venue, ``[V, 2T]``; even where a venue has no market left."""
        return self._mean(self.prior.reshape(self.rows, 2 * self._tiers), 1 / self._tiers)

    def mean_tail(self) -> F64:
        """Return the mean of the markets' memberships in the tail per venue, ``[V, T]``; zero without a market."""
        return self._mean(self.tail, 0.0)

    def _mean(self, values: F64, otherwise: float) -> F64:
        markets = np.bincount(self.venue[self.sorted_rows], minlength=len(self.venues))[:, None]
        found: F64 = np.where(markets > 0, self.sum_by_venue(values) / np.maximum(markets, 1), otherwise)
        return found

    def _free_row(self) -> int:
        if not self._free:
            old, added = self.rows, max(_FIRST_ROWS, self.rows)
            self.keys += [""] * added
            self._free = list(range(old, old + added))
            self.venue = np.concatenate([self.venue, np.zeros(added, np.int64)])
            # any prior that can be divided by
            self.prior = np.concatenate([self.prior, np.full((added, 2, self._tiers), 1 / self._tiers)])
            self.tail = np.concatenate([self.tail, np.zeros((added, self._tiers))])
            self.live = np.concatenate([self.live, np.zeros(added, bool)])
            self.used = np.concatenate([self.used, np.zeros(added, bool)])
        return heapq.heappop(self._free)

    def _in_order(self) -> tuple[I64, I64]:
        if self._sorted is None:
            rows = sorted(self.row_of.values(), key=lambda row: (self.venues[self.venue[row]], self.keys[row]))
            in_order = np.array(rows, np.int64)
            place = np.full(self.rows, self.rows, np.int64)
            place[in_order] = np.arange(len(rows))
            self._sorted = in_order, place
        return self._sorted
