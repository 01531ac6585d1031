"""The arrays of every market on the host, for any backend that computes on NumPy arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
    U32,
    U64,
    UNWEIGHTED,
    ClusterRule,
    Cohorts,
    Freshness,
    Notional,
    Outcome,
    Profiles,
    Rendering,
    Rules,
    Spread,
    Updates,
    View,
    Window,
    empty_cohorts,
    empty_standing,
)
from forcedmove_kernels.budget import check_budget, host_free_bytes, store_bytes
from forcedmove_kernels.checks import check_indices, check_rendered_rows
from forcedmove_kernels.fixed_point import PHASES
from forcedmove_kernels.renderings import Renderings
from forcedmove_kernels.spreads import Spreads
from forcedmove_kernels.thinning import thinned

if TYPE_CHECKING:
    from forcedmove_kernels.backend import Backend


class HostStore:
    """Implements :class:`forcedmove_kernels.store.ResidentStore`. Used from one thread.

    A new store has no rules: a market needs them before its first step. Ages weigh one until told otherwise.
    """

    def __init__(self, backend: Backend, markets: int, capacity: int, tiers: int, bins: int) -> None:
        """Allocate the arrays. Raises MemoryBudgetError before that when they would not fit."""
        check_budget("this machine", store_bytes(markets, capacity, tiers, bins), host_free_bytes())
        self.capacity, self.bins = capacity, bins
        self._backend = backend
        self._cohorts = empty_cohorts(capacity, markets)
        self._rules = Rules(
            tiers=np.zeros(markets, np.uint8),
            multiplier=np.zeros((markets, 2, PHASES, tiers), np.uint32),
            weight=np.zeros((markets, 2, tiers + 1, tiers + 1), np.uint32),
        )
        self._window = Window(np.zeros(markets, np.uint32), bins)
        self._without_rules = set(range(markets))
        self._fresh = UNWEIGHTED
        self._standing = empty_standing(self._cohorts, bins)
        self._renderings = Renderings()
        self.spreads = Spreads(markets)
        self.used: I32 = self._cohorts.used
        self.first_bin: U32 = self._window.first_bin

    def set_rules(self, market: int, rules: Rules) -> None:
        """Give a market its tables (``rules`` of one market); its rows become stale."""
        check_indices("market", np.array([market], np.int32), len(self.used))
        self._without_rules.discard(market)
        self._rules.tiers[market] = rules.tiers[0]
        self._rules.multiplier[market] = rules.multiplier[0]
        self._rules.weight[market] = rules.weight[0]
        self._standing.stale[market] = 1

    def set_freshness(self, fresh: Freshness) -> None:
        """Weigh ages by ``fresh`` from now on; every row becomes stale."""
        self._fresh = fresh
        self._standing.stale[...] = 1

    def move_window(self, markets: I32, first_bin: int) -> None:
        """Let the windows of ``markets`` begin at ``first_bin``; their rows become stale."""
        check_indices("markets", markets, len(self.used))
        self._window.first_bin[markets] = first_bin
        self._standing.stale[markets] = 1

    def set_spread(self, markets: I32, share: int, near: int) -> None:
        """Spread the levels of ``markets`` by ``share / SPREAD_ONE`` of their distance from the mark."""
        check_indices("markets", markets, len(self.used))
        self.spreads.set(markets, share, near)

    def apply(self, updates: Updates) -> Outcome:
        """Run one lifecycle step. Raises ValueError for a market without rules."""
        if self._without_rules:
            check_indices("market", updates.market, len(self.used))
            if not self._without_rules.isdisjoint(updates.market.tolist()):
                raise ValueError("market: no rules have been set for a market of the step")
        outcome = self._backend.apply_updates(
            self._cohorts, self._rules, self._window, self._fresh, self._standing, updates
        )
        self.spreads.follow(updates)
        return outcome

    def refresh(self) -> None:
        """Rebuild the stale rows of the totals."""
        rows = np.flatnonzero(self._standing.stale).astype(np.int32)
        if len(rows):
            self._backend.rebuild(self._cohorts, self._rules, self._window, self._fresh, self._standing, rows)

    def totals(self, markets: I32, weighted: bool) -> U64:
        """Return standing totals u64 ``[K, 2, C]``. Raises ValueError when a row of theirs is stale."""
        return self._up_to_date(markets, weighted)[markets]

    def leverage_grid(self, markets: I32, weighted: bool, window: Window | None = None) -> U64:
        """Return the full grid u64 ``[K, 2, T, C]`` in the markets' own windows or in ``window``."""
        check_indices("markets", markets, len(self.used))
        if window is None:
            window = Window(self.first_bin[markets], self.bins)
        # One entry per market asked for: the same market may be wanted in several windows.
        cohorts = self._cohorts._replace(start=self._cohorts.start[markets], used=self.used[markets])
        tables = self._rules
        rules = Rules(tables.tiers[markets], tables.multiplier[markets], tables.weight[markets])
        fresh = self._fresh if weighted else UNWEIGHTED
        grid = self._backend.leverage_grid(cohorts, rules, window, fresh, np.arange(len(markets), dtype=np.int32))
        return self._spread(grid, self.spreads.of_grid(markets, window.first_bin, grid.shape[2]))

    def profiles(self, markets: I32, first: I64, notional: Notional, rule: ClusterRule) -> Profiles:
        """Return cents of ``markets`` and of their symbols, and the clusters of the symbols."""
        window = Window(self.first_bin[markets], self.bins)
        spread = self.spreads.of_grid(markets, window.first_bin)
        totals = self._spread(self.totals(markets, weighted=False), spread)
        cents, sums = self._backend.profiles(totals, first, notional, window)
        return Profiles(cents, sums, self._backend.clusters(sums.reshape(-1, self.bins + 2), rule))

    def render(self, view: View) -> F32:
        """Return USD as the wire has them, f32 ``[O, high - low + 2]``."""
        markets, tiers, weighted, notional, target = view[:5]
        check_rendered_rows(markets, tiers, target, self._rules.multiplier.shape[3])
        k, side, column = np.nonzero(target >= 0)  # rows that nobody sees are not read
        if tiers is None:
            spread = self.spreads.of_rows(markets[k], side, self.first_bin[markets[k]])
            lots = self._spread(self._up_to_date(markets, weighted)[markets[k], side], spread)
        else:
            lots = self.leverage_grid(markets, weighted)[k, side, tiers[column]]
        money = Notional(notional.base[k], notional.slope[k])
        first_bin = int(self.first_bin[markets[0]])
        return self._backend.render(lots, target[k, side, column], view.outputs, money, first_bin, view.low, view.high)

    def render_watched(self, views: Mapping[Hashable, View]) -> dict[Hashable, Rendering]:
        """Render views, and say which cells of each changed since the last time."""
        try:
            drawn = {name: self.render(view) for name, view in views.items()}
        except ValueError:
            self.forget(views)
            raise
        found = {}
        for name, values in drawn.items():
            before = self._renderings.before(name, values.shape)
            changed = None if before is None else self._backend.changed_cells(before, values)
            found[name] = self._renderings.add(name, values, changed)
        return found

    def forget(self, names: Iterable[Hashable]) -> None:
        """Let go of the last renderings of views."""
        self._renderings.forget(names)

    def compact(self, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts; its rows become stale. Returns how many remain."""
        remain = self._backend.compact(self._cohorts, market, now, ladder, entry_shift)
        self._standing.stale[market] = 1
        return remain

    def cohorts(self, market: int) -> Cohorts:
        """Return a copy of one market's cohorts, as a store of one market without spare slots."""
        check_indices("market", np.array([market], np.int32), len(self.used))
        used = int(self.used[market])
        slots = slice(market * self.capacity, market * self.capacity + used)
        own = self._cohorts
        return Cohorts(
            start=np.array([0, used], np.int64),
            used=np.array([used], np.int32),
            entry=own.entry[slots].copy(),
            opened_at=own.opened_at[slots].copy(),
            lots=own.lots[:, slots].copy(),
            live_tiers=own.live_tiers[:, slots].copy(),
        )

    def thin(self, source: int, target: int, lots: U64) -> None:
        """Put a market's cohorts, thinned, in the place of another's; see :class:`~.store.ResidentStore`."""
        self.replace(target, thinned(self.cohorts(source), lots))
        self.spreads.copy(source, target)

    def replace(self, market: int, cohorts: Cohorts) -> None:
        """Put other cohorts (a store of one market) in a market's place; its rows become stale.

        Raises ValueError when they do not fit.
        """
        check_indices("market", np.array([market], np.int32), len(self.used))
        used = int(cohorts.used[0])
        if used > self.capacity:
            raise ValueError(f"cohorts: {used} do not fit the {self.capacity} slots of a market")
        theirs = slice(int(cohorts.start[0]), int(cohorts.start[0]) + used)
        slots = slice(market * self.capacity, market * self.capacity + used)
        own = self._cohorts
        for field, other in (
            (own.entry, cohorts.entry),
            (own.opened_at, cohorts.opened_at),
            (own.lots, cohorts.lots),
            (own.live_tiers, cohorts.live_tiers),
        ):
            field[..., slots] = other[..., theirs]
        self.used[market] = used
        self._standing.stale[market] = 1

    def _spread(self, lots: U64, spread: Spread | None) -> U64:
        """Rows ``[.., C]`` of lots, spread unless nothing is to be."""
        if spread is None or not len(spread.side):
            return lots
        return self._backend.spread_levels(lots.reshape(-1, lots.shape[-1]), spread).reshape(lots.shape)

    def _up_to_date(self, markets: I32, weighted: bool) -> U64:
        """Totals of the whole store, or those weighted by age, after a look whether rows of ``markets`` are stale."""
        check_indices("markets", markets, len(self.used))
        if np.any(self._standing.stale[markets]):
            raise ValueError("markets: totals of rows that changed are not rebuilt yet; refresh first")
        return self._standing.fresh if weighted else self._standing.totals
