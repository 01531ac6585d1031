"""The shipped CUDA kernels, compiled for every architecture: registers only, native atomics, no warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcedmove_kernels.cuda.compiler import ARCHITECTURES, HOT_KERNELS, KERNELS, OPTIONS
from tests.benchmarks.cuda_source import SOURCE
from tests.cuda_build.unit import Unit, compile_unit, local_memory, swap_loops, without_shared_add

pytestmark = pytest.mark.parametrize("architecture", ARCHITECTURES)


def test_every_kernel_is_compiled(units: dict[str, Unit], architecture: str) -> None:
    assert set(units[architecture].kernels) == set(KERNELS)


def test_nothing_spills(units: dict[str, Unit], architecture: str) -> None:
    assert local_memory(units[architecture]) == []


def test_no_compare_and_swap(units: dict[str, Unit], architecture: str) -> None:
    assert swap_loops(units[architecture]) == []


def test_hot_kernels_add_natively(units: dict[str, Unit], architecture: str) -> None:
    assert HOT_KERNELS
    assert without_shared_add(units[architecture], HOT_KERNELS) == []


def test_the_scatter_limit_is_one_of_native_adds(architecture: str, tmp_path: Path) -> None:
    """The benchmark compares kernels with a bare loop of such adds."""
    unit = compile_unit(SOURCE, architecture, OPTIONS, tmp_path)
    assert without_shared_add(unit, ["increment"]) == []
    assert swap_loops(unit) == local_memory(unit) == []


def test_no_warnings(units: dict[str, Unit], architecture: str) -> None:
    assert units[architecture].warnings == []
