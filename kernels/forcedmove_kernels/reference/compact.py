"""Old cohorts merge into coarser time and entry buckets, so that their number stays bounded."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import U32, Cohorts
from forcedmove_kernels.checks import check_compaction, check_indices
from forcedmove_kernels.fixed_point import PRICE_BITS


def compact(cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
    """Merge one market's cohorts in place; see :meth:`forcedmove_kernels.backend.Backend.compact`."""
    check_compaction(ladder, entry_shift)
    check_indices("market", np.array([market], np.int32), len(cohorts.used))
    first = int(cohorts.start[market])
    used = int(cohorts.used[market])
    merged: dict[tuple[int, ...], list[int]] = {}
    young: list[tuple[int, ...]] = []
    for slot in range(first, first + used):
        cohort = (
            int(cohorts.entry[slot]),
            int(cohorts.opened_at[slot]),
            *cohorts.lots[:, slot].tolist(),
            *cohorts.live_tiers[:, slot].tolist(),
        )
        entry, opened_at, long, short, live_long, live_short = cohort
        if long + short == 0:
            continue
        age = max(now - opened_at, 0)
        row = int(np.count_nonzero(ladder[:, 0] <= age)) - 1
        if row < 0:
            young.append(cohort)
            continue
        bucket_s = int(ladder[row, 1])
        since = opened_at // bucket_s * bucket_s
        bits = PRICE_BITS + (entry_shift if row > 0 else 0)
        edge = entry >> bits << bits
        # A coarse bucket begins no later than the finer ones of younger cohorts: on a tie it goes first.
        totals = merged.setdefault((since, -row, edge, live_long, live_short), [0, 0, 0, 0])
        totals[0] += long
        totals[1] += short
        totals[2] += (long + short) * (entry - edge)
        totals[3] += (long + short) * (opened_at - since)
    kept = [
        (edge + entries // (long + short), since + ages // (long + short), long, short, live_long, live_short)
        for (since, _, edge, live_long, live_short), (long, short, entries, ages) in sorted(merged.items())
    ] + young
    slots = slice(first, first + used)
    for field in (cohorts.entry, cohorts.opened_at, cohorts.lots, cohorts.live_tiers):
        field[..., slots] = 0  # freed slots hold nothing
    for slot, (entry, opened_at, long, short, live_long, live_short) in enumerate(kept, first):
        cohorts.entry[slot], cohorts.opened_at[slot] = entry, opened_at
        cohorts.lots[:, slot] = long, short
        cohorts.live_tiers[:, slot] = live_long, live_short
    cohorts.used[market] = len(kept)
    return len(kept)
