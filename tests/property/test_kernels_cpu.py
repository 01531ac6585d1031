"""What the numba backend adds to the kernels: wide products, sharing out, threads, the cache."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from forcedmove_kernels.arrays import UNWEIGHTED, Freshness, Rules, Updates, Window, empty_cohorts, empty_standing
from forcedmove_kernels.cpu import CpuBackend, lifecycle
from forcedmove_kernels.cpu.cache import drop_stale_kernels
from forcedmove_kernels.cpu.clusters import wide_product
from forcedmove_kernels.cpu.items import weigh_row, zero_cell
from forcedmove_kernels.cpu.schedule import balance, usable_threads
from forcedmove_kernels.cpu.vectors import LANES, fill_cells, fill_shares
from forcedmove_kernels.fixed_point import PHASES
from tests.parity import tables

words = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]))


@given(a=words, b=words)
def test_wide_product(a: int, b: int) -> None:
    high, low = wide_product(np.uint64(a), np.uint64(b))
    assert (int(high) << 64) + int(low) == a * b


@given(cost=st.lists(st.integers(0, 1000), max_size=20), threads=st.integers(1, 5))
def test_balance_gives_each_item_to_one_thread(cost: list[int], threads: int) -> None:
    order, part = balance(np.array(cost, np.int64), threads)
    assert sorted(order.tolist()) == list(range(len(cost)))
    assert part[0] == 0
    assert part[-1] == len(cost)
    load = [sum(cost[i] for i in order[part[t] : part[t + 1]]) for t in range(threads)]
    assert max(load) <= sum(cost) / threads + max(cost, default=0)


def test_number_of_threads() -> None:
    launched = usable_threads(None)
    assert usable_threads(1) == 1
    assert usable_threads(10_000) == launched
    with pytest.raises(ValueError, match="threads = 0"):
        CpuBackend(0)


@settings(max_examples=5)
@given(world=tables.worlds())
def test_launching_leaves_the_number_of_threads_as_it_was(world: tables.World) -> None:
    before = numba.get_num_threads()
    totals = tables.poisoned(world.cohorts, world.window)
    CpuBackend(1).standing_totals(*world, tables.all_rows(world.cohorts), totals)
    CpuBackend(2).standing_totals(*world, tables.all_rows(world.cohorts), totals)
    assert numba.get_num_threads() == before


@given(
    entry=st.integers(0, (1 << 32) - 1),
    lots=st.integers(0, (1 << 32) - 1),
    fresh=st.integers(0, (1 << 32) - 1),
    first_bin=st.sampled_from([0, 1, 900, 1 << 26, (1 << 32) - 1]),
    tables=st.lists(st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 1 << 16)), min_size=1, max_size=LANES),
)
def test_vectors_are_the_formulas(
    entry: int, lots: int, fresh: int, first_bin: int, tables: list[tuple[int, int]]
) -> None:
    """Cells and shares of every tier of a vector; what lies behind the tables is not read."""
    count = len(tables)
    multiplier = np.array([m for m, _ in tables], np.uint32)
    weight = np.array([0, *sorted(w for _, w in tables)], np.uint32)
    cell, share, pair = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32), np.empty(LANES, np.uint64)
    fill_vector(cell, share, pair, multiplier, weight, count, *map(np.uint32, (entry, lots, fresh, first_bin)))
    cells = [min(max((entry * int(m) >> 38) - first_bin + 1, 0), 300) for m in multiplier]
    shares = [[(q * int(w[1]) >> 16) - (q * int(w[0]) >> 16) for w in pairwise(weight)] for q in (lots, fresh)]
    padding = [0] * (LANES - count)
    assert cell[:count].tolist() == cells
    assert share.tolist() == shares[0] + padding
    assert pair.tolist() == [low | high << 32 for low, high in zip(*shares, strict=True)] + padding


@njit
def fill_vector(cell, share, pair, multiplier, weight, count, entry, lots, fresh, first_bin):  # type: ignore[no-untyped-def]
    fill_cells(cell, 0, multiplier, 0, count, entry, zero_cell(first_bin), np.int32(300))
    fill_shares(share, 0, weight, 0, count, lots, lots)
    fill_shares(pair, 0, weight, 0, count, lots, fresh)


@given(
    opened=st.lists(st.integers(0, (1 << 32) - 1), max_size=20),
    step=st.sampled_from([1, 60, 1 << 33]),
    now=st.sampled_from([0, 5000, 1 << 33]),
)
def test_rows_are_weighed_cohort_by_cohort(opened: list[int], step: int, now: int) -> None:
    """A weight that neighbours share is that of each of them."""
    fresh = Freshness(np.array([65536, 50000, 3, 0], np.uint32), step, now)
    at, lots = np.sort(np.array(opened, np.uint32)), np.full(len(opened), 1 << 31, np.uint32)
    weighed = np.empty_like(lots)
    weigh_row(lots, at, fresh, weighed)
    ages = [max(now - int(when), 0) // step for when in at]
    assert weighed.tolist() == [(1 << 31) * int(fresh.table[min(age, 3)]) >> 16 for age in ages]


def test_kernels_older_than_any_source_are_dropped(tmp_path: Path) -> None:
    """A change in one file must reach the kernels of the others that inline it."""
    cache = tmp_path / "cpu" / "__pycache__"
    cache.mkdir(parents=True)
    for path, seconds in (("fixed_point.py", 50), ("cpu/items.py", 100)):
        (tmp_path / path).touch()
        os.utime(tmp_path / path, (seconds, seconds))
    for name, seconds in (("grid.nbi", 99), ("volume.nbi", 101)):
        (cache / name).touch()
        os.utime(cache / name, (seconds, seconds))
    drop_stale_kernels(tmp_path)
    assert [path.name for path in cache.iterdir()] == ["volume.nbi"]


def test_a_refusal_that_the_checks_do_not_share_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled look at a step and the checks that name its fault are two; a step must not vanish between them."""
    monkeypatch.setattr(lifecycle, "apply", lambda *_: (True, -1))
    cohorts = empty_cohorts(4, 1)
    rules = Rules(np.ones(1, np.uint8), np.ones((1, 2, PHASES, 1), np.uint32), np.zeros((1, 2, 2, 2), np.uint32))
    one = np.ones(1, np.uint32)
    step = Updates(np.zeros(1, np.int32), one, one, one, np.ones((1, 2), np.uint32), one, np.array([0, 1]), one, one)
    with pytest.raises(AssertionError, match="nothing wrong"):
        CpuBackend(1).apply_updates(cohorts, rules, Window(one, 8), UNWEIGHTED, empty_standing(cohorts, 8), step)
