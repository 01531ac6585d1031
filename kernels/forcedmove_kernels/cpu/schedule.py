"""Sharing rows out to threads: largest first, because symbols differ in size by orders of magnitude.

Every row is computed whole by one thread and rows do not share cells, so the number of threads cannot change a bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from numba import njit

from forcedmove_kernels.arrays import I64

#: below this cost (about a cohort of one row each, so half a millisecond) a second thread is not worth waking: on a
#: busy machine the launch alone was seen to take several milliseconds
MIN_PARALLEL_COST = 1 << 16

#: numba's fallback threading layer ends the process when two threads launch at once
_LAUNCH = threading.Lock()


def usable_threads(threads: int | None) -> int:
    """Number of threads to use: what was asked for, at most what numba launches; None takes all of them."""
    launched = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if threads is None:
        return launched
    if threads < 1:
        raise ValueError(f"threads = {threads}: must be at least 1")
    return min(threads, launched)


@njit(nogil=True, cache=True)
def balance(cost: I64, threads: int) -> tuple[I64, I64]:
    """Assign items to threads, most expensive first, each to the thread with the least to do.

    ``cost`` i64 ``[K]``. Returns the items in the order of their threads, i64 ``[K]``, and where each thread's part
    begins, i64 ``[threads + 1]``.
    """
    owner = np.empty(len(cost), np.int64)
    load = np.zeros(threads, np.int64)
    part = np.zeros(threads + 1, np.int64)
    for item in np.argsort(cost)[::-1]:
        owner[item] = np.argmin(load)
        load[owner[item]] += cost[item]
        part[owner[item] + 1] += 1
    part = np.cumsum(part)
    free = part.copy()
    order = np.empty(len(cost), np.int64)
    for item in range(len(cost)):
        order[free[owner[item]]] = item
        free[owner[item]] += 1
    return order, part


@njit(nogil=True, cache=True)
def share_out(cost: I64, threads: int, least: int) -> tuple[I64, I64]:
    """Return what :func:`balance` does, or all items as one part where there is too little to do for several."""
    if threads == 1 or len(cost) < 2 or cost.sum() < least:
        return np.arange(len(cost)), np.array([0, len(cost)], np.int64)
    return balance(cost, threads)


def launch(threads: int, cost: I64, serial: Callable[..., Any], parallel: Callable[..., Any], *arguments: Any) -> None:
    """Run ``serial(order, *arguments)`` here or ``parallel(order, part, *arguments)`` on several threads.

    ``cost`` i64 ``[K]`` estimates the work of each of the ``K`` items; small work stays on the calling thread.
    """
    order, part = share_out(cost, threads, MIN_PARALLEL_COST)
    if len(part) == 2:
        serial(order, *arguments)
        return
    with launching(threads):
        parallel(order, part, *arguments)


@contextmanager
def launching(threads: int) -> Iterator[None]:
    """Let kernels that are called within launch so many threads."""
    with _LAUNCH:
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            yield
        finally:
            numba.set_num_threads(before)
