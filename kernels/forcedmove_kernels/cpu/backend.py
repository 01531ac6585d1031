"""Arguments checked, results allocated, work shared out: the kernels of this folder as a backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
    U8,
    U32,
    U64,
    Chain,
    ClusterRule,
    Clusters,
    Cohorts,
    Endings,
    Freshness,
    Noise,
    Notional,
    Outcome,
    Paths,
    Rules,
    Spread,
    Standing,
    Updates,
    Window,
    check_updates,
    empty_outcome,
    is_aged,
)
from forcedmove_kernels.checks import (
    cents_overflow,
    check_axis,
    check_books,
    check_cents,
    check_chains,
    check_cluster_rule,
    check_compaction,
    check_frames,
    check_groups,
    check_histograms,
    check_indices,
    check_noise,
    check_render,
    check_sides,
    check_spread,
    check_standing,
    check_totals,
    lots_overflow,
)
from forcedmove_kernels.cpu import cascade, clusters, frames, grid, lifecycle, profile, schedule
from forcedmove_kernels.cpu import compact as compaction
from forcedmove_kernels.cpu import paths as random_paths
from forcedmove_kernels.cpu import spread as spreading
from forcedmove_kernels.cpu import volume as trades
from forcedmove_kernels.cpu.schedule import launch, usable_threads
from forcedmove_kernels.host_store import HostStore

# Costs of items are measured in cohorts of one row that are rebuilt, about 10 ns.
CELLS_PER_COST = 32  # cells that are written, converted or compared
CHAIN_COST = 6
PATH_COST = 25


class CpuBackend:
    """The numba kernels on ``threads`` threads (None: all that numba launches, which is also the cap).

    See :class:`forcedmove_kernels.backend.Backend` for every argument.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = usable_threads(threads)

    def open_store(self, markets: int, capacity: int, tiers: int, bins: int) -> HostStore:
        """Return an empty store in this process. Raises MemoryBudgetError before anything is allocated."""
        return HostStore(self, markets, capacity, tiers, bins)

    def accumulate_volume(self, row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
        """Add trades to per-row histograms, in place."""
        check_histograms(row, first_bucket, volume, turnover)
        return int(trades.add_trades(row, price, lots, first_bucket, volume, turnover))

    def apply_updates(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, updates: Updates
    ) -> Outcome:
        """Run one lifecycle step, in place."""
        outcome = empty_outcome(len(updates.market))
        arguments = cohorts, rules, window, fresh, standing, updates, outcome, self.threads
        with schedule.launching(self.threads):
            is_refused, crowded = lifecycle.apply(*arguments, schedule.MIN_PARALLEL_COST)
        if is_refused:
            check_standing(standing, cohorts, window)
            check_updates(updates, cohorts)
            raise AssertionError("a step was refused that the checks find nothing wrong with")
        if crowded >= 0:
            raise lots_overflow(int(updates.market[crowded]))
        return outcome

    def rebuild(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, rows: I32
    ) -> None:
        """Rebuild rows of the standing arrays, in place."""
        check_standing(standing, cohorts, window)
        check_indices("rows", rows, 2 * len(cohorts.used))
        arguments = cohorts, rules, window, fresh, is_aged(fresh), standing, rows
        cost = cohorts.used[rows // 2].astype(np.int64) + window.bins // CELLS_PER_COST
        launch(self.threads, cost, grid.rebuild_rows, grid.rebuild_rows_parallel, *arguments)

    def standing_totals(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64
    ) -> None:
        """Rebuild rows of totals, in place."""
        check_totals(totals, cohorts, window)
        check_indices("rows", rows, 2 * len(cohorts.used))
        arguments = cohorts, rules, window, fresh, is_aged(fresh), rows, totals
        cost = cohorts.used[rows // 2].astype(np.int64) + window.bins // CELLS_PER_COST
        launch(self.threads, cost, grid.total_rows, grid.total_rows_parallel, *arguments)

    def leverage_grid(self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
        """Return the full grid of the given markets."""
        check_indices("markets", markets, len(cohorts.used))
        cells = np.zeros((len(markets), 2, rules.multiplier.shape[3], window.bins + 2), np.uint64)
        arguments = cohorts, rules, window, fresh, is_aged(fresh), markets, cells
        cost = np.repeat(cohorts.used[markets].astype(np.int64), 2) + window.bins
        launch(self.threads, cost, grid.grid_rows, grid.grid_rows_parallel, *arguments)
        return cells

    def spread_levels(self, lots: U64, spread: Spread) -> U64:
        """Return rows of levels spread over the distances that they may really have."""
        check_spread(lots, spread)
        found = np.empty_like(lots)
        cost = np.where(spread.share > 0, lots.shape[1] // 8, lots.shape[1] // CELLS_PER_COST)
        launch(self.threads, cost, spreading.spread_rows, spreading.spread_rows_parallel, lots, spread, found)
        return found

    def compact(self, cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts into coarser buckets, in place; return how many remain."""
        check_compaction(ladder, entry_shift)
        check_indices("market", np.array([market], np.int32), len(cohorts.used))
        return int(compaction.merge(cohorts, int(market), int(now), ladder, int(entry_shift)))

    def profiles(self, totals: U64, first: I64, notional: Notional, window: Window) -> tuple[U64, U64]:
        """Return cents of markets and of symbols."""
        check_groups(first, len(totals), notional)
        cents = np.zeros_like(totals)
        sums = np.zeros((len(first) - 1, *totals.shape[1:]), np.uint64)
        arguments = first, totals, notional, window, cents, sums
        cost = np.diff(first) * (2 * window.bins // CELLS_PER_COST)
        launch(self.threads, cost, profile.profile_symbols, profile.profile_symbols_parallel, *arguments)
        return cents, sums

    def render(
        self, lots: U64, target: I32, outputs: int, notional: Notional, first_bin: int, low: int, high: int
    ) -> F32:
        """Return USD per output row and cell."""
        check_render(lots, target, outputs, notional, low, high)
        usd = np.empty((outputs, high - low + 2), np.float32)
        row, first_row = grouped(target + 1, outputs + 1)  # rows without a target come first
        arguments = row, first_row[1:], lots, notional, int(first_bin), int(low), int(high), usd
        cost = (np.diff(first_row[1:]) + 1) * (lots.shape[1] // CELLS_PER_COST + 1)
        launch(self.threads, cost, frames.render_outputs, frames.render_outputs_parallel, *arguments)
        return usd

    def changed_cells(self, previous: F32, values: F32) -> U32:
        """Return the flat indices of elements whose bits differ."""
        check_frames(previous, values)
        before, after = (np.ravel(frame).view(np.uint32) for frame in (previous, values))
        chunks = -(-len(after) // frames.CHUNK)
        changed, count = np.empty(len(after), np.uint32), np.empty(chunks, np.int64)
        cost = np.full(chunks, frames.CHUNK // CELLS_PER_COST)
        launch(self.threads, cost, frames.list_changes, frames.list_changes_parallel, before, after, changed, count)
        found: U32 = frames.close_gaps(changed, count)
        return found

    def clusters(self, notional: U64, rule: ClusterRule) -> Clusters:
        """Find the clusters of profile rows."""
        check_cluster_rule(notional, rule)
        reach = min(rule.half_width, notional.shape[1])
        return Clusters(*clusters.find_all(notional, reach, np.uint64(rule.ratio_percent), np.uint64(rule.share)))

    def cascade_chain(self, notional: U64, depth: U64, mark: int, shock: int) -> Chain:
        """Follow the chain of one shock."""
        check_axis(notional, depth, mark, shock)
        return Chain(*cascade.follow(notional, depth, int(mark), int(shock)))

    def cascade_chains(self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32) -> Endings:
        """Follow many chains to their ends."""
        check_books(notional, depth, mark)
        check_chains(row, shock, notional)
        rows, cells = notional.shape
        chain, begin = cascade.count_by_row(row, rows)
        count = len(row)
        endings = Endings(np.empty(count, np.int32), np.empty(count, np.uint64), np.empty(count, np.int32))
        crowded = np.zeros(rows, np.uint8)
        arguments = chain, begin, notional, depth, mark, shock, crowded, *endings
        cost = cells // CELLS_PER_COST + CHAIN_COST * np.diff(begin)
        launch(self.threads, cost, cascade.follow_rows, cascade.follow_rows_parallel, *arguments)
        refuse_crowded(crowded)
        return endings

    def shock_curves(self, notional: U64, depth: U64, mark: I32, side: I32) -> tuple[I32, U64]:
        """Return terminal cell and notional fired of every shock of one side of each row."""
        check_books(notional, depth, mark)
        check_sides(side, mark)
        terminal, total = np.empty(notional.shape, np.int32), np.empty(notional.shape, np.uint64)
        crowded = np.zeros(len(notional), np.uint8)
        arguments = notional, depth, mark, side, crowded, terminal, total
        cost = np.full(len(notional), notional.shape[1] // 4)
        launch(self.threads, cost, cascade.curves, cascade.curves_parallel, *arguments)
        refuse_crowded(crowded)
        return terminal, total

    def cascade_paths(
        self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32, paths: int, noise: Noise
    ) -> Paths:
        """Follow random paths of many chains."""
        check_books(notional, depth, mark)
        check_cents(notional)
        check_chains(row, shock, notional)
        check_noise(paths, noise)
        shape = len(row), paths
        found = Paths(np.empty(shape, np.int32), np.empty(shape, np.uint64))
        groups = -(-paths // random_paths.GROUP)
        tables = noise._replace(seed=0)  # numba has no type for both halves of the seeds
        arguments = groups, notional, depth, mark, row, shock, tables, np.uint64(noise.seed), *found
        cost = np.full(len(row) * groups, random_paths.GROUP * PATH_COST)
        launch(self.threads, cost, random_paths.follow_groups, random_paths.follow_groups_parallel, *arguments)
        return found


def grouped(group: I32, groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices by their group, and where each group's begin: i64 ``[groups + 1]``."""
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(group, minlength=groups))])
    return np.argsort(group, kind="stable"), begin


def refuse_crowded(crowded: U8) -> None:
    """Raise ValueError where a row held too many cents."""
    if crowded.any():
        raise cents_overflow()
