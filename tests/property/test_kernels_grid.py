"""What the lifecycle and the grids promise, whatever the tables hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import (
    NOT_OBSERVED,
    U64,
    Cohorts,
    Freshness,
    Rules,
    Updates,
    Window,
    empty_cohorts,
    empty_standing,
)
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import FRESHNESS_ONE, cumulative_weights, freshness_table
from tests.parity import tables
from tests.parity.builders import in_every_phase
from tests.parity.tables import CAPACITY, World, all_rows, copy, poisoned

EXAMPLES = settings(max_examples=40)
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
def test_maintained_rows_equal_their_rebuild(backend: Backend, draw: st.DataObject, world: World) -> None:
    """After any steps: what is not stale is what a rebuild gives, with no rebuild in between."""
    standing = tables.poisoned_standing(world.cohorts, world.window)
    backend.rebuild(*world, standing, all_rows(world.cohorts))
    for _ in range(3):
        step = draw.draw(tables.updates(world.cohorts, world.rules))
        backend.apply_updates(*world, standing, step)
        rebuilt = tables.poisoned_standing(world.cohorts, world.window)
        backend.rebuild(*world, rebuilt, all_rows(world.cohorts))
        for market, side in np.argwhere(standing.stale == 0):
            row = market, side
            for name in ("totals", "fresh", "live", "frontier"):
                np.testing.assert_array_equal(getattr(standing, name)[row], getattr(rebuilt, name)[row], name)
            slots = slice(world.cohorts.start[market], world.cohorts.start[market] + world.cohorts.used[market])
            np.testing.assert_array_equal(standing.trigger[side, slots], rebuilt.trigger[side, slots])


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_a_row_becomes_stale_for_two_reasons_only(backend: Backend, draw: st.DataObject, world: World) -> None:
    """More than a quarter of its cohorts are reached, or scaling changes its lots. Then all others are maintained."""
    standing = tables.poisoned_standing(world.cohorts, world.window)
    backend.rebuild(*world, standing, all_rows(world.cohorts))
    step = draw.draw(tables.updates(world.cohorts, world.rules))
    before = copy(world.cohorts)
    trigger = standing.trigger.astype(np.int64)
    done = backend.apply_updates(*world, standing, step)
    stale = np.zeros_like(standing.stale)
    for k, m in enumerate(step.market.tolist()):
        slots = slice(before.start[m], before.start[m] + before.used[m])
        for side in (0, 1):
            reached = trigger[side, slots] >= step.low[k] if side == 0 else trigger[side, slots] <= step.high[k]
            survived = before.lots[side, slots].sum(dtype=np.uint64) > done.liquidated[k, side]
            scaled = survived and bool(done.closed[k, side] or done.overkill[k, side])
            stale[m, side] = 4 * np.count_nonzero(reached) > len(reached) or scaled
    np.testing.assert_array_equal(standing.stale, stale)


def crowded_market(cohorts: int) -> World:
    """One market whose cohorts opened at rising prices from bin 1000 on, two tiers, weights by age."""
    store = empty_cohorts(cohorts + 12, 1)
    store.used[0] = cohorts
    store.entry[:cohorts] = (1000 << 10) + np.arange(cohorts) * 512
    store.opened_at[:cohorts] = np.arange(cohorts)
    store.lots[:, :cohorts] = 1000 + np.arange(cohorts) * 7
    store.live_tiers[:, :cohorts] = 2
    rules = Rules(
        np.full(1, 2, np.uint8), in_every_phase([[[0.9, 0.95], [1.1, 1.05]]]), cumulative_weights(np.ones((1, 2, 2)))
    )
    fresh = Freshness(freshness_table(10, 30, 100), 10, cohorts)
    return World(store, rules, Window(np.full(1, 880, np.uint32), 300), fresh)


def step_to(low_bin: int, now: int, open_lots: list[int]) -> Updates:
    """The mark has come down to a bin, where positions open."""
    low = np.full(1, low_bin << 10, np.uint32)
    return Updates(
        market=np.zeros(1, np.int32),
        low=low,
        high=low,
        price=low,
        open_interest=np.full((1, 2), NOT_OBSERVED, np.uint32),
        opened_at=np.full(1, now, np.uint32),
        first_open=np.array([0, len(open_lots)]),
        open_entry=low + np.arange(len(open_lots), dtype=np.uint32) * np.uint32(700),
        open_lots=np.array(open_lots, np.uint32),
    )


def test_a_step_that_reaches_few_keeps_rows_up_to_date(backend: Backend) -> None:
    """The incremental path at work: some are killed, some open, nothing is rebuilt, and the totals are right."""
    world = crowded_market(200)
    standing = empty_standing(world.cohorts, world.window.bins)
    backend.rebuild(*world, standing, all_rows(world.cohorts))
    for turn in range(4):
        done = backend.apply_updates(*world, standing, step_to(1043 - 2 * turn, 200 + turn, [50, 0, 3]))
        assert done.liquidated[0, 0] > 0
        assert not standing.stale.any()
        rebuilt = tables.poisoned_standing(world.cohorts, world.window)
        backend.rebuild(*world, rebuilt, all_rows(world.cohorts))
        used = int(world.cohorts.used[0])
        assert used == 200 + 2 * (turn + 1)
        np.testing.assert_array_equal(standing.trigger[:, :used], rebuilt.trigger[:, :used])
        tables.assert_same(standing._replace(trigger=rebuilt.trigger), rebuilt)
        np.testing.assert_array_equal(standing.totals.sum(2), done.live)


def test_a_step_that_reaches_many_leaves_the_row_to_a_rebuild(backend: Backend) -> None:
    world = crowded_market(200)
    standing = empty_standing(world.cohorts, world.window.bins)
    backend.rebuild(*world, standing, all_rows(world.cohorts))
    backend.apply_updates(*world, standing, step_to(1010, 200, [0]))
    assert standing.stale.tolist() == [[1, 0]]


@EXAMPLES
@given(world=tables.worlds())
def test_a_price_short_of_the_frontier_kills_nothing(backend: Backend, world: World) -> None:
    standing = empty_standing(world.cohorts, world.window.bins)
    backend.rebuild(*world, standing, all_rows(world.cohorts))
    low, high = standing.frontier[:, 0].astype(np.int64) + 1, standing.frontier[:, 1].astype(np.int64) - 1
    calm = np.flatnonzero((low <= high) & (world.cohorts.used < CAPACITY))
    nothing = np.zeros(len(calm), np.uint32)
    step = Updates(
        market=calm.astype(np.int32),
        low=low[calm].astype(np.uint32),
        high=high[calm].astype(np.uint32),
        price=low[calm].astype(np.uint32),
        open_interest=np.full((len(calm), 2), NOT_OBSERVED, np.uint32),
        opened_at=nothing,
        first_open=np.arange(len(calm) + 1),
        open_entry=nothing,
        open_lots=nothing,
    )
    before = copy(world.cohorts)
    done = backend.apply_updates(*world, standing, step)
    assert not done.liquidated.any()
    assert not standing.stale.any()
    tables.assert_same(world.cohorts, before)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_lifecycle_balance(backend: Backend, draw: st.DataObject, world: World) -> None:
    """No lot appears or vanishes unaccounted; each side's live lots equal its open interest where it was observed."""
    standing = empty_standing(world.cohorts, world.window.bins)
    for _ in range(3):
        before = copy(world.cohorts)
        was_live = live_lots(world)
        step = draw.draw(tables.updates(world.cohorts))
        done = backend.apply_updates(*world, standing, step)
        is_live = live_lots(world)
        np.testing.assert_array_equal(done.live, is_live[step.market])
        np.testing.assert_array_equal(
            was_live[step.market] + done.opened + done.overkill, done.live + done.closed + done.liquidated
        )
        observed = step.open_interest[:, 0] != NOT_OBSERVED
        np.testing.assert_array_equal(done.live[observed], step.open_interest[observed])
        assert not done.closed[~observed].any()
        assert not done.overkill[~observed].any()
        untouched = np.setdiff1d(np.arange(len(before.used)), step.market)
        np.testing.assert_array_equal(is_live[untouched], was_live[untouched])
        for m in step.market:
            old = slice(before.start[m], before.start[m] + before.used[m])
            assert np.all(world.cohorts.live_tiers[:, old] <= before.live_tiers[:, old])  # nothing is revived
            new = slice(old.stop, before.start[m] + world.cohorts.used[m])
            assert np.all(world.cohorts.lots[:, new].any(0))
            assert np.all(world.cohorts.live_tiers[:, new] >= 1)


