"""What two cores can do at best: copy memory, and increment cells of a row that lies in the first-level cache."""

from __future__ import annotations

import time
from typing import Any

import numba
import numpy as np
from numba import njit, prange

CELLS = 2050


@njit(nogil=True, cache=True, parallel=True)
def copy_parallel(source: Any, target: Any) -> None:
    """STREAM's copy."""
    for i in prange(len(source)):
        target[i] = source[i]


@njit(nogil=True, cache=True, parallel=True)
def increment_parallel(rows: Any, cells: Any, repeats: int) -> None:
    """Increment random cells, one row per thread; ``cells`` u16 ``[threads, N]``."""
    for thread in prange(len(rows)):
        row, own = rows[thread], cells[thread]
        for _ in range(repeats):
            for i in range(len(own)):
                row[own[i]] += np.uint32(1)


def copy_rate(threads: int, words: int) -> float:
    """Bytes read plus bytes written per second, the best of five copies of ``words`` f64."""
    source, target = np.ones(words), np.empty(words)
    seconds = _best(lambda: copy_parallel(source, target), threads)
    np.testing.assert_array_equal(target[:: max(words // 64, 1)], 1)
    return 2 * source.nbytes / seconds


def scatter_rate(threads: int, repeats: int) -> float:
    """Increments per second of all threads together, the best of five."""
    cells = np.random.default_rng(1).integers(0, CELLS, (threads, 4096)).astype(np.uint16)
    rows = np.zeros((threads, 4096), np.uint32)  # pages of their own
    seconds = _best(lambda: increment_parallel(rows, cells, repeats), threads)
    assert rows.sum(dtype=np.uint64) == 6 * repeats * cells.size
    return repeats * cells.size / seconds


def _best(work: Any, threads: int) -> float:
    """Seconds of the best of five runs after one that warms up: a limit is what was reached once."""
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        seconds = []
        for _ in range(6):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
    finally:
        numba.set_num_threads(before)
    return min(seconds[1:])
