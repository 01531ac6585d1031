"""Where ``gpu-check`` runs the CUDA kernels, and what that is called in its report."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.errors import BackendUnavailableError

#: what every byte of memory holds that kernels are given to write to
POISON = 0xA5


class Device(NamedTuple):
    """A way to run the kernels; each function raises BackendUnavailableError."""

    open: Callable[[], Backend]
    open_watched: Callable[[], Backend]  # for tools that watch every memory access
    describe: Callable[[], dict[str, str]]  # for the report


def cuda() -> Backend:
    """The kernels on the first GPU, in memory that is full of garbage whenever it is handed out."""
    from forcedmove_kernels.cuda import open_backend

    opened = open_backend()
    import cupy

    pool = cupy.get_default_memory_pool()

    def poisoned(size: int) -> Any:
        memory = pool.malloc(size)
        if size:
            memory.memset_async(POISON, size, cupy.cuda.get_current_stream())
        return memory

    cupy.cuda.set_allocator(poisoned)
    return opened


def watched_cuda() -> Backend:
    """The kernels on the first GPU; every array is an allocation of its own, so that a tool sees where it ends."""
    from forcedmove_kernels.cuda import open_backend

    opened = open_backend()
    import cupy

    cupy.cuda.set_allocator(None)
    return opened


def host(threads: int = 2, order: Literal["forward", "reverse"] = "reverse", small_blocks: bool = False) -> Backend:
    """The same sources, built for this machine's processor."""
    from forcedmove_kernels.cuda import CudaBackend
    from tests.cuda_host.device import CompilerMissing, HostDevice

    try:
        return CudaBackend(HostDevice(threads, order, small_blocks))
    except CompilerMissing as missing:
        raise BackendUnavailableError(f"no host build of the CUDA sources: {missing}") from missing


def faulty_host() -> Backend:
    """A host build with one wrong bit in its leverage grids: what a failure looks like."""
    from tests.parity.faults import faulty

    wrong: Any = faulty(host(), "leverage_grid")
    opened: Backend = wrong
    return opened


def describe_cuda() -> dict[str, str]:
    """Name, memory and versions of the first GPU."""
    from forcedmove_kernels.cuda import devices

    gpu = devices()[0]
    return {
        "GPU": f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.total_bytes / 2**30:.0f} GiB",
        "driver": str(gpu.driver_version),
        "CUDA": str(gpu.runtime_version),
        "CuPy": str(gpu.cupy_version),
    }


def describe_host() -> dict[str, str]:
    """There is no GPU, and the report says so."""
    return {"GPU": f"none: host build on {platform.machine()}", "driver": "none", "CUDA": "none", "CuPy": "none"}


DEVICES = {
    "cuda": Device(cuda, watched_cuda, describe_cuda),
    "host": Device(host, host, describe_host),
    "faulty-host": Device(faulty_host, faulty_host, describe_host),
}
