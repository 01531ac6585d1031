"""One translation unit compiled for one architecture, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tests.cuda_build.machine_code import (
    COMPARE_AND_SWAP,
    LOCAL_MEMORY,
    SHARED_ADD,
    Kernel,
    Resources,
    kernels,
    resources,
    warnings,
)
from tests.cuda_build.toolchain import compile_cubin, disassemble


class Unit(NamedTuple):
    """Kernels by name; functions also has device functions that were not inlined."""

    kernels: dict[str, Kernel]
    functions: dict[str, Resources]
    warnings: list[str]


def compile_unit(source: str, architecture: str, options: tuple[str, ...], folder: Path) -> Unit:
    """Compile and disassemble ``source``; ``folder`` holds the machine code in between."""
    cubin, log = compile_cubin(source, architecture, options)
    return Unit(kernels(log, disassemble(cubin, folder)), resources(log), warnings(log))


def local_memory(unit: Unit) -> list[str]:
    """What leaves registers for local memory: spills, frames, accesses."""
    found = [
        f"{name}: {used.stack} bytes of stack, {used.spill_stores} stored and {used.spill_loads} loaded for spills"
        for name, used in unit.functions.items()
        if used.stack or used.spill_stores or used.spill_loads
    ]
    for name, kernel in unit.kernels.items():
        if accesses := kernel.matching(LOCAL_MEMORY):
            found.append(f"{name}: {len(accesses)} accesses to local memory")
    return found


def swap_loops(unit: Unit) -> list[str]:
    """Kernels with a compare-and-swap in their machine code."""
    return [
        f"{name}: {', '.join(sorted(set(swaps)))}"
        for name, kernel in unit.kernels.items()
        if (swaps := kernel.matching(COMPARE_AND_SWAP))
    ]


def without_shared_add(unit: Unit, hot: Collection[str]) -> list[str]:
    """Those of the kernels ``hot`` that have no native 32-bit add to shared memory."""
    return [name for name in hot if name not in unit.kernels or not unit.kernels[name].matching(SHARED_ADD)]
