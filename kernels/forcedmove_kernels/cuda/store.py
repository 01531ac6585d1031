"""The arrays of every market on the device: what stays there from the first delta to the rendered frame.

A step sends one block of updates and gets one block of outcomes back; a refresh is three launches over the rows that
are stale; what readers ask for is computed there and only the answer comes back. Buffers grow to the largest call seen,
so that a settled server allocates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    Standing,
    Updates,
    View,
    Window,
    check_updates,
    is_aged,
)
from forcedmove_kernels.budget import check_budget, store_bytes, watched_bytes, working_bytes
from forcedmove_kernels.checks import (
    check_cluster_rule,
    check_groups,
    check_indices,
    check_lots,
    check_render,
    check_rendered_rows,
)
from forcedmove_kernels.cuda import launches
from forcedmove_kernels.cuda.device import Device
from forcedmove_kernels.cuda.transfer import Packets, Receiver, Scratch, carved
from forcedmove_kernels.cuda.watched import WatchedFrames, patched
from forcedmove_kernels.fixed_point import PHASES
from forcedmove_kernels.renderings import Renderings
from forcedmove_kernels.spreads import Spreads
from forcedmove_kernels.thinning import thinned

if TYPE_CHECKING:
    from forcedmove_kernels.backend import Backend


class CudaStore:
    """Implements :class:`~forcedmove_kernels.store.ResidentStore` on a device. Used from one thread."""

    def __init__(self, device: Device, host: Backend, markets: int, capacity: int, tiers: int, bins: int) -> None:
        """``host`` merges cohorts. Raises MemoryBudgetError before anything is allocated when it would not fit."""
        launches.check_tiers(tiers)
        needed = store_bytes(markets, capacity, tiers, bins) + working_bytes(markets, bins)
        check_budget(device.name, needed, device.free_bytes())
        self.capacity, self.bins = capacity, bins
        self.used: I32 = np.zeros(markets, np.int32)
        self.first_bin: U32 = np.zeros(markets, np.uint32)
        self._device, self._host = device, host
        self._start = np.arange(markets + 1, dtype=np.int64) * capacity
        self._live: U64 = np.zeros((markets, 2), np.uint64)
        self._stale = np.ones((markets, 2), bool)
        self._has_rules = np.zeros(markets, bool)
        slots, cells = markets * capacity, bins + 2
        zeros = device.zeros
        self._cohorts = Cohorts(
            start=device.upload(self._start),
            used=zeros(markets, np.int32),
            entry=zeros(slots, np.uint32),
            opened_at=zeros(slots, np.uint32),
            lots=zeros((2, slots), np.uint32),
            live_tiers=zeros((2, slots), np.uint8),
        )
        self._rules = Rules(
            tiers=zeros(markets, np.uint8),
            multiplier=zeros((markets, 2, PHASES, tiers), np.uint32),
            weight=zeros((markets, 2, tiers + 1, tiers + 1), np.uint32),
        )
        self._window = Window(zeros(markets, np.uint32), bins)
        self._standing = Standing(
            stale=device.upload(np.ones((markets, 2), np.uint8)),
            totals=zeros((markets, 2, cells), np.uint64),
            fresh=zeros((markets, 2, cells), np.uint64),
            live=zeros((markets, 2), np.uint64),
            trigger=zeros((2, slots), np.uint32),
            frontier=zeros((markets, 2), np.uint32),
        )
        self._ones = UNWEIGHTED._replace(table=device.upload(UNWEIGHTED.table))
        self._fresh, self._aged = self._ones, False
        self._packets, self._receiver = Packets(device), Receiver(device)
        self._work, self._drawn, self._change = Scratch(device), Scratch(device), Scratch(device)
        self._frames = WatchedFrames(device, self._receiver, watched_bytes(markets, bins))
        self._renderings = Renderings()
        self.spreads = Spreads(markets)

    def set_rules(self, market: int, rules: Rules) -> None:
        """Give a market its tables."""
        check_indices("market", np.array([market], np.int32), len(self.used))
        self._has_rules[market] = True
        tables: Iterable[tuple[Any, Any]] = zip(self._rules, rules, strict=True)
        for there, table in tables:
            self._device.write(there[market : market + 1], table)
        self._mark(np.array([market]))

    def set_freshness(self, fresh: Freshness) -> None:
        """Weigh ages by ``fresh`` from now on."""
        self._fresh = fresh._replace(table=self._device.upload(fresh.table))
        self._aged = is_aged(fresh)
        self._mark(np.arange(len(self.used)))

    def move_window(self, markets: I32, first_bin: int) -> None:
        """Let the windows of ``markets`` begin at ``first_bin``."""
        check_indices("markets", markets, len(self.used))
        self.first_bin[markets] = first_bin
        for market in markets.tolist():
            self._device.write(self._window.first_bin[market : market + 1], self.first_bin[market : market + 1])
        self._mark(markets)

    def set_spread(self, markets: I32, share: int, near: int) -> None:
        """Spread the levels of ``markets`` by ``share / SPREAD_ONE`` of their distance from the mark."""
        check_indices("markets", markets, len(self.used))
        self.spreads.set(markets, share, near)

    def apply(self, updates: Updates) -> Outcome:
        """Run one lifecycle step. Raises ValueError for a market without rules."""
        check_indices("market", updates.market, len(self.used))
        if not np.all(self._has_rules[updates.market]):
            raise ValueError("market: no rules have been set for a market of the step")
        nothing = np.zeros(0, np.uint32)
        check_updates(updates, Cohorts(self._start, self.used, nothing, nothing, nothing, nothing.astype(np.uint8)))
        check_lots(updates, self._live[updates.market])
        steps = len(updates.market)
        sent = self._packets.send(launches.update_arrays(updates))
        back = self._receiver.block({"outcome": 80 * steps, "used": 4 * steps, "stale": 2 * steps})
        launches.apply_updates(
            self._device,
            self._cohorts,
            self._rules,
            self._window,
            self._fresh,
            self._aged,
            self._standing,
            sent,
            steps,
            back,
        )
        got = self._receiver.receive()
        outcome = Outcome(*got["outcome"].view(np.uint64).reshape(5, steps, 2).copy())
        self.used[updates.market] = got["used"].view(np.int32)
        self._stale[updates.market] = got["stale"].reshape(steps, 2).astype(bool)
        self._live[updates.market] = outcome.live
        self.spreads.follow(updates)
        return outcome

    def refresh(self) -> None:
        """Rebuild the stale rows of the totals."""
        rows = np.flatnonzero(self._stale).astype(np.int32)
        if not len(rows):
            return
        sent = self._packets.send({"rows": rows})
        launches.rebuild_rows(
            self._device,
            self._cohorts,
            self._rules,
            self._window,
            self._fresh,
            self._aged,
            self._standing,
            sent["rows"],
            len(rows),
            int(self.used[rows // 2].max()),
        )
        self._stale[:] = False

    def totals(self, markets: I32, weighted: bool) -> U64:
        """Return standing totals u64 ``[K, 2, C]``."""
        got: U64 = self._receiver.fetch(self._rows(markets, weighted))
        return got

    def leverage_grid(self, markets: I32, weighted: bool, window: Window | None = None) -> U64:
        """Return the full grid u64 ``[K, 2, T, C]``."""
        first_bin = self.first_bin[markets] if window is None else window.first_bin
        there = self._grid(markets, weighted, first_bin, self.bins if window is None else window.bins)
        got: U64 = self._receiver.fetch(there)
        return got

    def profiles(self, markets: I32, first: I64, notional: Notional, rule: ClusterRule) -> Profiles:
        """Return cents of ``markets`` and of their symbols, and the clusters of the symbols."""
        self._require_fresh(markets)
        check_groups(first, len(markets), notional)
        count, symbols, cells = len(markets), len(first) - 1, self.bins + 2
        rows = 2 * symbols
        back = (count, 2, cells), (symbols, 2, cells), (rows,)
        shapes = *back, (rows, cells + 1), (cells // 2 + 1, rows, 4)
        block = self._drawn.take((sum(map(math.prod, shapes)),), np.uint64)
        cents, sums, found, prefix, runs = carved(block, shapes)
        check_cluster_rule(sums.reshape(rows, cells), rule)
        spread = self.spreads.of_grid(markets, self.first_bin[markets])
        totals, own = self._standing.totals, markets.astype(np.int32)
        if spread is not None:
            totals = self._spread(self._rows(markets, weighted=False), spread)
            own = np.arange(count, dtype=np.int32)
        sent = self._packets.send(
            {
                "markets": own,
                "first": first.astype(np.int64),
                "base": notional.base.astype(np.float64),
                "slope": notional.slope.astype(np.float64),
                "first_bin": self.first_bin[markets],
            }
        )
        device = self._device
        launches.fill_profiles(device, symbols, cells, totals=totals, cents=cents, sums=sums, **sent)
        launches.find_clusters(device, rule, rows, cells, notional=sums, prefix=prefix, found=found, runs=runs)
        cents, sums, found = carved(self._receiver.fetch(block[: sum(map(math.prod, back))]), back)
        clusters = launches.clusters_of(found, self._receiver.fetch(runs[: int(found.max(initial=0))]))
        return Profiles(cents, sums, clusters)

    def render(self, view: View) -> F32:
        """Return USD as the wire has them, f32 ``[O, high - low + 2]``."""
        got: F32 = self._receiver.fetch(self._draw(view))
        return got

    def render_watched(self, views: Mapping[Hashable, View]) -> dict[Hashable, Rendering]:
        """Render views, and say which cells of each changed since the last time: they alone come back."""
        try:
            return self._render_watched(views)
        except ValueError:
            self.forget(views)
            raise

    def forget(self, names: Iterable[Hashable]) -> None:
        """Let go of the last renderings of views."""
        names = tuple(names)
        self._frames.forget(names)
        self._renderings.forget(names)

    def compact(self, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts on the host, which is rare, and put them back."""
        cohorts = self.cohorts(market)
        remain = self._host.compact(cohorts, 0, now, ladder, entry_shift)
        self.replace(market, cohorts)
        return remain

    def cohorts(self, market: int) -> Cohorts:
        """Return a copy of one market's cohorts."""
        check_indices("market", np.array([market], np.int32), len(self.used))
        used, first = int(self.used[market]), int(self._start[market])
        slots = slice(first, first + used)
        there, down = self._cohorts, self._device.download
        return Cohorts(
            start=np.array([0, used], np.int64),
            used=np.array([used], np.int32),
            entry=down(there.entry[slots]),
            opened_at=down(there.opened_at[slots]),
            lots=np.stack([down(row[slots]) for row in there.lots]),
            live_tiers=np.stack([down(row[slots]) for row in there.live_tiers]),
        )

    def thin(self, source: int, target: int, lots: U64) -> None:
        """Put a market's cohorts, thinned, in the place of another's; see :class:`~.store.ResidentStore`."""
        self.replace(target, thinned(self.cohorts(source), lots))
        self.spreads.copy(source, target)

    def replace(self, market: int, cohorts: Cohorts) -> None:
        """Put other cohorts in a market's place. Raises ValueError when they do not fit."""
        check_indices("market", np.array([market], np.int32), len(self.used))
        used = int(cohorts.used[0])
        if used > self.capacity:
            raise ValueError(f"cohorts: {used} do not fit the {self.capacity} slots of a market")
        first = int(self._start[market])
        slots, own = slice(first, first + used), slice(int(cohorts.start[0]), int(cohorts.start[0]) + used)
        there, write = self._cohorts, self._device.write
        write(there.entry[slots], cohorts.entry[own])
        write(there.opened_at[slots], cohorts.opened_at[own])
        for side in (0, 1):
            write(there.lots[side][slots], cohorts.lots[side, own])
            write(there.live_tiers[side][slots], cohorts.live_tiers[side, own])
        self.used[market] = used
        write(there.used[market : market + 1], self.used[market : market + 1])
        self._live[market] = cohorts.lots[:, own].sum(1, dtype=np.uint64)
        self._mark(np.array([market]))

    def _render_watched(self, views: Mapping[Hashable, View]) -> dict[Hashable, Rendering]:
        frames = self._frames
        earlier = {name: frames.earlier(name, view.shape) for name, view in views.items()}
        comparisons = frames.comparisons([math.prod(frame.shape) for frame in earlier.values() if frame is not None])
        whole: dict[Hashable, Any] = {}
        for name, view in views.items():
            if earlier[name] is not None:
                comparisons.compare(earlier[name], self._draw(view))
                continue
            placed = frames.place(name, view.shape)
            drawn = self._draw(view, placed)
            whole[name] = self._receiver.fetch(drawn)  # without a place it is in the way of the next
        changes = iter(comparisons.changes())
        found = {}
        for name, view in views.items():
            before = self._renderings.before(name, view.shape)
            changed: U32 | None = None
            if name in whole:  # the first one, or there was no room to keep the one before
                values: F32 = whole[name]
                changed = None if before is None else self._host.changed_cells(before, values)
            elif (cells := next(changes)) is None:
                values = self._receiver.fetch(earlier[name])
            else:
                values, changed = patched(before, cells)
            found[name] = self._renderings.add(name, values, changed)
        return found

    def _draw(self, view: View, into: Any | None = None) -> Any:
        """Render a view into f32 ``[O, W]`` on the device: ``into``, or memory that holds until the next call."""
        markets, tiers, weighted, notional, target = view[:5]
        check_rendered_rows(markets, tiers, target, self._rules.multiplier.shape[3])
        if tiers is None:
            lots = self._rows(markets, weighted)
            lots = self._spread(lots, self.spreads.of_grid(markets, self.first_bin[markets]))
            where = target
        else:
            lots = self._grid(markets, weighted, self.first_bin[markets], self.bins)
            where = np.full(lots.shape[:3], -1, np.int32)
            where[:, :, tiers] = target
        where = where.reshape(-1).astype(np.int32)
        rows = len(where)
        money = Notional(*(np.repeat(amount.astype(np.float64), rows // len(markets)) for amount in notional))
        check_render(lots.reshape(rows, self.bins + 2), where, view.outputs, money, view.low, view.high)
        sent = self._packets.send({"target": where, "base": money.base, "slope": money.slope})
        size = math.prod(view.shape)
        drawn = self._drawn.take((12 * size,), np.uint8)
        cents, usd = drawn[: 8 * size].view(np.uint64), drawn[8 * size :].view(np.float32).reshape(view.shape)
        if into is not None:
            usd = into
        self._device.clear(cents)
        launches.render(
            self._device,
            rows,
            view.outputs,
            view.low,
            view.high,
            lots=lots,
            cents=cents,
            usd=usd,
            cells=self.bins + 2,
            first_bin=int(self.first_bin[markets[0]]),
            **sent,
        )
        return usd

    def _mark(self, markets: NDArray[np.integer[Any]]) -> None:
        """Declare both rows of some markets stale, here and on the device."""
        self._stale[markets] = True
        self._device.write(self._standing.stale, self._stale.astype(np.uint8))

    def _require_fresh(self, markets: I32) -> None:
        check_indices("markets", markets, len(self.used))
        if np.any(self._stale[markets]):
            raise ValueError("markets: totals of rows that changed are not rebuilt yet; refresh first")

    def _rows(self, markets: I32, weighted: bool) -> Any:
        self._require_fresh(markets)
        rows = self._work.take((len(markets), 2, self.bins + 2), np.uint64)
        source = self._standing.fresh if weighted else self._standing.totals
        sent = self._packets.send({"markets": markets.astype(np.int32)})
        launches.gather_rows(self._device, source, sent["markets"], rows, len(markets), 2 * (self.bins + 2))
        return rows

    def _grid(self, markets: I32, weighted: bool, first_bin: U32, bins: int) -> Any:
        check_indices("markets", markets, len(self.used))
        grid = self._work.take((len(markets), 2, self._rules.multiplier.shape[3], bins + 2), np.uint64)
        sent = self._packets.send({"markets": markets.astype(np.int32), "first_bin": first_bin.astype(np.uint32)})
        fresh, aged = (self._fresh, self._aged) if weighted else (self._ones, False)
        where = sent["markets"], sent["first_bin"], bins, len(markets)
        launches.leverage_grid(self._device, self._cohorts, self._rules, fresh, aged, *where, grid)
        return self._spread(grid, self.spreads.of_grid(markets, first_bin, grid.shape[2]))

    def _spread(self, lots: Any, spread: Spread | None) -> Any:
        """Spread rows ``[.., C]`` of lots, in place, unless nothing is to be."""
        if spread is not None:
            change = self._change.take((math.prod(lots.shape),), np.uint64)
            self._device.clear(change)
            sent = self._packets.send(spread._asdict())
            rows = len(spread.side)
            launches.spread_levels(self._device, rows, lots.shape[-1], lots=lots, change=change, **sent)
        return lots
