"""The cohort store: the arrays, the lifecycle applied to them by a backend, and their standing totals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Cohorts, Freshness, Outcome, Rules, Updates, Window, empty_cohorts
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import PRICE_BITS, freshness_table
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.rules import empty_rules, set_rules
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.multipliers import Multipliers
from forcedmove_server.market.instruments import Instrument

I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

_HOUR, _DAY = 3600, 86_400
#: (minimum age, time bucket) in seconds: cohorts merge into coarser time buckets as they age
AGE_LADDER = np.array(
    [
        (0, 60),
        (_HOUR // 2, _HOUR // 4),
        (3 * _HOUR, _HOUR),
        (_DAY, 6 * _HOUR),
        (4 * _DAY, _DAY),
        (14 * _DAY, 14 * _DAY),
        (90 * _DAY, 90 * _DAY),
    ],
    np.uint32,
)
#: for a market whose cohorts are all young and far apart, as in a crash
_CRUSH_LADDER = np.array([(0, _HOUR), (1, _HOUR)], np.uint32)
#: what is left when even that does not do: one cohort per pair of live tiers and widest entry bucket
_LAST_LADDER = np.array([(0, 1 << 30), (1, 1 << 30)], np.uint32)
#: share of a market's slots that a compaction should leave used at most
_COMPACT_TO = 0.6
_SHIFTS = range(9)
_ATTEMPTS = [
    *((AGE_LADDER, shift) for shift in _SHIFTS),
    *((_CRUSH_LADDER, shift) for shift in _SHIFTS),
    *((_LAST_LADDER, shift) for shift in (8, 12, 21)),
]
#: the freshness table reaches to this many half-lives, where a weight is less than half of 2**-16 ...
_HALF_LIVES = 17
#: ... but has no more entries; only a half-life of years makes its steps coarser than configured
_MOST_FRESHNESS_STEPS = 1 << 20
#: a mark this close to the window's edge (share of the bins) re-centres it
_EDGE_SHARE = 0.25


@dataclass(slots=True)
class Ledger:
    """What has happened to every market and side so far, in lots: int64 ``[M, 2]``.

    ``opened + overkill = live + closed + liquidated`` on every row.
    """

    opened: NDArray[np.int64]
    closed: NDArray[np.int64]
    liquidated: NDArray[np.int64]
    overkill: NDArray[np.int64]
    live: NDArray[np.int64]

    @classmethod
    def empty(cls, markets: int) -> Ledger:
        """Return a ledger of nothing."""
        return cls(*(np.zeros((markets, 2), np.int64) for _ in range(5)))


class CohortStore:
    """Cohorts of all markets, their rules, and the standing totals per (market, side, cell).

    Used from one thread. ``totals`` u64 ``[M, 2, C]`` are live lots; ``fresh_totals`` the same weighted by freshness.
    Both follow what changed: :meth:`refresh` rebuilds rows whose cohorts changed and adds cohorts that are new.
    """

    def __init__(
        self,
        backend: Backend,
        model: ModelConfig,
        max_markets: int,
        max_cohorts: int,
        bins: int,
        book: LadderBook | None = None,
    ) -> None:
        """``book`` has the maintenance ladders; default: the shipped ones."""
        self.backend = backend
        #: what each known market's liquidation table was made from
        self.margins: dict[int, Multipliers] = {}
        self._book = book
        self.bins = bins
        self.cohorts: Cohorts = empty_cohorts(max_cohorts, max_markets)
        self.rules: Rules = empty_rules(max_markets)
        self.window = Window(np.zeros(max_markets, np.uint32), bins)
        self.totals: U64 = np.zeros((max_markets, 2, bins + 2), np.uint64)
        self.fresh_totals: U64 = np.zeros((max_markets, 2, bins + 2), np.uint64)
        self.ledger = Ledger.empty(max_markets)
        self._capacity = max_cohorts
        self._typical_usd = model.typical_position_usd
        self._unweighted = freshness_table(1, 1, np.inf)
        half_life_s = model.freshness_half_life_hours * 3600
        reach_s = _HALF_LIVES * half_life_s
        self._step_s = max(model.freshness_step_s, int(np.ceil(reach_s / _MOST_FRESHNESS_STEPS)))
        self._freshness = freshness_table(self._step_s, int(np.ceil(reach_s / self._step_s)) + 1, half_life_s)
        self._fresh_now = -1
        self._stale = np.zeros(max_markets, bool)
        self._added_from = np.full(max_markets, -1, np.int64)
        self._compacted_in = np.zeros(max_markets, np.int64)

    def add_market(
        self, market: int, instrument: Instrument, price_usd: float, shares: NDArray[np.float64] | None = None
    ) -> None:
        """Give a market its rules; ``shares`` float64 ``[2, T]`` replace the venue's prior."""
        self.margins[market] = set_rules(
            self.rules, market, instrument, self._typical_usd, price_usd, shares, self._book
        )

    def has_market(self, market: int) -> bool:
        """Whether the market's rules are set."""
        return market in self.margins

    def apply(self, updates: Updates) -> Outcome:
        """Run one lifecycle step.

        Cohorts age by event time: a market is compacted with its first update of every hour, so that it does not matter
        how the events were cut into batches; and whenever its slots would not do.
        """
        openings = np.diff(updates.first_open)
        hour = updates.opened_at.astype(np.int64) // _HOUR
        due = hour > self._compacted_in[updates.market]
        full = self.cohorts.used[updates.market] + openings > self._capacity
        for row in np.flatnonzero(due | full):
            most = min(self._capacity * _COMPACT_TO, self._capacity - int(openings[row]))
            self._compact(int(updates.market[row]), int(updates.opened_at[row]), most)
        outcome = self.backend.apply_updates(self.cohorts, self.rules, updates)
        market = updates.market
        self.ledger.opened[market] += outcome.opened.astype(np.int64)
        self.ledger.closed[market] += outcome.closed.astype(np.int64)
        self.ledger.liquidated[market] += outcome.liquidated.astype(np.int64)
        self.ledger.overkill[market] += outcome.overkill.astype(np.int64)
        self.ledger.live[market] = outcome.live.astype(np.int64)
        self._stale[market] |= outcome.rebuild.any(1)
        untouched = self._added_from[market] < 0
        self._added_from[market[untouched]] = outcome.first_new[untouched]
        return outcome

    def coarsen(self, market: int) -> None:
        """Follow a market's lot that became ten times as large: live lots by prefix rounding, the ledger likewise."""
        begin = self.cohorts.start[market]
        slots = slice(begin, begin + self.cohorts.used[market])
        for side in (0, 1):
            prefix = np.cumsum(self.cohorts.lots[side, slots], dtype=np.uint64) // 10
            self.cohorts.lots[side, slots] = np.diff(prefix, prepend=np.uint64(0))
            self.ledger.live[market, side] = int(prefix[-1]) if len(prefix) else 0
        for column in (self.ledger.closed, self.ledger.liquidated, self.ledger.overkill):
            column[market] //= 10
        kept = self.ledger.live[market] + self.ledger.closed[market] + self.ledger.liquidated[market]
        self.ledger.opened[market] = kept - self.ledger.overkill[market]
        self._stale[market] = True

    def refresh(self, now: int) -> NDArray[np.bool_]:
        """Bring the totals up to date; return which markets changed (bool ``[M]``). ``now`` in Unix seconds."""
        changed = self._stale | (self._added_from >= 0)
        fresh_now = now - now % self._step_s
        unweighted = Freshness(self._unweighted, 1, now)
        fresh = Freshness(self._freshness, self._step_s, fresh_now)
        rebuild = np.flatnonzero(self._stale)
        added = np.flatnonzero((self._added_from >= 0) & ~self._stale).astype(np.int32)
        self._rebuild(rebuild, unweighted, self.totals)
        self._add(added, unweighted, self.totals)
        if fresh_now != self._fresh_now:
            live = np.flatnonzero(changed | (self.cohorts.used > 0))
            self._rebuild(live, fresh, self.fresh_totals)
            changed[live] = True
            self._fresh_now = fresh_now
        else:
            self._rebuild(rebuild, fresh, self.fresh_totals)
            self._add(added, fresh, self.fresh_totals)
        self._stale[:] = False
        self._added_from[:] = -1
        return changed

    def centre(self, markets: NDArray[np.int64], price: int) -> bool:
        """Re-centre the window of a symbol's markets when ``price`` (price units) nears its edge; True if it moved."""
        centre = price >> PRICE_BITS
        first = int(self.window.first_bin[markets[0]])
        margin = int(self.bins * _EDGE_SHARE)
        if first + margin <= centre < first + self.bins - margin and np.all(self.window.first_bin[markets] == first):
            return False
        low = max(centre - self.bins // 2, 0)
        if np.all(self.window.first_bin[markets] == low):
            return False
        self.window.first_bin[markets] = low
        self._stale[markets] = True
        return True

    def leverage_grid(self, markets: I32, fresh: bool, now: int, window: Window | None = None) -> U64:
        """Return the full four-axis grid of some markets: u64 ``[K, 2, T, C]`` lots."""
        if fresh:
            freshness = Freshness(self._freshness, self._step_s, now - now % self._step_s)
        else:
            freshness = Freshness(self._unweighted, 1, now)
        return self.backend.leverage_grid(self.cohorts, self.rules, window or self.window, freshness, markets)

    def _rebuild(self, markets: NDArray[np.int64], fresh: Freshness, totals: U64) -> None:
        if len(markets):
            rows = (2 * markets[:, None] + np.arange(2)).ravel().astype(np.int32)
            self.backend.standing_totals(self.cohorts, self.rules, self.window, fresh, rows, totals)

    def _add(self, markets: I32, fresh: Freshness, totals: U64) -> None:
        if len(markets):
            first = self._added_from[markets]
            self.backend.add_cohorts(self.cohorts, self.rules, self.window, fresh, markets, first, totals)

    def _compact(self, market: int, now: int, most: float) -> None:
        """Merge a market's cohorts, widening old entry buckets until at most ``most`` remain."""
        self._compacted_in[market] = now // _HOUR
        if not self.cohorts.used[market]:
            return
        for ladder, shift in _ATTEMPTS:
            if self.backend.compact(self.cohorts, market, now, ladder, shift) <= most:
                break
        self._stale[market] = True
