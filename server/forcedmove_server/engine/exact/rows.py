"""Exact positions in the cohort store: one more row per market, whose cohorts' entries are their liquidation prices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Cohorts, Updates, Window, no_trigger
from forcedmove_kernels.fixed_point import MAX_LOTS, MAX_PRICE_UNITS, PRICE_BITS
from forcedmove_server.engine.exact.sharing import excess, left
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.errors import LimitError
from forcedmove_server.inference.calibration import tiers_of_leverage, tiers_of_prices
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import ExactPosition, PositionKey, PositionState

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_LOG = logging.getLogger(__name__)


@lru_cache(4_096)
def _tier_of_leverage(leverage: float, offered: int) -> int:
    return int(tiers_of_leverage(LEVERAGES, np.array([leverage]), offered)[0])


@dataclass(slots=True, eq=False)
class Held:
    """A position that somebody told of. What follows from its market is filled in when that is ready.

    ``trigger`` is the liquidation price in price units, ``quantity`` in model units. ``producer`` is who told of it.
    """

    position: ExactPosition
    opened_at_s: int
    representative: bool
    producer: str
    state: PositionState = PositionState.WAITING
    quantity: float = 0.0
    trigger: int = 0
    lots: int = 0
    tier: int = 0


@dataclass(slots=True)
class MarketChange:
    """Positions that leave a market, and that come to it."""

    leaving: list[Held] = field(default_factory=list)
    coming: list[Held] = field(default_factory=list)


@dataclass(slots=True)
class ExactRow:
    """The exact positions of one market: ``index`` is its row in the store, arrays ``[P]`` are those of ``held``.

    ``members`` are the same, a dict for its order, and ``side_lots`` their lots by side: both are ahead of the rest
    from a change until :meth:`fill`. ``interest`` is the open interest last observed; ``dead`` are those crossed since,
    by who told of them and as what, which are still part of it.
    """

    index: int
    interest: int
    members: dict[Held, None] = field(default_factory=dict)
    side_lots: list[int] = field(default_factory=lambda: [0, 0])
    dead: dict[tuple[str, PositionKey], Held] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    side: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    trigger: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    lots: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def live(self) -> I64:
        """Lots of both sides, int64 ``[2]``."""
        return np.array([self.lots[self.side == side].sum() for side in (0, 1)], np.int64)

    @property
    def crossed(self) -> I64:
        """Lots crossed since the open interest was observed, int64 ``[2]``."""
        found = np.zeros(2, np.int64)
        for one in self.dead.values():
            found[one.position.key.side] += one.lots
        return found

    @property
    def excess(self) -> I64:
        """Lots by which they exceed the open interest of their side, int64 ``[2]``."""
        return excess(self.interest, self.crossed, self.live)

    @property
    def is_over(self) -> bool:
        """Whether nothing is known of the market's open interest any more."""
        return not self.members and not self.dead

    def change(self, change: MarketChange) -> None:
        """Let positions leave and come; :meth:`fill` is to follow."""
        for one in change.leaving:
            del self.members[one]
            self.side_lots[one.position.key.side] -= one.lots
        for one in change.coming:
            self.members[one] = None
            self.side_lots[one.position.key.side] += one.lots
            one.state = PositionState.LIVE
            # who is told again has not left: its lots are live, and no longer crossed
            self.dead.pop((one.producer, one.position.key), None)

    def fill(self) -> None:
        """Bring the columns up to date with the members."""
        self.held = sorted(self.members, key=lambda one: one.opened_at_s)
        self.side = np.array([one.position.key.side for one in self.held], np.int64)
        self.trigger = np.array([one.trigger for one in self.held], np.int64)
        self.lots = np.array([one.lots for one in self.held], np.int64)
        self.side_lots = self.live.tolist()

    def sweep(self, low: int, high: int) -> list[Held]:
        """Let go of the positions whose price lies within reach of trigger prices ``low .. high``; return them."""
        crossed = np.where(self.side == 0, self.trigger >= low, self.trigger <= high)
        if not crossed.any():
            return []
        dead = [self.held[k] for k in np.flatnonzero(crossed).tolist()]
        for one in dead:
            del self.members[one]
            one.state = PositionState.CROSSED
            self.dead[one.producer, one.position.key] = one
        self.fill()
        return dead

    def cohorts(self) -> Cohorts:
        """Return them as cohorts: one slot each, alive on its own side only, up to the tier that it belongs to."""
        count = len(self.held)
        lots, live = np.zeros((2, count), np.uint32), np.zeros((2, count), np.uint8)
        lots[self.side, np.arange(count)] = self.lots
        live[self.side, np.arange(count)] = [one.tier + 1 for one in self.held]
        return Cohorts(
            start=np.array([0, count], np.int64),
            used=np.array([count], np.int32),
            entry=self.trigger.astype(np.uint32),
            opened_at=np.array([one.opened_at_s for one in self.held], np.int64).astype(np.uint32),
            lots=lots,
            live_tiers=live,
        )


