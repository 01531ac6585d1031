"""``make gpu-check``: what only a machine with a GPU can show, in under eight minutes.

The parity suite on the device with fresh tables, ``compute-sanitizer`` over a small case, the benchmark of the kernels.
Needs Python, NumPy and CuPy. Writes build/gpu-check.json and build/gpu-check.md. Exit code: 0 when nothing failed,
1 when something did, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from forcedmove_kernels.errors import BackendUnavailableError
from tests.gpu import report, sanitizer
from tests.gpu.devices import DEVICES
from tests.gpu.steps import ROOT, Step, python, run_step

STEPS = ("parity", *sanitizer.TOOLS, "benchmark")
# Limits add up to under eight minutes. Loops stop by themselves well before theirs.
PARITY_S, PARITY_LIMIT_S = 70, 120
WATCHED_S, WATCHED_LIMIT_S = 30, 60
BENCHMARK_LIMIT_S = 235
PARITY_FILE, BENCHMARK_FILE = "gpu-parity.json", "gpu-bench.json"


def run_one(name: str, device: str, seed: int, parity_s: float, folder: Path) -> Step:
    """Run one step."""
    loop = python("tests.gpu.parity_loop", "--device", device, "--seed", str(seed))
    if name == "parity":
        command = [*loop, "--seconds", str(parity_s), "--json", str(folder / PARITY_FILE)]
        return run_step(name, command, PARITY_LIMIT_S)
    if name in sanitizer.TOOLS:
        return sanitizer.watch(name, [*loop, "--watched", "--seconds", str(WATCHED_S)], WATCHED_LIMIT_S)
    command = python("tests.benchmarks", "kernels_bench", "--json", str(folder / BENCHMARK_FILE))
    return run_step(name, command, BENCHMARK_LIMIT_S)


def read(path: Path) -> dict[str, Any]:
    """What a step left in a file: nothing where it did not get that far."""
    left: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return left


def main(arguments: list[str] | None = None) -> int:
    """Run the steps one after the other and report."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeat the tables of an earlier run")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="run only these")
    parser.add_argument("--parity-seconds", type=float, default=PARITY_S, help="how long to go on with fresh tables")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for the report")
    parser.add_argument("--device", choices=DEVICES, default="cuda", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    folder = asked.out.resolve()
    try:
        described = DEVICES[asked.device].describe()
    except BackendUnavailableError as missing:
        print(f"gpu-check: {missing}", file=sys.stderr)
        return 2
    seed = secrets.randbits(63) if asked.seed is None else asked.seed
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **described,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
        "seed": str(seed),
    }
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PARITY_FILE, BENCHMARK_FILE):
        (folder / name).unlink(missing_ok=True)
    steps: list[Step] = []
    for name in asked.steps:
        step = run_one(name, asked.device, seed, asked.parity_seconds, folder)
        steps.append(step)
        print(f"{name}: {step.outcome} in {step.seconds:.0f} s: {step.detail}", flush=True)
        if step.output:
            print(step.output, flush=True)
    report.write(folder, facts, steps, read(folder / PARITY_FILE), read(folder / BENCHMARK_FILE))
    print(f"report: {folder / 'gpu-check.md'}")
    return 1 if any(step.bad for step in steps) else 0


if __name__ == "__main__":
    sys.exit(main())
