"""Weights as of a reference ahead of the clock say the same as weights as of now; ageing renews nothing between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import UNWEIGHTED, Cohorts, Freshness, Rules, Window
from forcedmove_kernels.fixed_point import PRICE_BITS, cumulative_weights, freshness_table
from forcedmove_kernels.reference import ReferenceBackend
from forcedmove_server.engine.freshness import FreshnessClock
from tests.parity.builders import in_every_phase

BINS = 16
RULES = Rules(
    tiers=np.array([3], np.uint8),
    multiplier=in_every_phase([[[0.6, 0.8, 0.9], [1.4, 1.2, 1.1]]]),
    weight=cumulative_weights(np.ones((1, 2, 3))),
)


def cohorts_of(rng: np.random.Generator, used: int, oldest: int, now: int) -> Cohorts:
    return Cohorts(
        start=np.array([0, used], np.int64),
        used=np.array([used], np.int32),
        entry=rng.integers(2 << PRICE_BITS, (BINS + 4) << PRICE_BITS, used).astype(np.uint32),
        opened_at=rng.integers(now - oldest, now, used, endpoint=True).astype(np.uint32),
        lots=rng.integers(0, 1 << 25, (2, used)).astype(np.uint32),
        live_tiers=rng.integers(1, 3, (2, used), endpoint=True).astype(np.uint8),
    )


def totals(cohorts: Cohorts, fresh: Freshness) -> np.ndarray:
    rows = np.arange(2, dtype=np.int32)
    cells = np.zeros((1, 2, BINS + 2), np.uint64)
    ReferenceBackend().standing_totals(cohorts, RULES, Window(np.zeros(1, np.uint32), BINS), fresh, rows, cells)
    return cells[0].astype(np.float64)


def test_the_clock_renews_its_weights_only_when_it_passes_the_reference() -> None:
    clock = FreshnessClock(60, 3600.0)
    first = clock.advance(1_000_000)
    assert first is not None
    assert clock.gain == 2 ** (60 * 60 / 3600)
    gains = []
    for now in range(1_000_000, 1_000_000 + 3600, 7):
        assert clock.advance(now) is None
        gains.append(clock.gain)
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(1, abs=0.02)
    clock.advance(first.now)
    assert clock.gain == 1
    renewed = clock.advance(first.now + 1)
    assert renewed is not None
    assert renewed.now == first.now + 61 * 60


@settings(max_examples=80)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 60, 3600, 86_400]),
    st.floats(0.001, 87_600),
    st.integers(0, 400_000),
)
def test_both_ways_of_weighting_agree(seed: int, step_s: int, half_life_hours: float, later: int) -> None:
    rng = np.random.default_rng(seed)
    half_life_s = half_life_hours * 3600
    begin = 1_700_000_000
    now = begin + later
    clock = FreshnessClock(step_s, half_life_s)
    weights = clock.advance(begin)
    weights = clock.advance(now) or weights
    assert weights is not None
    cohorts = cohorts_of(rng, 40, int(min(20 * half_life_s, 1e9)) + 1, now)
    # directly: every age is the number of steps that began since the cohort opened
    ages = 1 + int(np.ceil(17 * half_life_s / clock.step_s))
    end_of_step = now - now % clock.step_s + clock.step_s - 1
    direct = Freshness(freshness_table(clock.step_s, ages, half_life_s), clock.step_s, end_of_step)
    gain = clock.gain
    assert 1 <= gain <= 2
    expected, got = totals(cohorts, direct), totals(cohorts, weights) * gain
    # A cohort in a cell loses less than a lot to its weighting and one to splitting it over tiers, either way; a weight
    # is off by half of 2**-16, or by one where its age is beyond a table.
    live = totals(cohorts, UNWEIGHTED)
    bound = 40 * (2 * gain + 2) + (1 + gain) * live / (1 << 16)
    assert np.all(np.abs(got - expected) <= bound)
    assert np.all(got.sum(-1) <= live.sum(-1) * (1 + gain / (1 << 17)))
