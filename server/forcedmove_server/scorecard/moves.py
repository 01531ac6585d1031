"""Moves that have come due, kept within bounds: the newest days, and of each day a uniform sample."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.released import move_dtype

U64 = NDArray[np.uint64]

_DAY_NS = 86_400 * 10**9


class MoveLog:
    """At most ``most_per_day`` moves of each of the newest ``most_days`` UTC days.

    Which moves of a crowded day stay is decided by a hash of seed, market and time: the smallest hashes. That is a
    uniform sample without replacement (bottom-k sampling, Cohen and Kaplan 2007), and the same one in whatever order
    moves arrive.
    """

    def __init__(self, maps: int, most_days: int, most_per_day: int, seed: int) -> None:
        self.dtype = move_dtype(maps)
        self._most_days, self._most_per_day, self._seed = most_days, most_per_day, seed
        self._days: dict[int, tuple[Records, U64]] = {}
        #: moves that were seen but not kept
        self.forgotten = 0

    def add(self, moves: Records, market_hash: U64) -> None:
        """Add moves; ``market_hash`` u64 ``[n]`` identifies each one's market across restarts."""
        day = moves["at_ns"] // _DAY_NS
        hashes = _mixed(market_hash ^ _mixed(moves["at_ns"].astype(np.uint64) + np.uint64(self._seed)))
        for number in np.unique(day).tolist():
            new = day == number
            kept, kept_hashes = self._days.get(number, (moves[:0], hashes[:0]))
            rows, ranked = np.concatenate([kept, moves[new]]), np.concatenate([kept_hashes, hashes[new]])
            if len(rows) > self._most_per_day:
                stay = np.argsort(ranked, kind="stable")[: self._most_per_day]
                self.forgotten += len(rows) - len(stay)
                rows, ranked = rows[stay], ranked[stay]
            self._days[number] = rows, ranked
        for number in sorted(self._days)[: -self._most_days]:
            self.forgotten += len(self._days.pop(number)[0])

    def copied(self) -> MoveLog:
        """Return a log that later additions to this one do not change."""
        other = copy.copy(self)
        other._days = dict(self._days)  # its arrays are never written to, only replaced
        return other

    def moves(self) -> Records:
        """Return all kept moves, oldest day first."""
        return np.concatenate([np.empty(0, self.dtype), *(self._days[day][0] for day in sorted(self._days))])

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self._days.values())


def _mixed(values: U64) -> U64:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): bits as good as random."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: U64 = x ^ (x >> np.uint64(31))
    return mixed