@EXAMPLES
@given(cohorts=tables.crowds(), ladder=tables.ladders, shift=st.sampled_from([0, 2, 21]))
def test_compaction_conserves(backend: Backend, cohorts: Cohorts, ladder: list[tuple[int, int]], shift: int) -> None:
    """Lots per number of live tiers stay, time order stays up to a bucket, and compacting twice is compacting once."""
    rungs = np.array(ladder, np.uint32)
    before = copy(cohorts)
    remain = backend.compact(cohorts, 0, tables.NOW, rungs, shift)
    assert remain == cohorts.used[0] <= before.used[0]
    for side in (0, 1):
        for live in (1, 2):
            held = [c.lots[side][c.live_tiers[side] == live].sum(dtype=np.uint64) for c in (before, cohorts)]
            assert held[0] == held[1]
    opened = cohorts.opened_at[:remain].astype(np.int64)
    assert np.all(np.maximum.accumulate(opened) - opened < max(bucket for _, bucket in ladder))
    again = copy(cohorts)
    assert backend.compact(again, 0, tables.NOW, rungs, shift) == remain
    tables.assert_same(again, cohorts)


def test_compaction_by_hand(backend: Backend) -> None:
    """Two old cohorts share their buckets; a day's bucket goes before the hour's that begins with it."""
    day = 86_400
    cohorts = empty_cohorts(8, 1)
    rows = [  # entry, opened at, long, short
        (102_400, day + 10, 30, 0),
        (102_400 + 4, day + 20, 0, 10),
        (102_400 + 1023, day + 3000, 1, 1),  # young enough for the hour's bucket that begins with the day
        (102_400 + 1024, day + 9000, 1, 1),  # two hours after
        (5, day + 9500, 0, 0),
        (7, day + 9900, 2, 3),  # too young
    ]
    cohorts.used[0] = len(rows)
    for slot, (entry, opened_at, long, short) in enumerate(rows):
        cohorts.entry[slot], cohorts.opened_at[slot] = entry, opened_at
        cohorts.lots[:, slot], cohorts.live_tiers[:, slot] = (long, short), 3
    ladder = np.array([[200, 3600], [8000, day]], np.uint32)
    assert backend.compact(cohorts, 0, day + 10_000, ladder, 0) == 4
    assert cohorts.entry[:5].tolist() == [102_401, 102_400 + 1023, 102_400 + 1024, 7, 0]
    assert cohorts.opened_at[:5].tolist() == [day + 12, day + 3000, day + 9000, day + 9900, 0]
    assert cohorts.lots[:, :5].tolist() == [[30, 1, 1, 2, 0], [10, 1, 1, 3, 0]]
    assert cohorts.used.tolist() == [4]


