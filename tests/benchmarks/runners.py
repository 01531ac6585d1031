"""The backends that run here, each with the limits of what it runs on."""

from __future__ import annotations

import importlib.util
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.cuda import devices, open_backend
from forcedmove_kernels.errors import BackendUnavailableError
from tests.benchmarks.rounds import nothing

HAS_NUMBA = importlib.util.find_spec("numba") is not None


class Limits(NamedTuple):
    """Measured limits of one core, of several, or of a GPU."""

    copy: float  # bytes read plus bytes written per second
    scatter: float | None  # increments per second of cells in the fastest memory; None where it was not measured


class Runner(NamedTuple):
    """A backend under its name in the table."""

    name: str
    backend: Backend
    limits: Limits
    device: str = ""  # the GPU's name
    finish: Callable[[], Any] = nothing  # waits until the backend's work is done


def one_core(words: int, repeats: int) -> Limits:
    """Limits of what runs on one thread, NumPy included; ``words`` and ``repeats`` size the measurement."""
    if HAS_NUMBA:
        from tests.benchmarks import cpu_limits

        return Limits(cpu_limits.copy_rate(1, words), cpu_limits.scatter_rate(1, repeats))
    source, target, seconds = np.ones(words), np.empty(words), []
    for _ in range(6):
        begin = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - begin)
    return Limits(2 * source.nbytes / min(seconds[1:]), None)


def cpu_runners(words: int, repeats: int) -> list[Runner]:
    """numba with one thread and with two; none where numba is not installed."""
    if not HAS_NUMBA:
        return []
    from forcedmove_kernels.cpu import CpuBackend
    from tests.benchmarks import cpu_limits

    found = []
    for threads in (1, 2):
        limits = Limits(cpu_limits.copy_rate(threads, words), cpu_limits.scatter_rate(threads, repeats))
        found.append(Runner(f"numba, {threads} thread{'s'[: threads - 1]}", CpuBackend(threads), limits))
    return found


def cuda_runners(words: int, repeats: int) -> list[Runner]:
    """The first GPU; none where there is none."""
    try:
        backend, gpu = open_backend(), devices()[0]
    except BackendUnavailableError:
        return []
    import cupy

    from tests.benchmarks import cuda_limits

    limits = Limits(cuda_limits.copy_rate(8 * words), cuda_limits.scatter_rate(repeats))
    return [Runner("CUDA", backend, limits, gpu.name, cupy.cuda.Device().synchronize)]


def machine() -> dict[str, Any]:
    """What a reader needs to know of this machine, for the top of a table."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model n")]
        cpu = f"{names[0]}, {len(names)} cores" if names else cpu
    about: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": cpu,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    if HAS_NUMBA:
        import numba

        about["numba"] = numba.__version__
    try:
        gpu = devices()[0]
    except (BackendUnavailableError, IndexError):
        return about
    return about | {
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver_version,
        "cuda": gpu.runtime_version,
        "cupy": gpu.cupy_version,
    }
