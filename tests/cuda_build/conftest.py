"""The CUDA sources, compiled once per session and architecture; what they take, printed and recorded under build/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forcedmove_kernels.cuda.compiler import ARCHITECTURES, OPTIONS, unit
from tests.cuda_build.machine_code import SHARED_ADD
from tests.cuda_build.toolchain import nvrtc
from tests.cuda_build.unit import Unit, compile_unit

RESOURCES = Path(__file__).parents[2] / "build" / "cuda-resources.json"
_UNITS = pytest.StashKey[dict[str, Unit]]()


@pytest.fixture(scope="session")
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Unit]:
    """The shipped kernels of every architecture."""
    folder = tmp_path_factory.mktemp("cubin")
    compiled = {name: compile_unit(unit(), name, OPTIONS, folder) for name in ARCHITECTURES}
    record = {
        "nvrtc": ".".join(map(str, nvrtc().getVersion())),
        "options": list(OPTIONS),
        "architectures": {
            architecture: {
                name: {
                    "registers": kernel.resources.registers,
                    "shared_bytes": kernel.resources.shared,
                    "stack_bytes": kernel.resources.stack,
                    "spill_store_bytes": kernel.resources.spill_stores,
                    "spill_load_bytes": kernel.resources.spill_loads,
                    "instructions": len(kernel.opcodes),
                    "shared_adds": len(kernel.matching(SHARED_ADD)),
                }
                for name, kernel in sorted(compiled[architecture].kernels.items())
            }
            for architecture in ARCHITECTURES
        },
    }
    RESOURCES.parent.mkdir(exist_ok=True)
    RESOURCES.write_text(json.dumps(record, indent=1) + "\n")
    request.config.stash[_UNITS] = compiled
    return compiled


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was recorded, one line per kernel."""
    compiled = config.stash.get(_UNITS, None)
    if not compiled:
        return
    terminalreporter.section("CUDA kernels: " + ", ".join(compiled))
    names = sorted({name for found in compiled.values() for name in found.kernels})
    width = max(map(len, names), default=0)
    columns = [f"{'kernel':<{width}}", *(f"{head:>18}" for head in ("registers", "shared bytes", "stack", "spilled"))]
    terminalreporter.write_line("".join(columns))
    for name in names:
        used = [found.kernels[name].resources for found in compiled.values() if name in found.kernels]
        numbers = (
            [item.registers for item in used],
            [item.shared for item in used],
            [item.stack for item in used],
            [item.spill_stores + item.spill_loads for item in used],
        )
        cells = (f"{_same_once(values):>18}" for values in numbers)
        terminalreporter.write_line(f"{name:<{width}}" + "".join(cells))


def _same_once(values: list[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else " / ".join(map(str, values))
