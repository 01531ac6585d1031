"""The cohort store: where cohorts, rules and standing totals are kept, and what happens to them over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Cohorts, Outcome, Rules, Updates
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.errors import MemoryBudgetError
from forcedmove_kernels.fixed_point import (
    LONG,
    NEAR_BITS,
    PRICE_BITS,
    SHORT,
    SPREAD_ONE,
    WEIGHT_ONE,
    cumulative_weights,
)
from forcedmove_kernels.spreads import nearest
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.freshness import FreshnessClock
from forcedmove_server.engine.remainders import Remainders
from forcedmove_server.engine.rules import LEVERAGES, empty_rules, rules_of, set_exact_rules, set_rules
from forcedmove_server.errors import ConfigError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.multipliers import Multipliers
from forcedmove_server.market.instruments import Instrument

I32 = NDArray[np.int32]

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
#: an hour that never comes
_NEVER = np.iinfo(np.int64).max
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

    Used from one thread. The arrays are in ``resident``, where the backend computes. After :meth:`refresh` its totals
    are up to date; those weighted by freshness are larger by ``clock.gain`` than it has them.
    """

    def __init__(
        self,
        backend: Backend,
        model: ModelConfig,
        max_markets: int,
        max_cohorts: int,
        bins: int,
        book: LadderBook | None = None,
        exact_rows: int = 0,
    ) -> None:
        """``book`` has the maintenance ladders; default: the shipped ones.

        Behind the rows of markets lie ``exact_rows`` for positions whose liquidation price is known, and for what they
        leave of markets.

        Raises ConfigError naming the keys to lower when the arrays would not fit into memory.
        """
        try:
            self.resident = backend.open_store(max_markets + exact_rows, max_cohorts, len(LEVERAGES), bins)
        except MemoryBudgetError as error:
            raise ConfigError("engine.max_cohorts_per_market", max_cohorts, str(error)) from error
        #: rows of markets and of exact positions together
        self.rows = max_markets + exact_rows
        #: what each known market's liquidation table was made from
        self.margins: dict[int, Multipliers] = {}
        #: a host copy of the tables
        self.rules: Rules = empty_rules(self.rows)
        self.ledger = Ledger.empty(self.rows)
        self.clock = FreshnessClock(model.freshness_step_s, model.freshness_half_life_hours * 3600)
        self._book = book
        self._typical_usd, self._tier_width = model.typical_position_usd, model.tier_width
        self._spread = round(model.level_width * SPREAD_ONE)
        self._spread_near = round(model.level_width_near * (1 << NEAR_BITS))
        self._changed = np.zeros(self.rows, bool)
        self._mark_bin = np.full(self.rows, -1, np.int64)
        self._compacted_in = np.zeros(self.rows, np.int64)
        self._compacted_in[max_markets:] = _NEVER  # entries are liquidation prices there: none is moved to another
        #: rises with whatever may have changed of a market's cohorts or its mark: int64 ``[rows]``
        self.version = np.zeros(self.rows, np.int64)
        #: what exact positions leave of their markets
        self.remainders = Remainders(self)

    @property
    def bins(self) -> int:
        """Bins of a window."""
        return self.resident.bins

    @property
    def used(self) -> I32:
        """Cohorts of each market, i32 ``[M]``."""
        return self.resident.used

    def first_bin(self, market: int) -> int:
        """First bin of a market's window."""
        return int(self.resident.first_bin[market])

    def add_market(
        self, market: int, instrument: Instrument, price_usd: float, shares: NDArray[np.float64] | None = None
    ) -> None:
        """Give a market its rules; ``shares`` float64 ``[2, T]`` replace the venue's prior."""
        self.margins[market] = set_rules(
            self.rules, market, instrument, self._typical_usd, self._tier_width, price_usd, shares, self._book
        )
        self.resident.set_rules(market, rules_of(self.rules, market))
        self.resident.set_spread(np.array([market], np.int32), self._spread, self._spread_near)
        self._changed[market] = True

    def weights(self, markets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Shares that new positions of markets are spread by: float64 ``[K, 2, T]``, each side summing to one."""
        shares: NDArray[np.float64] = np.diff(self.rules.weight[markets, :, -1].astype(np.float64)) / WEIGHT_ONE
        return shares

    def set_weights(self, market: int, shares: NDArray[np.float64]) -> None:
        """Spread a market's positions, those that are open too, by ``shares`` float64 ``[2, T]``.

        What is alive stays alive: only its split over the tiers that no price has crossed changes.
        """
        self.rules.weight[market] = cumulative_weights(shares)
        self.resident.set_rules(market, rules_of(self.rules, market))
        self._changed[market] = True
        self.remainders.follow_rules(market)

    def copy_rules(self, market: int, row: int) -> None:
        """Give another row of the store a market's rules."""
        for table in self.rules:
            table[row] = table[market]
        self.resident.set_rules(row, rules_of(self.rules, row))
        self._changed[row] = True

    def thin(self, market: int, row: int, lots: NDArray[np.int64]) -> None:
        """Put a market's cohorts, each side thinned to ``lots`` int64 ``[2]``, into another row.

        That row's ledger begins anew: what it shows has opened there.
        """
        self.resident.thin(market, row, lots.astype(np.uint64))
        for column in self._columns():
            column[row] = 0
        self.ledger.opened[row] = self.ledger.live[row] = lots
        self._changed[row] = True

    def note(self, market: int) -> None:
        """Count a market as changed with the next refresh: it is shown otherwise from then on."""
        self._changed[market] = True

    def open_exact(self, row: int, market: int) -> None:
        """Give a market a row for exact positions: what enters there at a price is liquidated at that price."""
        set_exact_rules(self.rules, row)
        self.resident.set_rules(row, rules_of(self.rules, row))
        self.resident.move_window(np.array([row], np.int32), self.first_bin(market))
        for column in self._columns():
            column[row] = 0

    def replace_exact(self, row: int, cohorts: Cohorts) -> None:
        """Put other cohorts (a store of one market) into a row of exact positions."""
        self.resident.replace(row, cohorts)
        live = cohorts.lots.sum(1, dtype=np.int64)
        more = live - self.ledger.live[row]
        self.ledger.opened[row] += np.maximum(more, 0)
        self.ledger.closed[row] += np.maximum(-more, 0)
        self.ledger.live[row] = live
        self._changed[row] = True

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
        capacity = self.resident.capacity
        full = self.used[updates.market] + openings > capacity
        for row in np.flatnonzero(due | full):
            most = min(capacity * _COMPACT_TO, capacity - int(openings[row]))
            self._compact(int(updates.market[row]), int(updates.opened_at[row]), most)
        outcome = self.resident.apply(updates)
        market = updates.market
        self.ledger.opened[market] += outcome.opened.astype(np.int64)
        self.ledger.closed[market] += outcome.closed.astype(np.int64)
        self.ledger.liquidated[market] += outcome.liquidated.astype(np.int64)
        self.ledger.overkill[market] += outcome.overkill.astype(np.int64)
        self.ledger.live[market] = outcome.live.astype(np.int64)
        moved = outcome.opened + outcome.closed + outcome.liquidated + outcome.overkill
        mark_bin = (updates.price >> np.uint32(PRICE_BITS)).astype(np.int64)
        if self._spread:  # levels are spread by their distance
            for side in (LONG, SHORT):
                self._changed[market] |= nearest(mark_bin, side) != nearest(self._mark_bin[market], side)
        self._mark_bin[market] = mark_bin
        self._changed[market] |= moved.any(1)
        self.version[market] += 1  # tiers die also where they hold no lot
        return outcome

    def coarsen(self, market: int) -> None:
        """Follow a market's lot that became ten times as large: live lots by prefix rounding, the ledger likewise."""
        cohorts = self.resident.cohorts(market)
        for side in (0, 1):
            prefix = np.cumsum(cohorts.lots[side], dtype=np.uint64) // 10
            cohorts.lots[side] = np.diff(prefix, prepend=np.uint64(0))
            self.ledger.live[market, side] = int(prefix[-1]) if len(prefix) else 0
        self.resident.replace(market, cohorts)
        for column in (self.ledger.closed, self.ledger.liquidated, self.ledger.overkill):
            column[market] //= 10
        kept = self.ledger.live[market] + self.ledger.closed[market] + self.ledger.liquidated[market]
        self.ledger.opened[market] = kept - self.ledger.overkill[market]
        self._changed[market] = True
        self.version[market] += 1

    def refresh(self, now: int) -> NDArray[np.bool_]:
        """Bring the totals up to date; return which markets changed (bool ``[M]``). ``now`` in Unix seconds.

        All markets with cohorts change when a new step of freshness begins.
        """
        self.remainders.follow()
        step = self.clock.step
        weights = self.clock.advance(now)
        if weights is not None:
            self.resident.set_freshness(weights)
        self.resident.refresh()
        changed, self._changed = self._changed, np.zeros_like(self._changed)
        if self.clock.step != step:
            changed |= self.used > 0
        return changed

    def centre(self, markets: NDArray[np.int64], price: int) -> bool:
        """Re-centre the window of a symbol's markets when ``price`` (price units) nears its edge; True if it moved."""
        centre = price >> PRICE_BITS
        have = self.resident.first_bin[markets]
        first = int(have[0])
        margin = int(self.bins * _EDGE_SHARE)
        if first + margin <= centre < first + self.bins - margin and np.all(have == first):
            return False
        low = max(centre - self.bins // 2, 0)
        if np.all(have == low):
            return False
        self.resident.move_window(markets.astype(np.int32), low)
        self._changed[markets] = True
        return True

    def _columns(self) -> tuple[NDArray[np.int64], ...]:
        ledger = self.ledger
        return ledger.opened, ledger.closed, ledger.liquidated, ledger.overkill, ledger.live

    def _compact(self, market: int, now: int, most: float) -> None:
        """Merge a market's cohorts, widening old entry buckets until at most ``most`` remain."""
        self._compacted_in[market] = now // _HOUR
        if not self.used[market]:
            return
        for ladder, shift in _ATTEMPTS:
            if self.resident.compact(market, now, ladder, shift) <= most:
                break
        self._changed[market] = True
        self.version[market] += 1
