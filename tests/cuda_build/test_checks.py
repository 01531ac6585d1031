"""The checks catch what they are for: kernels with faults, compiled for every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcedmove_kernels.cuda.compiler import ARCHITECTURES
from tests.cuda_build.machine_code import SHARED_ADD
from tests.cuda_build.toolchain import compile_cubin, missing
from tests.cuda_build.unit import Unit, compile_unit, local_memory, swap_loops, without_shared_add

PROBES = Path(__file__).with_name("probes.cu")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def probes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    folder = tmp_path_factory.mktemp("cubin")
    return compile_unit(PROBES.read_text(encoding="utf-8"), request.param, ("-std=c++17",), folder)


def test_every_kernel_is_found(probes: Unit) -> None:
    assert len(probes.kernels) == 10
    assert all(kernel.resources.registers > 0 and kernel.opcodes for kernel in probes.kernels.values())


def test_spills_and_local_arrays_are_caught(probes: Unit) -> None:
    found = " ".join(local_memory(probes))
    faulty = {"spills", "indexes_an_array", "calls_a_function_that_spills", "descend"}
    assert all(name in found for name in faulty)
    assert not any(name in found for name in probes.kernels if name not in faulty)
    spills, indexed = probes.kernels["spills"].resources, probes.kernels["indexes_an_array"].resources
    assert spills.registers == 64  # 1 024 threads share 65 536
    assert min(spills.spill_stores, spills.spill_loads) > 128
    assert (indexed.stack, indexed.spill_stores) == (256, 0)


def test_compare_and_swap_is_caught(probes: Unit) -> None:
    found = {line.partition(":")[0] for line in swap_loops(probes)}
    assert found == {"adds_u64_in_shared", "adds_f32_in_shared", "swaps_in_shared", "swaps_in_global"}


def test_native_shared_adds_are_told_apart(probes: Unit) -> None:
    native = {"adds_u32_in_shared", "counts_in_shared"}
    assert {name for name, kernel in probes.kernels.items() if kernel.matching(SHARED_ADD)} == native
    assert without_shared_add(probes, ["counts_in_shared", "adds_u64_in_shared", "absent"]) == [
        "adds_u64_in_shared",
        "absent",
    ]


def test_shared_memory_is_counted(probes: Unit) -> None:
    shared = {name: kernel.resources.shared for name, kernel in probes.kernels.items()}
    assert (shared["adds_u64_in_shared"], shared["adds_u32_in_shared"], shared["swaps_in_shared"]) == (2048, 1024, 4)
    assert shared["adds_in_global"] == 0


def test_warnings_are_caught(probes: Unit, tmp_path: Path) -> None:
    assert any("cannot be statically determined" in line for line in probes.warnings)  # ptxas: recursion
    source = 'extern "C" __global__ void idle() { int never_used = 3; }'
    assert "never_used" in compile_unit(source, ARCHITECTURES[0], (), tmp_path).warnings[0]
    assert not compile_unit('extern "C" __global__ void idle() {}', ARCHITECTURES[0], (), tmp_path).warnings


def test_an_error_is_shown() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"unit\.cu\(1\): error"):
        compile_cubin("__global__ void broken( {}", ARCHITECTURES[0], ())


@pytest.mark.parametrize(("ci", "expected"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_tool_fails_in_ci_only(
    monkeypatch: pytest.MonkeyPatch, ci: str, expected: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(expected, match="nvdisasm"):
        missing("nvdisasm")
