"""Everything that a scorecard remembers, by market name, so that it outlives a restart."""

from __future__ import annotations

import copy
import zlib
from collections import Counter, deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.day_sums import DaySums
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.measures.reach import RELIABILITY_BINS
from forcedmove_server.scorecard.moves import MoveLog
from forcedmove_server.scorecard.placement import width
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.summary import Where

Bools = NDArray[np.bool_]
U64 = NDArray[np.uint64]

#: alarms, and cascades, that are remembered: the newest
MOST_CASCADES = 2000
REACH_WIDTH = RELIABILITY_BINS * 4
COVERAGE_WIDTH = 6


class MarketName(NamedTuple):
    """What a market is called: venue and instrument identify it, symbol is its underlying."""

    venue: str
    instrument: str
    symbol: str


class Tables:
    """Tables of sums by horizon; markets are numbered in the order in which they were named."""

    def __init__(self, rules: ScoringRules, maps: tuple[str, ...]) -> None:
        """``maps`` are all maps that are scored, the distance prior last."""
        self.rules, self.maps = rules, maps
        self.names: list[MarketName] = []
        self._number: dict[tuple[str, str], int] = {}
        horizons, days, rows = range(len(rules.horizons_ns)), rules.most_days, rules.most_rows
        self.moves = [MoveLog(len(maps), days, rules.most_moves_per_day, rules.seed) for _ in horizons]
        self.liquidations = [DaySums(width(len(maps)), days, rows) for _ in horizons]
        self.positions = [DaySums(width(len(maps)), days, rows) for _ in horizons]
        self.reach = [DaySums(REACH_WIDTH, days, rows) for _ in horizons]
        self.coverage = DaySums(COVERAGE_WIDTH, days, rows)
        self.alarms: deque[CascadeAlarm] = deque(maxlen=MOST_CASCADES)
        self.cascades: deque[CascadeSeen] = deque(maxlen=MOST_CASCADES)
        self.unscored: Counter[str] = Counter()
        #: time observed for cascades: first and last grid time
        self.begin_ns: int | None = None
        self.end_ns: int | None = None
        self.invariant_checks = 0
        self.worst_interest: tuple[float, str, int] | None = None
        self.worst_flow: float | None = None

    def copied(self) -> Tables:
        """Return tables that later additions to these do not change."""
        other = copy.copy(self)
        other.names, other._number = list(self.names), dict(self._number)
        other.moves = [log.copied() for log in self.moves]
        other.liquidations = [table.copied() for table in self.liquidations]
        other.positions = [table.copied() for table in self.positions]
        other.reach = [table.copied() for table in self.reach]
        other.coverage = self.coverage.copied()
        other.alarms, other.cascades = self.alarms.copy(), self.cascades.copy()
        other.unscored = self.unscored.copy()
        return other

    def number(self, name: MarketName) -> int:
        """Return a market's number, a new one for a new name."""
        found = self._number.setdefault((name.venue, name.instrument), len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found

    def hashes(self, markets: NDArray[np.int32]) -> U64:
        """Return what identifies markets whatever their numbers are: u64 ``[n]``."""
        codes = [zlib.crc32(f"{name.venue}:{name.instrument}".encode()) for name in self.names]
        return np.array(codes, np.uint64)[markets]

    def chosen(self, where: Where) -> Bools:
        """Markets that a part consists of, whatever the side: bool by number."""
        return np.array(
            [where.venue in (None, name.venue) and where.symbol in (None, name.symbol) for name in self.names],
            np.bool_,
        )
