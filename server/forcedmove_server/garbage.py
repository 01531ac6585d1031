"""Garbage collection of a process that serves."""

from __future__ import annotations

import gc

#: allocations between two collections of young objects, and how many of these between those of older ones
_THRESHOLDS = (20_000, 20, 20)


def settle() -> None:
    """Leave all that is there out of later collections, and have fewer of them.

    Modules, compiled kernels and configuration never go away. To look through them takes tens of milliseconds, in which
    no message leaves: the longest waits of readers were these.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