class ExactRows:
    """The rows of all markets that have exact positions. Belongs to the thread of the store."""

    def __init__(self, store: CohortStore, table: MarketTable, registry: InstrumentRegistry) -> None:
        self._store, self._table, self._registry = store, table, registry
        #: of every market one row for its exact positions, and one, so much further, for what they leave
        self._room = (store.rows - table.capacity) // 2
        self._free = list(range(table.capacity + self._room - 1, table.capacity - 1, -1))
        self.by_market: dict[int, ExactRow] = {}
        #: what was crossed of each market by its last open interest, of both sides, float64 ``[M]`` in model units
        self.crossed_quantity = np.zeros(table.capacity)
        #: positions that were crossed since somebody looked
        self.crossed: list[Held] = []
        self._told_excess: set[int] = set()
        #: markets whose rows are behind their members, in the order in which they changed
        self._changed: dict[int, None] = {}

    def __bool__(self) -> bool:
        return bool(self.by_market)

    def is_ready(self, market: int) -> bool:
        """Whether positions of a market can be in the map: it has a price, an open interest, and rules."""
        table = self._table
        if market >= table.capacity:
            return False
        known = table.price[market] > 0 and table.open_interest[market] >= 0 and table.lot[market] > 0
        return bool(known) and self._store.has_market(market)

    def shown(self, markets: Iterable[int]) -> list[int]:
        """Return the rows of the store that show what is inferred of markets, less what is known of them."""
        return [self._store.remainders.shown(market) for market in markets]

    def known(self, markets: Iterable[int]) -> list[int]:
        """Return the rows of the store that hold exact positions of markets, of those that have any."""
        return [self.by_market[market].index for market in markets if market in self.by_market]

    def owners(self, rows: I64) -> I64:
        """Return whose rows of the store ``rows`` int64 ``[K]`` are: markets for theirs and for what is left of theirs.

        Rows of exact positions stay what they are.
        """
        found = rows.copy()
        for market in self.by_market:
            found[rows == self._store.remainders.shown(market)] = market
        return found

    def live(self, markets: Sequence[int]) -> I64:
        """Exact lots of markets by side, int64 ``[K, 2]``."""
        return self._by_side(markets, lambda row: row.live)

    def whole(self, markets: Sequence[int]) -> I64:
        """Lots of markets by side, inferred and exact together, int64 ``[K, 2]``."""
        inferred = [self._store.remainders.lots(market) for market in markets]
        return np.array(inferred, np.int64).reshape(-1, 2) + self.live(markets)

    def excess(self, markets: Sequence[int]) -> I64:
        """Lots by which the exact positions of markets exceed their open interest, int64 ``[K, 2]``."""
        return self._by_side(markets, lambda row: row.excess)

    def levels(self, markets: I64, window: Window) -> U64:
        """Exact lots of ``K`` markets by liquidation price, u64 ``[K, 2, B]``, in windows of their own."""
        found = np.zeros((len(markets), 2, window.bins), np.uint64)
        known = [k for k, market in enumerate(markets.tolist()) if market in self.by_market]
        if known:
            rows = np.array(self.known(markets.tolist()), np.int32)
            their = Window(window.first_bin[known], window.bins)
            grid = self._store.resident.leverage_grid(rows, weighted=False, window=their)
            found[known] = grid[..., 1:-1].sum(2, dtype=np.uint64)
        return found

    def held(self, market: int) -> list[Held]:
        """Return the positions that are alive in a market."""
        row = self.by_market.get(market)
        return list(row.members) if row is not None else []

    def place(self, market: int, held: Held) -> bool:
        """Fill in what follows from a market that is ready; False where the mark has passed the liquidation price."""
        position, table = held.position, self._table
        side, width, mark = position.key.side, float(table.bin_width[market]), int(table.price[market])
        if position.liquidation_price_usd is None:
            held.trigger = no_trigger(side)
        else:
            units = min(position.liquidation_price_usd * (1 << PRICE_BITS) / width, MAX_PRICE_UNITS)
            held.trigger = max(round(units), 1)
        if position.quantity is not None:
            held.quantity = position.quantity
        elif position.notional_usd is not None:
            per_unit = 1.0 if table.inverse[market] else mark * width / (1 << PRICE_BITS)
            held.quantity = position.notional_usd / per_unit
        held.lots = round(min(held.quantity / float(table.lot[market]), float(MAX_LOTS)))
        held.tier = self._tier(market, position)
        return held.trigger < mark if side == 0 else held.trigger > mark

    def check_room(self, changes: Mapping[int, MarketChange]) -> None:
        """Raise LimitError where markets cannot have what is to come, saying which limit that is."""
        new = sum(1 for market, change in changes.items() if change.coming and market not in self.by_market)
        if new > len(self._free):
            raise LimitError(
                f"exact positions of more than {len(self.by_market) + len(self._free)} markets: raise exact.max_markets"
            )
        most = self._store.resident.capacity - 1  # a step needs one slot for what it opens
        for market, change in changes.items():
            key, row = self._registry[market].key, self.by_market.get(market)
            count = len(row.members) if row is not None else 0
            if count - len(change.leaving) + len(change.coming) > most:
                raise LimitError(f"{key}: at most {most} exact positions; raise engine.max_cohorts_per_market")
            lots = list(row.side_lots) if row is not None else [0, 0]
            for sign, some in ((-1, change.leaving), (1, change.coming)):
                for one in some:
                    lots[one.position.key.side] += sign * one.lots
            if max(lots) >= MAX_LOTS:
                raise LimitError(f"{key}: the exact positions of one side are more than a market can hold")

    def change(self, changes: Mapping[int, MarketChange]) -> None:
        """Let positions leave and come; :meth:`fill` is to follow before anybody reads the store.

        To be called after a sweep, with what :meth:`check_room` let through.
        """
        for market, change in changes.items():
            if market not in self.by_market:
                index = self._free.pop()
                self._store.open_exact(index, market)
                self._store.remainders.open(market, index + self._room)
                self.by_market[market] = ExactRow(index, int(self._table.open_interest[market]))
            self.by_market[market].change(change)
            self._changed[market] = None

    def fill(self) -> None:
        """Bring the store up to date, once however many changes there were, and show what they leave of the inferred.

        Cohorts are not touched. Rows of markets of which nothing is known any more are free again.
        """
        for market in self._changed:
            row = self.by_market[market]
            row.fill()
            self._store.replace_exact(row.index, row.cohorts())
            self._share(market, row)
        self._changed.clear()
        for market in [market for market, row in self.by_market.items() if row.is_over]:
            self._free.append(self.by_market.pop(market).index)
            self._store.remainders.close(market)

    def apply(self, updates: Updates) -> None:
        """Run one lifecycle step of some markets on the store, with their exact positions."""
        self._store.apply(self._with_exact_rows(updates) if self.by_market else updates)

    def coarsen(self, market: int) -> None:
        """Follow a market's lot that became ten times as large."""
        row = self.by_market.get(market)
        if row is None:
            return
        for one in (*row.held, *row.dead.values()):
            one.lots = round(one.quantity / float(self._table.lot[market]))
        row.fill()
        row.interest //= 10
        self._store.coarsen(row.index)
        self._store.replace_exact(row.index, row.cohorts())
        self._share(market, row)

    def visible(self) -> tuple[I64, I64, NDArray[np.float64], I64]:
        """Return market, side, quantity in lots and tier of the positions that stand for others, arrays ``[P]``."""
        seen = [
            (market, one.position.key.side, one.lots, one.tier)
            for market, row in self.by_market.items()
            for one in row.held
            if one.representative and one.lots
        ]
        columns = np.array(seen, np.int64).reshape(-1, 4).T
        return columns[0], columns[1], columns[2].astype(np.float64), columns[3]

    def _by_side(self, markets: Sequence[int], of: Callable[[ExactRow], I64]) -> I64:
        found = np.zeros((len(markets), 2), np.int64)
        if self.by_market:
            for k, market in enumerate(markets):
                if market in self.by_market:
                    found[k] = of(self.by_market[market])
        return found

    def _tier(self, market: int, position: ExactPosition) -> int:
        offered = int(self._store.rules.tiers[market])
        if position.leverage is not None:
            return _tier_of_leverage(position.leverage, offered)
        entry, level = position.entry_price_usd, position.liquidation_price_usd
        if entry is None or level is None or (level >= entry if position.key.side == 0 else level <= entry):
            return 0
        ratio = self._store.margins[market].ratio[:, :offered]
        return int(tiers_of_prices(ratio, np.array([position.key.side]), np.array([entry]), np.array([level]))[0])

    def _with_exact_rows(self, updates: Updates) -> Updates:
        """Return the step with the rows of exact positions in it; what it does to markets stays as it is."""
        own = [k for k, market in enumerate(updates.market.tolist()) if market in self.by_market]
        if not own:
            return updates
        for k in own:
            market = int(updates.market[k])
            row = self.by_market[market]
            dead = row.sweep(int(updates.low[k]), int(updates.high[k]))
            self.crossed += dead
            if updates.open_interest[k, 0] != NOT_OBSERVED:
                row.interest = int(updates.open_interest[k, 0])
                self.crossed_quantity[market] += sum(one.quantity for one in row.dead.values())
                row.dead.clear()
                self._share(market, row)
        index = np.array([self.by_market[int(updates.market[k])].index for k in own], np.int32)
        return Updates(
            market=np.concatenate([updates.market, index]),
            low=np.concatenate([updates.low, updates.low[own]]),
            high=np.concatenate([updates.high, updates.high[own]]),
            price=np.concatenate([updates.price, updates.price[own]]),
            open_interest=np.concatenate([updates.open_interest, np.full((len(own), 2), NOT_OBSERVED, np.uint32)]),
            opened_at=np.concatenate([updates.opened_at, updates.opened_at[own]]),
            first_open=np.concatenate([updates.first_open, updates.first_open[-1] + 1 + np.arange(len(own))]),
            open_entry=np.concatenate([updates.open_entry, updates.price[own]]),
            open_lots=np.concatenate([updates.open_lots, np.zeros(len(own), np.uint32)]),
        )

    def _share(self, market: int, row: ExactRow) -> None:
        """Let readers see of a market's inferred positions what its exact ones leave."""
        self._store.remainders.share(market, left(row.interest, row.crossed, row.live), row.interest)
        self._tell_excess(market, row)

    def _tell_excess(self, market: int, row: ExactRow) -> None:
        if not row.excess.any():
            self._told_excess.discard(market)
        elif market not in self._told_excess:
            self._told_excess.add(market)
            _LOG.warning(
                "%s: exact positions exceed the open interest by %g long, %g short: nothing is left to infer there",
                self._registry[market].key,
                *(row.excess * self._table.lot[market]).tolist(),
            )
