"""Old cohorts merge into coarser time and entry buckets, so that their number stays bounded."""

from __future__ import annotations

import numpy as np
from numba import njit

from forcedmove_kernels.arrays import U32, Cohorts
from forcedmove_kernels.fixed_point import PRICE_BITS

BASE_SHIFT = np.uint32(PRICE_BITS)
WORD = np.uint64(32)
BYTE = np.uint64(8)


@njit(nogil=True, cache=True)
def merge(cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
    """Merge in place and return how many cohorts remain. Sorting by the buckets brings together what merges."""
    first = cohorts.start[market]
    end = first + cohorts.used[market]
    entry, opened_at = cohorts.entry[first:end].copy(), cohorts.opened_at[first:end].copy()
    lots, live = cohorts.lots[:, first:end].copy(), cohorts.live_tiers[:, first:end].copy()
    size = end - first
    since, edge = np.empty(size, np.uint32), np.empty(size, np.uint32)
    major, minor = np.empty(size, np.uint64), np.empty(size, np.uint64)
    old, young = np.empty(size, np.int64), np.empty(size, np.int64)
    olds, youngs = 0, 0
    for i in range(size):
        if lots[0, i] == 0 and lots[1, i] == 0:
            continue
        age = max(np.int64(now) - np.int64(opened_at[i]), np.int64(0))
        row = len(ladder) - 1
        while row >= 0 and np.int64(ladder[row, 0]) > age:
            row -= 1
        if row < 0:
            young[youngs] = i
            youngs += 1
            continue
        since[i] = opened_at[i] // ladder[row, 1] * ladder[row, 1]
        shift = BASE_SHIFT + np.uint32(entry_shift if row > 0 else 0)
        edge[i] = entry[i] >> shift << shift
        # A coarse bucket begins no later than the finer ones of younger cohorts: on a tie it goes first.
        major[i] = np.uint64(since[i]) << WORD | np.uint64(len(ladder) - 1 - row)
        minor[i] = (np.uint64(edge[i]) << BYTE | np.uint64(live[0, i])) << BYTE | np.uint64(live[1, i])
        old[olds] = i
        olds += 1
    order = old[:olds]
    order = order[np.argsort(minor[order], kind="mergesort")]
    order = order[np.argsort(major[order], kind="mergesort")]

    slot, begin = first, 0
    while begin < olds:
        head = order[begin]
        total, entries, ages = np.uint64(0), np.uint64(0), np.uint64(0)
        cohorts.lots[:, slot] = 0
        stop = begin
        while stop < olds and major[order[stop]] == major[head] and minor[order[stop]] == minor[head]:
            i = order[stop]
            both = np.uint64(lots[0, i]) + np.uint64(lots[1, i])
            total += both
            entries += both * np.uint64(entry[i] - edge[i])
            ages += both * np.uint64(opened_at[i] - since[i])
            cohorts.lots[0, slot] += lots[0, i]
            cohorts.lots[1, slot] += lots[1, i]
            stop += 1
        cohorts.entry[slot] = edge[head] + np.uint32(entries // total)
        cohorts.opened_at[slot] = since[head] + np.uint32(ages // total)
        cohorts.live_tiers[:, slot] = live[:, head]
        slot, begin = slot + 1, stop
    for i in young[:youngs]:
        cohorts.entry[slot], cohorts.opened_at[slot] = entry[i], opened_at[i]
        cohorts.lots[:, slot] = lots[:, i]
        cohorts.live_tiers[:, slot] = live[:, i]
        slot += 1
    cohorts.entry[slot:end] = 0  # freed slots hold nothing
    cohorts.opened_at[slot:end] = 0
    cohorts.lots[:, slot:end] = 0
    cohorts.live_tiers[:, slot:end] = 0
    cohorts.used[market] = slot - first
    return int(slot - first)
