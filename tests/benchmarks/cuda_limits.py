"""What a GPU can do at best: copy its memory, and increment cells of rows that lie in shared memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import cupy
import numpy as np

from tests.benchmarks.cuda_source import CELLS, SOURCE


def copy_rate(size: int) -> float:
    """Bytes read plus bytes written per second, the best of five copies of ``size`` bytes within the device."""
    source, target = cupy.cuda.alloc(size), cupy.cuda.alloc(size)
    return 2 * size / _best(lambda: target.copy_from_device(source, size))


def scatter_rate(repeats: int) -> float:
    """Increments per second, the best of five."""
    kernel = cupy.RawModule(code=SOURCE, options=("-std=c++17",)).get_function("increment")
    blocks = 8 * cupy.cuda.Device().attributes["MultiProcessorCount"]
    sums = cupy.cuda.alloc(4 * CELLS)
    sums.memset(0, 4 * CELLS)
    seconds = _best(lambda: kernel((blocks,), (256,), (sums, np.int32(repeats))))
    return blocks * 256 * repeats / seconds


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        work()
        cupy.cuda.Device().synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
