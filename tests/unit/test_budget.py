"""Memory is counted exactly, refused by name, and looked for where the process lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcedmove_kernels import budget
from forcedmove_kernels.arrays import Rules, Window, empty_cohorts, empty_standing
from forcedmove_kernels.budget import (
    check_budget,
    frame_bytes,
    host_free_bytes,
    size_text,
    store_bytes,
    watched_bytes,
    working_bytes,
)
from forcedmove_kernels.errors import MemoryBudgetError
from forcedmove_kernels.fixed_point import PHASES

GIB = 1 << 30


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 13, 64), (512, 2048, 13, 2048)])
def test_every_resident_array_counts(shape: tuple[int, int, int, int]) -> None:
    markets, capacity, tiers, bins = shape
    cohorts = empty_cohorts(capacity, markets)
    rules = Rules(
        np.zeros(markets, np.uint8),
        np.zeros((markets, 2, PHASES, tiers), np.uint32),
        np.zeros((markets, 2, tiers + 1, tiers + 1), np.uint32),
    )
    window = Window(np.zeros(markets, np.uint32), bins)
    arrays = (*cohorts, *rules, window.first_bin, *empty_standing(cohorts, bins))
    assert store_bytes(*shape) == sum(array.nbytes for array in arrays)


def test_a_watched_view_counts_with_what_comparing_takes() -> None:
    """A frame of f32; and with room to grow: two counts and a list of a third of its cells, u64."""
    assert frame_bytes(3000) == 3000 * 4 + 8 * (1 + 12 + 1000) * 3 // 2
    assert watched_bytes(5, 98) == 5 * 4 * frame_bytes(200)
    assert working_bytes(5, 98) > watched_bytes(5, 98)


def test_what_does_not_fit_is_refused_with_the_keys_to_lower() -> None:
    check_budget("this machine", GIB, GIB)
    with pytest.raises(MemoryBudgetError) as caught:
        check_budget("NVIDIA H200", int(9.1 * GIB), int(7.9 * GIB))
    assert str(caught.value) == (
        "needs 9.1 GiB, NVIDIA H200 has 7.9 GiB free: lower `max_cohorts_per_market`, `max_markets` or `bins`"
    )
    assert size_text(GIB - (1 << 20)) == "1023.0 MiB"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB available and nested control groups, as files."""
    (tmp_path / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable:  8388608 kB\n")
    (tmp_path / "own").write_text("4:memory:/old\n0::/slice/service\n")
    (tmp_path / "groups" / "slice" / "service").mkdir(parents=True)
    monkeypatch.setattr(budget, "_MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(budget, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(budget, "_GROUPS", tmp_path / "groups")
    return tmp_path


def limit_group(folder: Path, most: str, used: int, cache: int) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cache}\ninactive_file {cache}\n")


def test_free_memory_ends_at_the_tightest_control_group(machine: Path) -> None:
    assert host_free_bytes() == 8 * GIB
    limit_group(machine / "groups" / "slice" / "service", "max", GIB, 0)
    assert host_free_bytes() == 8 * GIB
    limit_group(machine / "groups" / "slice", str(3 * GIB), 2 * GIB, GIB // 2)
    assert host_free_bytes() == 3 * GIB // 2
    limit_group(machine / "groups" / "slice" / "service", str(GIB), 2 * GIB, 0)
    assert host_free_bytes() == 0


def test_a_container_is_its_own_root(machine: Path) -> None:
    (machine / "own").write_text("0::/\n")
    limit_group(machine / "groups", str(2 * GIB), GIB, 0)
    assert host_free_bytes() == GIB


def test_without_the_kernels_files_it_is_all_memory(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert host_free_bytes() > GIB // 4
    (machine / "meminfo").write_text("MemTotal: 16777216 kB\n")
    (machine / "own").unlink()
    assert host_free_bytes() > GIB // 4