def test_a_cohort_from_the_future_has_age_zero(backend: Backend) -> None:
    cohorts = empty_cohorts(2, 1)
    cohorts.used[0], cohorts.entry[:], cohorts.opened_at[:], cohorts.lots[:] = 2, 1024, 500, 1
    assert backend.compact(cohorts, 0, 100, np.array([[0, 60]], np.uint32), 0) == 1
    assert cohorts.lots[:, 0].tolist() == [2, 2]


@pytest.mark.parametrize(("open_lots", "long", "short"), [((0, 0), (0, 90), (0, 0)), ((10, 20), (30, 60), (10, 20))])
def test_openings_take_the_open_interest_when_nothing_survives(
    backend: Backend, open_lots: tuple[int, int], long: tuple[int, int], short: tuple[int, int]
) -> None:
    """A crash kills every long: the openings' longs hold the whole open interest, the last row's where none opened."""
    entry = 100 << 10
    cohorts = empty_cohorts(8, 1)
    cohorts.used[0] = 1
    cohorts.entry[0], cohorts.lots[:, 0], cohorts.live_tiers[:, 0] = entry, 50, 1
    rules = Rules(np.ones(1, np.uint8), in_every_phase([[[0.9], [1.1]]]), cumulative_weights(np.ones((1, 2, 1))))
    one = np.full(1, entry, np.uint32)
    step = Updates(
        market=np.zeros(1, np.int32),
        low=one // 2,
        high=one,
        price=one // 2,
        open_interest=np.array([[90, 80]], np.uint32),
        opened_at=one,
        first_open=np.array([0, 2]),
        open_entry=np.array([entry // 2, entry // 2 + 9], np.uint32),
        open_lots=np.array(open_lots, np.uint32),
    )
    window, standing = Window(np.full(1, 90, np.uint32), 20), empty_standing(cohorts, 20)
    outcome = backend.apply_updates(cohorts, rules, window, ONES, standing, step)
    opened = sum(open_lots)
    new = slice(1, int(cohorts.used[0]))
    kept = [row for row in range(2) if long[row] or short[row]]
    assert cohorts.entry[new].tolist() == [int(step.open_entry[row]) for row in kept]
    assert cohorts.lots[0, new].tolist() == [long[row] for row in kept]
    assert cohorts.lots[1, new].tolist() == [short[row] for row in kept]
    assert cohorts.lots[:, 0].tolist() == [0, 80 - opened]
    assert cohorts.live_tiers[:, 0].tolist() == [0, 1]
    assert outcome.liquidated.tolist() == [[50, 0]]
    assert outcome.overkill.tolist() == [[90 - opened, max(80 - opened - 50, 0)]]
    assert outcome.live.tolist() == [[90, 80]]
    assert outcome.opened.tolist() == [[opened, opened]]


def test_volume_at_the_edges_of_the_buckets(backend: Backend) -> None:
    """Buckets 10 and 11: one unit below and above is clamped to the nearest price inside."""
    price = np.array([10 * 1024 - 1, 10 * 1024, 12 * 1024 - 1, 12 * 1024], np.uint32)
    lots = np.array([1, 10, 100, 1000], np.uint32)
    volume, turnover = np.zeros((2, 1, 2), np.uint64)
    assert backend.accumulate_volume(np.zeros(4, np.int32), price, lots, np.array([10]), volume, turnover) == 2
    assert volume.tolist() == [[11, 1100]]
    assert turnover.tolist() == [[0, 1023 * 1100]]


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
