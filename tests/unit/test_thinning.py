"""Cohorts of which a part is known otherwise: what is left adds up, and nothing else of them changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_kernels.arrays import Cohorts
from forcedmove_kernels.fixed_point import MAX_LOTS
from forcedmove_kernels.thinning import thinned


def cohorts_of(lots: list[tuple[int, int]]) -> Cohorts:
    count = len(lots)
    return Cohorts(
        start=np.array([0, count]),
        used=np.array([count], np.int32),
        entry=np.arange(count, dtype=np.uint32),
        opened_at=np.arange(count, dtype=np.uint32),
        lots=np.array(lots, np.uint32).reshape(-1, 2).T.copy(),
        live_tiers=np.ones((2, count), np.uint8),
    )


@given(
    st.lists(st.tuples(st.integers(0, MAX_LOTS // 40), st.integers(0, 9)), max_size=40),
    st.fractions(0, 1),
    st.fractions(0, 1),
)
def test_each_cohort_keeps_its_share_to_less_than_a_lot(rows: list[tuple[int, int]], long: float, short: float) -> None:
    cohorts = cohorts_of(rows)
    alive = cohorts.lots.sum(1, dtype=np.uint64)
    lots = np.array([int(int(n) * share) for n, share in zip(alive, (long, short), strict=True)], np.uint64)
    left = thinned(cohorts, lots)
    np.testing.assert_array_equal(left.lots.sum(1, dtype=np.uint64), lots)
    for side in (0, 1):
        wanted = cohorts.lots[side].astype(float) * float(lots[side]) / max(float(alive[side]), 1)
        assert np.all(np.abs(left.lots[side] - wanted) < 1 + 1e-6)
        assert np.all(left.lots[side] <= cohorts.lots[side])
    for name in ("start", "used", "entry", "opened_at", "live_tiers"):
        before, after = getattr(cohorts, name), getattr(left, name)
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(thinned(cohorts, alive).lots, cohorts.lots)


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lots: at most the \[3, 4\] that are alive, got \[3, 5\]"):
        thinned(cohorts_of([(1, 4), (2, 0)]), np.array([3, 5], np.uint64))
    assert not len(thinned(cohorts_of([]), np.zeros(2, np.uint64)).entry)
