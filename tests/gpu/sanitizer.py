"""``compute-sanitizer``: every memory access of the kernels watched while they run a few tables."""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.gpu.steps import Step, run_step

NAME = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck")
#: exit code for what the sanitizer finds, unlike any of the program it watches
FOUND = "86"
NOT_FOUND = f"{NAME} not found: not on PATH, in CUDA_HOME, in /usr/local/cuda*, nor as nvidia-cuda-sanitizer-api"


def places() -> Iterator[Path]:
    """Where CUDA toolkits and the wheels of NVIDIA keep the tool, besides PATH."""
    roots = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    roots += sorted(Path("/usr/local").glob("cuda*"), reverse=True)
    for root in roots:
        yield root / "bin" / NAME
        yield root / NAME / NAME
    packages = {*site.getsitepackages(), site.getusersitepackages(), *(p for p in sys.path if "site-packages" in p)}
    for folder in sorted(packages):
        yield from sorted((Path(folder) / "nvidia").rglob(NAME))


def find() -> Path | None:
    """The tool's executable, or None."""
    on_path = shutil.which(NAME)
    if on_path:
        return Path(on_path)
    return next((place for place in places() if place.is_file() and os.access(place, os.X_OK)), None)


def watch(tool: str, command: Sequence[str], limit_s: float) -> Step:
    """Run a command under one of the sanitizer's tools; what it finds fails the step."""
    executable = find()
    if executable is None:
        return Step(tool, "skipped", 0, NOT_FOUND)
    # Calls that CuPy tries and answers for itself are no findings.
    options = ["--tool", tool, "--target-processes", "all", "--error-exitcode", FOUND, "--report-api-errors", "no"]
    if tool == "memcheck":
        options += ["--padding", "512"]  # so that what runs over the end of an array does not land in the next
    return run_step(tool, [str(executable), *options, *command], limit_s)
