"""Grids, blocks and arguments of every launch. Arrays lie where the device computes; records are those of arrays.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forcedmove_kernels.arrays import (
    U64,
    ClusterRule,
    Clusters,
    Cohorts,
    Freshness,
    Noise,
    Rules,
    Standing,
    Updates,
    Window,
)
from forcedmove_kernels.cuda.arguments import pack
from forcedmove_kernels.cuda.device import THREADS, Device

MAX_TIERS = 31
#: blocks of words per row in kernels that copy or convert: enough to fill a GPU together with a few rows
_COLUMNS = 8

#: types of the arrays of :class:`~forcedmove_kernels.arrays.Updates`, as the update step reads them
_UPDATE_TYPES: dict[str, DTypeLike] = {
    "market": np.int32,
    "low": np.uint32,
    "high": np.uint32,
    "price": np.uint32,
    "open_interest": np.uint32,
    "opened_at": np.uint32,
    "first_open": np.int64,
    "open_entry": np.uint32,
    "open_lots": np.uint32,
}


def update_arrays(updates: Updates) -> dict[str, NDArray[Any]]:
    """Return the arrays of a step by name, of the very types that the kernel reads."""
    return {name: np.ascontiguousarray(getattr(updates, name), dtype) for name, dtype in _UPDATE_TYPES.items()}


def check_tiers(tiers: int) -> None:
    """Raise ValueError for more tiers than a block keeps in shared memory."""
    if tiers > MAX_TIERS:
        raise ValueError(f"tiers: the CUDA backend takes at most {MAX_TIERS} leverage tiers, got {tiers}")


def blocks_for(items: int) -> int:
    """Blocks with a thread per item."""
    return max(-(-items // THREADS), 1)


def apply_updates(
    device: Device,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    standing: Standing,
    updates: dict[str, Any],
    count: int,
    outcome: dict[str, Any],
) -> None:
    """Run a step of ``count`` markets; ``updates`` and ``outcome`` (u64 ``[5, K, 2]``, used, stale) by field name."""
    if count:
        fields = _store(cohorts, rules, window, fresh, aged, standing) | updates | outcome | {"count": count}
        device.launch("apply_updates", (count, 1, 1), pack("ApplyArguments", fields, device.address))


def rebuild_rows(
    device: Device,
    cohorts: Cohorts,
    rules: Rules,
    window: Window,
    fresh: Freshness,
    aged: bool,
    standing: Standing,
    rows: Any,
    count: int,
    longest: int,
    weighted: Any | None = None,
) -> None:
    """Rebuild ``count`` rows of ``standing``, or of ``weighted`` totals alone; ``longest``: most cohorts of a row."""
    if not count:
        return
    fields = _store(cohorts, rules, window, fresh, aged, standing) | {"rows": rows, "weighted": weighted}
    arguments = pack("RowArguments", fields, device.address)
    cells = window.bins + 2
    chunks = -(-cells // device.chunk)
    if longest > device.tile:
        device.launch("clear_rows", (count, 1, chunks), arguments)
    shared_bytes = 2 * 4 * min(cells, device.chunk)
    device.launch("fill_rows", (count, max(-(-longest // device.tile), 1), chunks), arguments, shared_bytes)
    if weighted is None:
        device.launch("derive_rows", (count, 1, 1), arguments)


def leverage_grid(
    device: Device,
    cohorts: Cohorts,
    rules: Rules,
    fresh: Freshness,
    aged: bool,
    markets: Any,
    first_bin: Any,
    bins: int,
    count: int,
    grid: Any,
) -> None:
    """Fill the grid u64 ``[K, 2, T, C]`` of ``count`` markets; ``first_bin`` u32 ``[K]``."""
    if not count:
        return
    tiers = rules.multiplier.shape[-1]
    fields = {
        "cohorts": _cohorts(cohorts),
        "rules": _rules(rules),
        "fresh": _freshness(fresh, aged),
        "markets": markets,
        "first_bin": first_bin,
        "grid": grid,
        "bins": bins,
    }
    cells = bins + 2
    size = (count * 2 * tiers, 1, -(-cells // device.chunk))
    device.launch("fill_grid", size, pack("GridArguments", fields, device.address), 4 * min(cells, device.chunk))


def spread_levels(device: Device, rows: int, cells: int, **fields: Any) -> None:
    """Spread ``rows`` rows of lots in place; ``fields`` as in ``SpreadArguments``."""
    if rows:
        arguments = pack("SpreadArguments", fields | {"cells": cells}, device.address)
        device.launch("scatter_levels", (rows, _COLUMNS, 1), arguments)
        device.launch("gather_levels", (rows, 1, 1), arguments)


def gather_rows(device: Device, source: Any, markets: Any, rows: Any, count: int, words: int) -> None:
    """Copy ``words`` u64 of each of ``count`` markets of ``source`` to ``rows``."""
    if count:
        fields = {"source": source, "markets": markets, "rows": rows, "cells": words}
        device.launch("gather_rows", (count, _COLUMNS, 1), pack("GatherArguments", fields, device.address))


def fill_profiles(device: Device, symbols: int, cells: int, **fields: Any) -> None:
    """Fill the cents of the markets of ``symbols`` symbols, and their sums; ``fields`` as in ``ProfileArguments``."""
    if symbols:
        arguments = pack("ProfileArguments", fields | {"cells": cells}, device.address)
        device.launch("fill_profiles", (symbols, blocks_for(2 * cells), 1), arguments)


def render(device: Device, rows: int, outputs: int, low: int, high: int, **fields: Any) -> None:
    """Add ``rows`` rows of lots to zeroed cents and turn those into USD; ``fields`` as in ``RenderArguments``."""
    numbers = {"rows": rows, "outputs": outputs, "low": low, "high": high}
    arguments = pack("RenderArguments", fields | numbers, device.address)
    if rows:
        device.launch("add_outputs", (rows, _COLUMNS, 1), arguments)
    device.launch("finish_outputs", (blocks_for(outputs * (high - low + 2)), 1, 1), arguments)


def changed_cells(
    device: Device,
    previous: Any,
    values: Any,
    found: Any,
    changed: Any,
    listed: Any,
    cells: Any,
    count: int,
    most: int,
) -> None:
    """List where ``count`` words differ, at most ``most``, and make ``previous`` equal; see ``ChangedArguments``."""
    blocks = blocks_for(count)
    fields = {
        "previous": previous,
        "values": values,
        "found": found,
        "changed": changed,
        "listed": listed,
        "cells": cells,
        "count": count,
        "blocks": blocks,
        "most": most,
    }
    arguments = pack("ChangedArguments", fields, device.address)
    device.launch("count_changed", (blocks, 1, 1), arguments)
    device.launch("place_changed", (1, 1, 1), arguments)
    device.launch("list_changed", (blocks, 1, 1), arguments)


def find_clusters(device: Device, rule: ClusterRule, rows: int, cells: int, **fields: Any) -> None:
    """Find the clusters of ``rows`` rows of ``cells`` cells; ``fields`` as in ``ClusterArguments``."""
    if rows:
        numbers = {name: np.uint64(number) for name, number in rule._asdict().items()}
        arguments = pack("ClusterArguments", fields | numbers | {"rows": rows, "cells": cells}, device.address)
        device.launch("find_clusters", (rows, 1, 1), arguments)


def clusters_of(found: U64, runs: U64) -> Clusters:
    """Return the clusters of all rows, one row after the other.

    ``found`` u64 ``[R]`` counts those of each row, ``runs`` u64 ``[longest, R, 4]`` has them as the kernel wrote them.
    """
    taken = np.arange(len(runs)) < found[:, None].astype(np.int64)
    begin, end, peak, notional = runs.transpose(1, 0, 2)[taken].T
    return Clusters(
        first=np.concatenate([np.zeros(1, np.int64), np.cumsum(found, dtype=np.int64)]),
        begin=begin.astype(np.int32),
        end=end.astype(np.int32),
        peak=peak.astype(np.int32),
        notional=notional.copy(),
    )


def sum_rows(device: Device, book: dict[str, Any], rows: int) -> None:
    """Fill the prefix sums of ``rows`` rows; ``book`` as in ``PrefixArguments``."""
    if rows:
        device.launch("sum_rows", (rows, 1, 1), pack("PrefixArguments", book, device.address))


def follow_chains(device: Device, book: dict[str, Any], count: int, **fields: Any) -> None:
    """Follow ``count`` chains on summed rows; ``fields`` as in ``ChainArguments``."""
    if count:
        arguments = pack("ChainArguments", fields | {"book": book, "count": count}, device.address)
        device.launch("follow_chains", (blocks_for(count), 1, 1), arguments)


def shock_curves(device: Device, book: dict[str, Any], rows: int, **fields: Any) -> None:
    """Fill the curves of ``rows`` summed rows; ``fields`` as in ``ChainArguments``, with sides in ``row``."""
    if rows:
        arguments = pack("ChainArguments", fields | {"book": book, "count": rows}, device.address)
        device.launch("shock_curves", (rows, blocks_for(int(book["cells"])), 1), arguments)


def follow_paths(device: Device, book: dict[str, Any], count: int, paths: int, noise: Noise, **fields: Any) -> None:
    """Follow ``paths`` random paths of ``count`` chains; ``noise`` has its tables on the device."""
    if count and paths:
        numbers = {
            "notional_noise": noise.notional,
            "depth_noise": noise.depth,
            "seed": np.uint64(noise.seed),
            "notional_mask": noise.notional.shape[0] - 1,
            "depth_mask": noise.depth.shape[0] - 1,
            "count": count,
            "paths": paths,
        }
        arguments = pack("PathArguments", fields | numbers | {"book": book}, device.address)
        device.launch("follow_paths", (blocks_for(count * paths), 1, 1), arguments)


def _store(
    cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, aged: bool, standing: Standing
) -> dict[str, Any]:
    return {
        "cohorts": _cohorts(cohorts),
        "rules": _rules(rules),
        "window": window._asdict(),
        "fresh": _freshness(fresh, aged),
        "standing": standing._asdict(),
    }


def _cohorts(cohorts: Cohorts) -> dict[str, Any]:
    return cohorts._asdict() | {"slots": cohorts.entry.shape[0]}


def _rules(rules: Rules) -> dict[str, Any]:
    return rules._asdict() | {"tier_count": rules.multiplier.shape[-1]}


def _freshness(fresh: Freshness, aged: bool) -> dict[str, Any]:
    return fresh._asdict() | {"length": fresh.table.shape[0], "aged": int(aged)}
