"""Arguments checked, results allocated, work shared out: the kernels of this folder as a backend."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import (
    I32,
    I64,
    U32,
    U64,
    Chain,
    Clusters,
    Cohorts,
    Freshness,
    Notional,
    Outcome,
    Rules,
    Updates,
    Window,
    check_updates,
    empty_outcome,
)
from forcedmove_kernels.checks import (
    check_axis,
    check_cluster_rule,
    check_compaction,
    check_histograms,
    check_indices,
    check_totals,
    lots_overflow,
)
from forcedmove_kernels.cpu import cascade, clusters, grid, lifecycle, profile
from forcedmove_kernels.cpu import compact as compaction
from forcedmove_kernels.cpu import volume as trades
from forcedmove_kernels.cpu.schedule import launch, usable_threads
from forcedmove_kernels.fixed_point import FRESHNESS_ONE, SHORT


class CpuBackend:
    """The numba kernels on ``threads`` threads (None: all that numba launches, which is also the cap).

    See :class:`forcedmove_kernels.backend.Backend` for every argument.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = usable_threads(threads)

    def accumulate_volume(self, row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
        """Add trades to per-row histograms, in place."""
        check_histograms(row, first_bucket, volume, turnover)
        return int(trades.add_trades(row, price, lots, first_bucket, volume, turnover))

    def apply_updates(self, cohorts: Cohorts, rules: Rules, updates: Updates) -> Outcome:
        """Run one lifecycle step, in place."""
        check_updates(updates, cohorts)
        crowded = int(lifecycle.first_overflow(cohorts, updates))
        if crowded >= 0:
            raise lots_overflow(int(updates.market[crowded]))
        outcome = empty_outcome(len(updates.market))
        cost = cohorts.used[updates.market].astype(np.int64) + np.diff(updates.first_open)
        launch(
            self.threads,
            cost,
            lifecycle.step_markets,
            lifecycle.step_markets_parallel,
            cohorts,
            rules,
            updates,
            outcome,
        )
        return outcome

    def standing_totals(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64
    ) -> None:
        """Rebuild rows of the standing totals, in place."""
        check_totals(totals, cohorts, window)
        check_indices("rows", rows, 2 * len(cohorts.used))
        cost = cohorts.used[rows // 2].astype(np.int64) + window.bins // 64
        launch(
            self.threads,
            cost,
            grid.rebuild_rows,
            grid.rebuild_rows_parallel,
            cohorts,
            rules,
            window,
            fresh,
            is_aged(fresh),
            rows,
            totals,
        )

    def add_cohorts(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, market: I32, first_new: I64, totals: U64
    ) -> None:
        """Add new cohorts to the standing totals, in place."""
        check_totals(totals, cohorts, window)
        check_indices("market", market, len(cohorts.used))
        cost = cohorts.start[market] + cohorts.used[market] - first_new + 16
        launch(
            self.threads,
            cost,
            grid.append_rows,
            grid.append_rows_parallel,
            cohorts,
            rules,
            window,
            fresh,
            is_aged(fresh),
            market,
            first_new,
            totals,
        )

    def leverage_grid(self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
        """Return the full grid of the given markets."""
        check_indices("markets", markets, len(cohorts.used))
        cells = np.zeros((len(markets), 2, rules.multiplier.shape[2], window.bins + 2), np.uint64)
        cost = np.repeat(cohorts.used[markets].astype(np.int64), 2) + window.bins
        launch(
            self.threads,
            cost,
            grid.grid_rows,
            grid.grid_rows_parallel,
            cohorts,
            rules,
            window,
            fresh,
            is_aged(fresh),
            markets,
            cells,
        )
        return cells

    def compact(self, cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts into coarser buckets, in place; return how many remain."""
        check_compaction(ladder, entry_shift)
        check_indices("market", np.array([market], np.int32), len(cohorts.used))
        return int(compaction.merge(cohorts, int(market), int(now), ladder, int(entry_shift)))

    def profile(self, totals: U64, market_symbol: I32, notional: Notional, window: Window, symbols: int) -> U64:
        """Return notional per symbol, side and cell."""
        check_indices("market_symbol", market_symbol, symbols)
        cents = np.zeros((symbols, 2, window.bins + 2), np.uint64)
        market = np.argsort(market_symbol, kind="stable")
        members = np.bincount(market_symbol, minlength=symbols)
        first_market = np.concatenate([np.zeros(1, np.int64), np.cumsum(members)])
        launch(
            self.threads,
            members * window.bins,
            profile.profile_symbols,
            profile.profile_symbols_parallel,
            market,
            first_market,
            totals,
            notional,
            window,
            cents,
        )
        return cents

    def clusters(self, notional: U64, half_width: int, ratio_percent: int, minimum: int) -> Clusters:
        """Find runs of cells that stand above their surroundings."""
        check_cluster_rule(half_width, ratio_percent, minimum)
        rule = min(half_width, len(notional)), np.uint64(ratio_percent), np.uint64(minimum)
        return Clusters(*clusters.find_clusters(notional, *rule))

    def cascade_chain(self, notional: U64, depth: U64, mark: int, shock: int) -> Chain:
        """Follow the chain of one shock."""
        check_axis(notional, depth, mark, shock)
        return Chain(*cascade.follow(notional, depth, int(mark), int(shock)))

    def shock_curve(self, notional: U64, depth: U64, mark: int, side: int) -> tuple[I32, U64]:
        """Return terminal cell and notional fired of every shock of one side."""
        check_axis(notional, depth, mark, mark)
        terminal, fired = cascade.curve(notional, depth, int(mark), side == SHORT)
        return terminal, fired


def is_aged(fresh: Freshness) -> bool:
    """Whether the freshness table changes anything."""
    return bool(np.any(fresh.table != FRESHNESS_ONE))
