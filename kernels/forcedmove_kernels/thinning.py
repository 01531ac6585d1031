"""Cohorts of which a part is known otherwise: what is left of each, in whole lots."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import U64, Cohorts
from forcedmove_kernels.fixed_point import prefix_scaled


def thinned(cohorts: Cohorts, lots: U64) -> Cohorts:
    """Return a store of one market with every side thinned to ``lots`` u64 ``[2]``, by prefix rounding.

    Entries, ages and live tiers stay; a cohort's lots are its share of ``lots`` to less than one lot. Raises ValueError
    for more lots than are alive.
    """
    alive = cohorts.lots.sum(1, dtype=np.uint64)
    if np.any(lots > alive):
        raise ValueError(f"lots: at most the {alive.tolist()} that are alive, got {lots.tolist()}")
    kept = np.zeros_like(cohorts.lots)
    for side in np.flatnonzero(lots).tolist():
        kept[side] = prefix_scaled(cohorts.lots[side], int(lots[side]))
    return cohorts._replace(lots=kept)
