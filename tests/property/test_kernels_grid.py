"""What the lifecycle and the grids promise, whatever the tables hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import NOT_OBSERVED, U64, Freshness
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import FRESHNESS_ONE
from tests.parity import tables
from tests.parity.tables import CAPACITY, World, all_rows, copy, poisoned

EXAMPLES = settings(max_examples=40, deadline=None)
ONES = Freshness(np.full(1, FRESHNESS_ONE, np.uint32), 1, 0)


def live_lots(world: World) -> U64:
    """Live lots u64 ``[M, 2]``, straight from the store."""
    return world.cohorts.lots.reshape(2, -1, CAPACITY).sum(2, dtype=np.uint64).T


@EXAMPLES
@given(world=tables.worlds())
def test_every_live_lot_is_in_exactly_one_cell(backend: Backend, world: World) -> None:
    """Underflow, window and overflow together hold the live lots."""
    totals = poisoned(world.cohorts, world.window)
    backend.standing_totals(*world._replace(fresh=ONES), all_rows(world.cohorts), totals)
    np.testing.assert_array_equal(totals.sum(2), live_lots(world))


@EXAMPLES
@given(world=tables.worlds())
def test_tiers_of_each_cohort_add_up_to_its_lots(backend: Backend, world: World) -> None:
    """One cohort alone in its market: what its live tiers hold are its lots, and dead tiers hold nothing."""
    cohorts = copy(world.cohorts)
    cohorts.used[:] = np.minimum(cohorts.used, 1)
    markets = np.arange(len(cohorts.used), dtype=np.int32)
    grid = backend.leverage_grid(cohorts, world.rules, world.window, ONES, markets)
    for m in markets[cohorts.used > 0]:
        for side in (0, 1):
            live = cohorts.live_tiers[side, cohorts.start[m]]
            assert grid[m, side].sum() == cohorts.lots[side, cohorts.start[m]]
            assert not grid[m, side, live:].any()


@EXAMPLES
@given(world=tables.worlds())
def test_tiers_of_the_leverage_grid_add_up_to_the_standing_totals(backend: Backend, world: World) -> None:
    totals = poisoned(world.cohorts, world.window)
    backend.standing_totals(*world, all_rows(world.cohorts), totals)
    grid = backend.leverage_grid(*world, np.arange(len(totals), dtype=np.int32))
    np.testing.assert_array_equal(grid.sum(2), totals)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_incremental_totals_equal_a_full_rebuild(backend: Backend, draw: st.DataObject, world: World) -> None:
    """Rows flagged for a rebuild are rebuilt, the others only get the new cohorts."""
    totals = poisoned(world.cohorts, world.window)
    backend.standing_totals(*world, all_rows(world.cohorts), totals)
    for _ in range(3):
        step = draw.draw(tables.updates(world.cohorts))
        outcome = backend.apply_updates(world.cohorts, world.rules, step)
        backend.add_cohorts(*world, step.market, outcome.first_new, totals)
        k, side = np.nonzero(outcome.rebuild)
        backend.standing_totals(*world, (2 * step.market[k] + side).astype(np.int32), totals)
        full = poisoned(world.cohorts, world.window)
        backend.standing_totals(*world, all_rows(world.cohorts), full)
        np.testing.assert_array_equal(totals, full)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_lifecycle_balance(backend: Backend, draw: st.DataObject, world: World) -> None:
    """No lot appears or vanishes unaccounted, and live lots equal the open interest where it was observed."""
    for _ in range(3):
        before = copy(world.cohorts)
        was_live = live_lots(world)
        step = draw.draw(tables.updates(world.cohorts))
        done = backend.apply_updates(world.cohorts, world.rules, step)
        is_live = live_lots(world)
        np.testing.assert_array_equal(done.live, is_live[step.market])
        np.testing.assert_array_equal(
            was_live[step.market] + done.opened + done.overkill, done.live + done.closed + done.liquidated
        )
        observed = step.open_interest != NOT_OBSERVED
        interest = np.repeat(step.open_interest[observed, None], 2, 1)
        np.testing.assert_array_equal(done.live[observed], interest)
        assert not done.closed[~observed].any()
        assert not done.overkill[~observed].any()
        untouched = np.setdiff1d(np.arange(len(before.used)), step.market)
        np.testing.assert_array_equal(is_live[untouched], was_live[untouched])
        for k, m in enumerate(step.market):
            old = slice(before.start[m], before.start[m] + before.used[m])
            assert done.first_new[k] == old.stop
            assert np.all(world.cohorts.live_tiers[:, old] <= before.live_tiers[:, old])  # nothing is revived
            new = slice(old.stop, before.start[m] + world.cohorts.used[m])
            assert np.all(world.cohorts.lots[:, new].any(0))
            assert np.all(world.cohorts.live_tiers[:, new] >= 1)
            for side in (0, 1):
                same = np.array_equal(before.lots[side, old], world.cohorts.lots[side, old]) and np.array_equal(
                    before.live_tiers[side, old], world.cohorts.live_tiers[side, old]
                )
                assert done.rebuild[k, side] == (not same)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_compaction_conserves(backend: Backend, draw: st.DataObject, world: World) -> None:
    """Lots per number of live tiers stay, merged cohorts ascend in time and stay in their buckets, twice is once."""
    ladder = np.array(draw.draw(tables.ladders), np.uint32)
    shift = draw.draw(st.sampled_from([0, 2, 21]))
    for m in range(len(world.cohorts.used)):
        before = copy(world.cohorts)
        remain = backend.compact(world.cohorts, m, tables.NOW, ladder, shift)
        assert remain == world.cohorts.used[m] <= before.used[m]
        slots = slice(m * CAPACITY, (m + 1) * CAPACITY)
        for side in (0, 1):
            for live in range(world.rules.multiplier.shape[2] + 1):
                held = [
                    c.lots[side, slots][c.live_tiers[side, slots] == live].sum(dtype=np.uint64)
                    for c in (before, world.cohorts)
                ]
                assert held[0] == held[1]
        opened = world.cohorts.opened_at[m * CAPACITY : m * CAPACITY + remain].astype(np.int64)
        merged = opened[tables.NOW - opened >= ladder[0, 0]]
        if len(merged):
            coarsest = int(ladder[:, 1].max())
            assert np.all(np.maximum.accumulate(merged) - merged < coarsest)
        again = copy(world.cohorts)
        assert backend.compact(again, m, tables.NOW, ladder, shift) == remain
        tables.assert_same(again, world.cohorts)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_volume_conserves(backend: Backend, draw: st.DataObject, world: World) -> None:
    """All lots of rows in use arrive, and a bucket's mean price lies inside the bucket."""
    trades = draw.draw(st.integers(0, 10))
    row = tables.array(draw.draw, st.integers(-1, 1), trades, np.int32)
    price = tables.array(draw.draw, tables.prices, trades, np.uint32)
    lots = tables.array(draw.draw, tables.quantities, trades, np.uint32)
    volume, turnover = np.zeros((2, 2, 30), np.uint64)
    clamped = backend.accumulate_volume(row, price, lots, np.array([90, 0], np.int64), volume, turnover)
    for r in (0, 1):
        assert volume[r].sum() == lots[row == r].sum(dtype=np.uint64)
    assert np.all(turnover <= volume * np.uint64(1023))
    assert 0 <= clamped <= np.count_nonzero(row >= 0)
