"""The host build and the launcher agree on what a kernel is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from forcedmove_kernels import fixed_point
from forcedmove_kernels.arrays import NOT_OBSERVED
from forcedmove_kernels.cuda import arguments, compiler, device, launches
from tests.cuda_host.device import CompilerMissing, HostDevice, library

try:
    BUILT = library()
except CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

TEXT = compiler.unit()


def constant(name: str) -> int:
    """Value of a ``constexpr`` of the sources: a number, perhaps shifted."""
    found = re.search(rf"constexpr \w+ {name} = (?:u64\((\d+)\) << )?(\w+);", TEXT)
    assert found, name
    number = int(found[2].removesuffix("u"), 0)
    return int(found[1]) << number if found[1] else number


def test_the_launcher_knows_every_kernel_that_was_built() -> None:
    assert sorted(BUILT.kernel_names().decode().split()) == sorted(compiler.KERNELS)
    assert set(compiler.HOT_KERNELS) < set(compiler.KERNELS)


def test_structs_have_the_same_size_in_python_and_in_cpp() -> None:
    takes = dict(re.findall(r"^KERNEL\((\w+), (\w+)\)", TEXT, re.MULTILINE))
    for kernel, struct in takes.items():
        assert BUILT.argument_bytes(kernel.encode()) == arguments.structs()[struct].itemsize, kernel
    assert set(takes.values()) < set(arguments.structs())


@pytest.mark.parametrize(
    "name",
    [
        "PRICE_BITS",
        "MULTIPLIER_BITS",
        "PHASES",
        "WEIGHT_BITS",
        "FRESHNESS_BITS",
        "NOISE_BITS",
        "SHARE_BITS",
        "MAX_ROW_CENTS",
    ],
)
def test_the_integer_contract_is_the_same_in_cpp(name: str) -> None:
    assert constant(name) == getattr(fixed_point, name)


def test_the_launcher_and_the_sources_mean_the_same_blocks() -> None:
    assert constant("NOT_OBSERVED") == NOT_OBSERVED
    assert constant("THREADS") == device.THREADS
    assert constant("MAX_TIERS") == launches.MAX_TIERS
    small = HostDevice(small_blocks=True)
    for name, few in (("TILE", small.tile), ("CHUNK", small.chunk)):
        values = re.findall(rf"constexpr u32 {name} = (\d+);", TEXT)
        assert [int(value) for value in values] == [few, getattr(device, name)]


def test_arguments_must_be_complete() -> None:
    fields = {"source": None, "markets": None, "rows": None}
    with pytest.raises(KeyError, match="cells"):
        arguments.pack("GatherArguments", fields, int)
    packed = arguments.pack("GatherArguments", fields | {"cells": -3, "rows": np.arange(3)}, lambda array: array.size)
    assert packed.tolist() == [(0, 0, 3, -3)]


@pytest.mark.parametrize("reverse", [False, True])
def test_blocks_run_in_either_order_on_any_number_of_threads(reverse: bool) -> None:
    """A kernel whose blocks depend on nothing but their number."""
    host = HostDevice(threads=3, order="reverse" if reverse else "forward")
    source = np.arange(5 * 700, dtype=np.uint64)
    rows = np.zeros((5, 700), np.uint64)
    markets = np.array([3, 0, 4, 1, 2], np.int32)
    launches.gather_rows(host, source, markets, rows, 5, 700)
    np.testing.assert_array_equal(rows, source.reshape(5, 700)[markets])


def test_headers_are_pasted_once_and_in_order() -> None:
    names = re.findall(r'^#line 1 "(.+)"$', TEXT, re.MULTILINE)
    assert len(set(names)) == len(names) == len(list(compiler.FOLDER.glob("*.cu*")))
    assert "#include" not in TEXT.replace('#include "host.h"', "")
    defined = ["constexpr u32 THREADS", "struct Cohorts", "KERNEL(fill_rows", "KERNEL(apply_updates"]
    places = [TEXT.index(text) for text in defined]
    assert places == sorted(places)


def test_a_compiler_names_the_line_of_the_file() -> None:
    """What follows a header counts on from the line after it."""
    name, number, counted = "", 0, []
    for line in TEXT.splitlines():
        marker = re.fullmatch(r'#line (\d+) "(.+)"', line)
        if marker:
            number, name = int(marker[1]), marker[2]
            continue
        if line.startswith("KERNEL("):
            counted.append((compiler.FOLDER / name).read_text().splitlines()[number - 1] == line)
        number += 1
    assert len(counted) == len(compiler.KERNELS)
    assert all(counted)
