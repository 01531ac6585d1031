"""The CUDA kernels as a backend: host arrays in, host arrays out, for whatever is not kept on the device.

What a tick needs stays in a :class:`~forcedmove_kernels.cuda.store.CudaStore`; the methods here copy their arguments to
the device and the results back, around the same launches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
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
    is_aged,
)
from forcedmove_kernels.checks import (
    check_books,
    check_cents,
    check_chains,
    check_cluster_rule,
    check_frames,
    check_groups,
    check_indices,
    check_lots,
    check_noise,
    check_render,
    check_sides,
    check_spread,
    check_standing,
    check_totals,
    live_lots,
)
from forcedmove_kernels.cuda import launches
from forcedmove_kernels.cuda.device import Device
from forcedmove_kernels.cuda.store import CudaStore
from forcedmove_kernels.errors import BackendUnavailableError

if TYPE_CHECKING:
    from forcedmove_kernels.backend import Backend

_Record = TypeVar("_Record", bound=NamedTuple)


class CudaBackend:
    """The kernels of one device. See :class:`forcedmove_kernels.backend.Backend` for every argument.

    Work that is small, rare or of the host anyway runs there: trades into histograms, compaction of one market,
    the levels of one chain.
    """

    name = "cuda"

    def __init__(self, device: Device) -> None:
        self.device = device
        self._host = _host_backend()
        #: chains and paths come in batches that must not hold up a tick
        self._batch = device.background()

    def open_store(self, markets: int, capacity: int, tiers: int, bins: int) -> CudaStore:
        """Return an empty store on the device. Raises MemoryBudgetError before anything is allocated."""
        return CudaStore(self.device, self._host, markets, capacity, tiers, bins)

    def accumulate_volume(self, row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
        """Add trades to per-row histograms, in place, on the host: inference happens there, before anything is sent."""
        return self._host.accumulate_volume(row, price, lots, first_bucket, volume, turnover)

    def apply_updates(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, updates: Updates
    ) -> Outcome:
        """Run one lifecycle step, in place."""
        launches.check_tiers(rules.multiplier.shape[3])
        check_standing(standing, cohorts, window)
        check_updates(updates, cohorts)
        check_lots(updates, live_lots(cohorts, updates.market))
        device, steps = self.device, len(updates.market)
        there, own = self._up(cohorts), self._up(standing)
        outcome = device.zeros((5, steps, 2), np.uint64)
        used, stale = device.zeros(steps, np.int32), device.zeros((steps, 2), np.uint8)
        launches.apply_updates(
            device,
            there,
            self._up(rules),
            self._up(window),
            self._up(fresh),
            is_aged(fresh),
            own,
            {name: device.upload(array) for name, array in launches.update_arrays(updates).items()},
            steps,
            {"outcome": outcome, "used": used, "stale": stale},
        )
        self._down(there, cohorts)
        self._down(own, standing)
        return Outcome(*device.download(outcome))

    def rebuild(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, rows: I32
    ) -> None:
        """Rebuild rows of the standing arrays, in place."""
        check_standing(standing, cohorts, window)
        own = self._up(standing)
        self._rebuild(cohorts, rules, window, fresh, own, rows, None)
        self._down(own, standing)

    def standing_totals(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64
    ) -> None:
        """Rebuild rows of totals, in place."""
        check_totals(totals, cohorts, window)
        there = self.device.upload(totals)
        nothing: Any = None  # the standing arrays are not touched
        self._rebuild(cohorts, rules, window, fresh, Standing(*[nothing] * 6), rows, there)
        totals[...] = self.device.download(there)

    def leverage_grid(self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
        """Return the full grid of the given markets."""
        check_indices("markets", markets, len(cohorts.used))
        shape = (len(markets), 2, rules.multiplier.shape[3], window.bins + 2)
        grid = self.device.empty(shape, np.uint64)
        launches.leverage_grid(
            self.device,
            self._up(cohorts),
            self._up(rules),
            self._up(fresh),
            is_aged(fresh),
            self.device.upload(markets.astype(np.int32)),
            self.device.upload(window.first_bin[markets].astype(np.uint32)),
            window.bins,
            len(markets),
            grid,
        )
        return self._got(grid)

    def spread_levels(self, lots: U64, spread: Spread) -> U64:
        """Return rows of levels spread over the distances that they may really have."""
        check_spread(lots, spread)
        there = self.device.upload(lots)
        own = self._up(spread)
        change = self.device.zeros(lots.shape, np.uint64)
        launches.spread_levels(self.device, *lots.shape, lots=there, change=change, **own._asdict())
        return self._got(there)

    def compact(self, cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts, in place, on the host: a sort of some thousand rows once an hour."""
        return self._host.compact(cohorts, market, now, ladder, entry_shift)

    def profiles(self, totals: U64, first: I64, notional: Notional, window: Window) -> tuple[U64, U64]:
        """Return cents of markets and of symbols."""
        check_groups(first, len(totals), notional)
        device, cells = self.device, totals.shape[2]
        cents = device.empty(totals.shape, np.uint64)
        sums = device.empty((len(first) - 1, 2, cells), np.uint64)
        there = self._up(notional)
        launches.fill_profiles(
            device,
            len(first) - 1,
            cells,
            totals=device.upload(totals),
            markets=device.upload(np.arange(len(totals), dtype=np.int32)),
            first=device.upload(first.astype(np.int64)),
            base=there.base,
            slope=there.slope,
            first_bin=device.upload(window.first_bin.astype(np.uint32)),
            cents=cents,
            sums=sums,
        )
        return self._got(cents), self._got(sums)

    def render(
        self, lots: U64, target: I32, outputs: int, notional: Notional, first_bin: int, low: int, high: int
    ) -> F32:
        """Return USD per output row and cell."""
        check_render(lots, target, outputs, notional, low, high)
        device, shape = self.device, (outputs, high - low + 2)
        usd = device.empty(shape, np.float32)
        there = self._up(notional)
        launches.render(
            device,
            len(lots),
            outputs,
            low,
            high,
            lots=device.upload(lots),
            target=device.upload(target.astype(np.int32)),
            base=there.base,
            slope=there.slope,
            cents=device.zeros(shape, np.uint64),
            usd=usd,
            cells=lots.shape[1],
            first_bin=first_bin,
        )
        drawn: F32 = device.download(usd)
        return drawn

    def changed_cells(self, previous: F32, values: F32) -> U32:
        """Return the flat indices of elements whose bits differ."""
        check_frames(previous, values)
        device, count = self.device, values.size
        found, changed = (device.empty(size, np.uint64) for size in (launches.blocks_for(count), 1))
        listed, cells = device.zeros(1, np.uint64), device.empty(max(count, 1), np.uint64)
        frames = device.upload(previous), device.upload(values)
        launches.changed_cells(device, *frames, found, changed, listed, cells, count, count)
        there = cells[: int(device.download(listed)[0])]
        return device.download(there).astype(np.uint32)  # the lower words are the indices

    def clusters(self, notional: U64, rule: ClusterRule) -> Clusters:
        """Find the clusters of profile rows, all rows in one launch."""
        check_cluster_rule(notional, rule)
        device, (rows, cells) = self.device, notional.shape
        found, runs = device.empty(rows, np.uint64), device.empty((cells // 2 + 1, rows, 4), np.uint64)
        launches.find_clusters(
            device,
            rule,
            rows,
            cells,
            notional=device.upload(notional),
            prefix=device.empty((rows, cells + 1), np.uint64),
            found=found,
            runs=runs,
        )
        counts: U64 = device.download(found)
        return launches.clusters_of(counts, device.download(runs[: int(counts.max(initial=0))]))

    def cascade_chain(self, notional: U64, depth: U64, mark: int, shock: int) -> Chain:
        """Follow the chain of one shock level by level, on the host."""
        return self._host.cascade_chain(notional, depth, mark, shock)

    def cascade_chains(self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32) -> Endings:
        """Follow many chains to their ends."""
        check_books(notional, depth, mark)
        check_chains(row, shock, notional)
        book = self._book(notional, depth)
        device, count = self._batch, len(row)
        terminal, levels = device.empty(count, np.int32), device.empty(count, np.int32)
        total = device.empty(count, np.uint64)
        launches.follow_chains(
            device,
            book,
            count,
            mark=device.upload(mark.astype(np.int32)),
            row=device.upload(row.astype(np.int32)),
            shock=device.upload(shock.astype(np.int32)),
            terminal=terminal,
            total=total,
            levels=levels,
        )
        return Endings(device.download(terminal), device.download(total), device.download(levels))

    def shock_curves(self, notional: U64, depth: U64, mark: I32, side: I32) -> tuple[I32, U64]:
        """Return terminal cell and notional fired of every shock of one side of each row."""
        check_books(notional, depth, mark)
        check_sides(side, mark)
        device = self._batch
        book = self._book(notional, depth)
        terminal, total = device.empty(notional.shape, np.int32), device.empty(notional.shape, np.uint64)
        launches.shock_curves(
            device,
            book,
            len(notional),
            mark=device.upload(mark.astype(np.int32)),
            row=device.upload(side.astype(np.int32)),
            shock=None,
            terminal=terminal,
            total=total,
            levels=None,
        )
        return device.download(terminal), device.download(total)

    def cascade_paths(
        self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32, paths: int, noise: Noise
    ) -> Paths:
        """Follow random paths of many chains."""
        check_books(notional, depth, mark)
        check_chains(row, shock, notional)
        check_noise(paths, noise)
        device, shape = self._batch, (len(row), paths)
        book = self._book(notional, depth)
        terminal, total = device.empty(shape, np.int32), device.empty(shape, np.uint64)
        launches.follow_paths(
            device,
            book,
            len(row),
            paths,
            Noise(device.upload(noise.notional), device.upload(noise.depth), noise.seed),
            mark=device.upload(mark.astype(np.int32)),
            row=device.upload(row.astype(np.int32)),
            shock=device.upload(shock.astype(np.int32)),
            terminal=terminal,
            total=total,
        )
        return Paths(device.download(terminal), device.download(total))

    def _book(self, notional: U64, depth: U64) -> dict[str, Any]:
        """Rows of notional and depth on the device, with their prefix sums."""
        check_cents(notional)
        device = self._batch
        rows, cells = notional.shape
        book = {
            "notional": device.upload(notional),
            "depth": device.upload(depth),
            "fired": device.empty((rows, cells + 1), np.uint64),
            "held": device.empty((rows, cells + 1), np.uint64),
            "runs": device.empty((rows, cells), np.uint32),
            "cells": cells,
        }
        launches.sum_rows(device, book, rows)
        return book

    def _rebuild(
        self,
        cohorts: Cohorts,
        rules: Rules,
        window: Window,
        fresh: Freshness,
        standing: Standing,
        rows: I32,
        weighted: Any | None,
    ) -> None:
        launches.check_tiers(rules.multiplier.shape[3])
        check_indices("rows", rows, 2 * len(cohorts.used))
        longest = int(cohorts.used[rows // 2].max()) if len(rows) else 0
        there = self._up(cohorts), self._up(rules), self._up(window), self._up(fresh)
        on_device = self.device.upload(rows.astype(np.int32))
        launches.rebuild_rows(self.device, *there, is_aged(fresh), standing, on_device, len(rows), longest, weighted)

    def _up(self, record: _Record) -> _Record:
        """Return a record with its arrays on the device."""
        upload = self.device.upload
        return type(record)(*(upload(field) if isinstance(field, np.ndarray) else field for field in record))

    def _down(self, record: NamedTuple, host: NamedTuple) -> None:
        """Copy a record's arrays over those of the same record on the host."""
        for there, here in zip(record, host, strict=True):
            here[...] = self.device.download(there)

    def _got(self, array: Any) -> U64:
        got: U64 = self.device.download(array)
        return got


def _host_backend() -> Backend:
    """numba where it runs, else the oracle."""
    from forcedmove_kernels.backend import select_backend  # which imports this module

    try:
        return select_backend("cpu", 1)[0]
    except BackendUnavailableError:
        return select_backend("reference")[0]
