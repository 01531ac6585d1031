"""Every backend gives the oracle's bits, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import NOT_OBSERVED, Cohorts, Freshness, Notional, Rules, Window, empty_cohorts
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.reference import ReferenceBackend
from tests.parity import tables
from tests.parity.tables import World, all_rows, array, assert_same, copy, poisoned

ORACLE = ReferenceBackend()
EXAMPLES = settings(max_examples=40, deadline=None)


@EXAMPLES
@given(draw=st.data())
def test_accumulate_volume(backend: Backend, draw: st.DataObject) -> None:
    trades, rows, buckets = draw.draw(st.integers(0, 12)), draw.draw(st.integers(1, 3)), draw.draw(st.integers(1, 4))
    row = array(draw.draw, st.integers(-2, rows - 1), trades, np.int32)
    price = array(draw.draw, tables.prices, trades, np.uint32)
    lots = array(draw.draw, tables.quantities, trades, np.uint32)
    first = array(draw.draw, st.sampled_from([-3, 0, 98, 1 << 40]), rows, np.int64)
    filled = np.arange(2 * rows * buckets, dtype=np.uint64).reshape(2, rows, buckets)
    expected, got = filled.copy(), filled.copy()
    clamped = ORACLE.accumulate_volume(row, price, lots, first, *expected)
    assert backend.accumulate_volume(row, price, lots, first, *got) == clamped
    np.testing.assert_array_equal(got, expected)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_apply_updates(backend: Backend, draw: st.DataObject, world: World) -> None:
    expected, got = copy(world.cohorts), copy(world.cohorts)
    for _ in range(2):
        step = draw.draw(tables.updates(expected))
        outcome = ORACLE.apply_updates(expected, world.rules, step)
        assert_same(backend.apply_updates(got, world.rules, step), outcome)
        assert_same(got, expected)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_standing_totals(backend: Backend, draw: st.DataObject, world: World) -> None:
    rows = draw.draw(st.permutations(all_rows(world.cohorts).tolist()))
    some = np.array(rows[: draw.draw(st.integers(0, len(rows)))], np.int32)
    expected, got = poisoned(world.cohorts, world.window), poisoned(world.cohorts, world.window)
    ORACLE.standing_totals(*world, some, expected)
    backend.standing_totals(*world, some, got)
    np.testing.assert_array_equal(got, expected)
    untouched = np.setdiff1d(rows, some)
    assert np.all(got.reshape(len(rows), -1)[untouched] == tables.POISON)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_add_cohorts(backend: Backend, draw: st.DataObject, world: World) -> None:
    cohorts = world.cohorts
    market = np.array(draw.draw(st.permutations(range(len(cohorts.used)))), np.int32)
    market = market[: draw.draw(st.integers(0, len(market)))]
    new = [draw.draw(st.integers(0, int(cohorts.used[m]))) for m in market]
    first_new = cohorts.start[market] + cohorts.used[market] - np.array(new, np.int64)
    expected = np.ones_like(poisoned(cohorts, world.window))
    got = expected.copy()
    ORACLE.add_cohorts(*world, market, first_new, expected)
    backend.add_cohorts(*world, market, first_new, got)
    np.testing.assert_array_equal(got, expected)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_leverage_grid(backend: Backend, draw: st.DataObject, world: World) -> None:
    markets = np.array(draw.draw(st.lists(st.integers(0, len(world.cohorts.used) - 1), max_size=4)), np.int32)
    expected = ORACLE.leverage_grid(*world, markets)
    got = backend.leverage_grid(*world, markets)
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


@EXAMPLES
@given(
    cohorts=st.one_of(tables.crowds(), tables.worlds().map(lambda world: world.cohorts)),
    ladder=tables.ladders,
    shift=st.sampled_from([0, 1, 21]),
    now=st.sampled_from([tables.NOW, 0, 1 << 33]),
)
def test_compact(backend: Backend, cohorts: Cohorts, ladder: list[tuple[int, int]], shift: int, now: int) -> None:
    rungs = np.array(ladder, np.uint32)
    expected, got = copy(cohorts), copy(cohorts)
    for market in range(len(cohorts.used)):
        remain = ORACLE.compact(expected, market, now, rungs, shift)
        assert backend.compact(got, market, now, rungs, shift) == remain
    assert_same(got, expected)


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_profile(backend: Backend, draw: st.DataObject, world: World) -> None:
    cohorts = world.cohorts
    window = world.window._replace(first_bin=np.minimum(world.window.first_bin, 1 << 22))  # prices end there
    world = world._replace(window=window)
    markets = len(cohorts.used)
    totals = np.zeros_like(poisoned(cohorts, window))
    ORACLE.standing_totals(*world, all_rows(cohorts), totals)
    symbols = draw.draw(st.integers(1, 3))
    symbol = array(draw.draw, st.integers(0, symbols - 1), markets, np.int32)
    notional = draw.draw(tables.notionals(markets))
    expected = ORACLE.profile(totals, symbol, notional, window, symbols)
    np.testing.assert_array_equal(backend.profile(totals, symbol, notional, window, symbols), expected)


@EXAMPLES
@given(
    cells=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 1 << 58)), min_size=3, max_size=24),
    half_width=st.one_of(st.integers(0, 5), st.just(1 << 40)),
    ratio_percent=st.one_of(st.sampled_from([0, 100, 150, 300]), st.just((1 << 64) - 1)),
    minimum=st.integers(0, 4),
)
def test_clusters(backend: Backend, cells: list[int], half_width: int, ratio_percent: int, minimum: int) -> None:
    notional = np.array(cells, np.uint64)
    rule = half_width, ratio_percent, minimum
    assert_same(backend.clusters(notional, *rule), ORACLE.clusters(notional, *rule))


@EXAMPLES
@given(draw=st.data(), book=tables.books())
def test_cascade_chain(backend: Backend, draw: st.DataObject, book: tuple[np.ndarray, np.ndarray, int]) -> None:
    notional, depth, mark = book
    shock = draw.draw(st.integers(0, len(notional) - 1))
    assert_same(backend.cascade_chain(notional, depth, mark, shock), ORACLE.cascade_chain(notional, depth, mark, shock))


@EXAMPLES
@given(book=tables.books(), side=st.integers(0, 1))
def test_shock_curve(backend: Backend, book: tuple[np.ndarray, np.ndarray, int], side: int) -> None:
    got, expected = backend.shock_curve(*book, side), ORACLE.shock_curve(*book, side)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@EXAMPLES
@given(draw=st.data(), world=tables.worlds())
def test_step_that_would_not_fit_is_refused_whole(backend: Backend, draw: st.DataObject, world: World) -> None:
    """More lots than the format holds: an error before anything changed."""
    step = draw.draw(tables.updates(world.cohorts).filter(lambda u: len(u.market)))
    k = draw.draw(st.integers(0, len(step.market) - 1))
    interest, lots = step.open_interest.copy(), step.open_lots.copy()
    interest[k] = NOT_OBSERVED
    lots[step.first_open[k]] = 0xFFFF_FFFF
    first = world.cohorts.start[step.market[k]]
    cohorts: Cohorts = copy(world.cohorts)
    cohorts.used[step.market[k]] = max(cohorts.used[step.market[k]], 1)
    cohorts.lots[1, first], cohorts.live_tiers[1, first] = max(cohorts.lots[1, first], 1), 1
    before = copy(cohorts)
    with pytest.raises(OverflowError, match=f"market {step.market[k]} "):
        backend.apply_updates(cohorts, world.rules, step._replace(open_interest=interest, open_lots=lots))
    assert_same(cohorts, before)


def test_bad_arguments_are_refused(backend: Backend) -> None:
    """What would write outside an array is an error that names the field."""
    cohorts = empty_cohorts(4, 2)
    rules = Rules(np.ones(2, np.uint8), np.ones((2, 2, 1), np.uint32), np.zeros((2, 2, 2, 2), np.uint32))
    world = cohorts, rules, Window(np.zeros(2, np.uint32), 8), Freshness(np.ones(1, np.uint32), 1, 0)
    totals, cells = np.zeros((2, 2, 10), np.uint64), np.zeros(10, np.uint64)
    first, histogram = np.zeros(1, np.int64), np.zeros((1, 3), np.uint64)
    one = np.ones(1, np.uint32)
    beyond = np.array([4], np.int32)
    ladder = np.array([[0, 60], [0, 60]], np.uint32)
    money = Notional(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="rows"):
        backend.standing_totals(*world, beyond, totals)
    with pytest.raises(ValueError, match="totals"):
        backend.standing_totals(*world, beyond, totals[:, :, 1:])
    with pytest.raises(ValueError, match="market"):
        backend.add_cohorts(*world, beyond, np.zeros(1, np.int64), totals)
    with pytest.raises(ValueError, match="markets"):
        backend.leverage_grid(*world, -beyond)
    with pytest.raises(ValueError, match="row"):
        backend.accumulate_volume(beyond, one, one, first, histogram, histogram.copy())
    with pytest.raises(ValueError, match="volume"):
        backend.accumulate_volume(beyond, one, one, first, histogram, histogram[:, 1:])
    with pytest.raises(ValueError, match="market_symbol"):
        backend.profile(totals, np.array([0, 4], np.int32), money, world[2], 4)
    with pytest.raises(ValueError, match="ladder"):
        backend.compact(cohorts, 0, 0, ladder, 0)
    with pytest.raises(ValueError, match="time buckets"):
        backend.compact(cohorts, 0, 0, ladder[:1] * 0, 0)
    with pytest.raises(ValueError, match="entry_shift"):
        backend.compact(cohorts, 0, 0, ladder[:1], 22)
    with pytest.raises(ValueError, match="market"):
        backend.compact(cohorts, 2, 0, ladder[:1], 0)
    with pytest.raises(ValueError, match="half_width"):
        backend.clusters(cells, -1, 100, 0)
    with pytest.raises(ValueError, match="shock"):
        backend.cascade_chain(cells, cells, 0, 10)
    with pytest.raises(ValueError, match="depth"):
        backend.shock_curve(cells, cells[1:], 0, 0)
