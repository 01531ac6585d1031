"""What the numba backend adds to the kernels: wide products, sharing out, threads, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.cpu import CpuBackend
from forcedmove_kernels.cpu.cache import drop_stale_kernels
from forcedmove_kernels.cpu.clusters import wide_product
from forcedmove_kernels.cpu.schedule import balance, usable_threads
from tests.parity import tables

words = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]))


@settings(deadline=None)
@given(a=words, b=words)
def test_wide_product(a: int, b: int) -> None:
    high, low = wide_product(np.uint64(a), np.uint64(b))
    assert (int(high) << 64) + int(low) == a * b


@settings(deadline=None)
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


@settings(max_examples=5, deadline=None)
@given(world=tables.worlds())
def test_launching_leaves_the_number_of_threads_as_it_was(world: tables.World) -> None:
    before = numba.get_num_threads()
    totals = tables.poisoned(world.cohorts, world.window)
    CpuBackend(1).standing_totals(*world, tables.all_rows(world.cohorts), totals)
    CpuBackend(2).standing_totals(*world, tables.all_rows(world.cohorts), totals)
    assert numba.get_num_threads() == before


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
