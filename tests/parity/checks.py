"""Kernels on cohorts and on rows of cells against the oracle, bit for bit.

A check takes a backend, a source of numbers and a size, and raises AssertionError where the backend answers otherwise
than the oracle. What a kernel writes in place holds garbage before. :mod:`tests.parity.every_check` lists all checks.
"""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import NOT_OBSERVED, Spread, Standing, Updates
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_LOTS, SHARE_BITS, SHARE_ONE, SPREAD_ONE
from forcedmove_kernels.reference import ReferenceBackend
from tests.parity import builders
from tests.parity.books import cells
from tests.parity.builders import NOW, SMALL, Size, World, bounded
from tests.parity.compare import (
    POISON,
    all_rows,
    assert_array,
    assert_same,
    assert_same_where_clean,
    copy,
    poisoned,
    poisoned_standing,
    refused,
    slots_in_use,
)
from tests.parity.draws import Draws, Numbers, subset

ORACLE = ReferenceBackend()
CELL_BITS = Numbers(((0, 2), (0, (1 << 32) - 1)), (1 << 31, 0x7FC0_0000, 0x7FC0_0001))  # zeros of both signs, NaNs


def standing_of(draws: Draws, world: World) -> Standing:
    """Some rows as the oracle builds them, the others stale and full of garbage."""
    standing = poisoned_standing(world.cohorts, world.window)
    ORACLE.rebuild(*world, standing, subset(draws, 2 * len(world.cohorts.used)))
    return standing


def rebuilt(world: World, stale: np.ndarray) -> Standing:
    """What a rebuild of every row gives, with the flags of another standing."""
    standing = poisoned_standing(world.cohorts, world.window)
    ORACLE.rebuild(*world, standing, all_rows(world.cohorts))
    return standing._replace(stale=stale)


def settle(world: World, price: int) -> None:
    """Let the mark have been at ``price`` before: tiers behind it are dead, so that small moves reach few cohorts."""
    markets = len(world.cohorts.used)
    at, nothing = np.full(markets, price, np.uint32), np.zeros(markets, np.uint32)
    first = np.arange(markets + 1)
    unseen = np.full((markets, 2), NOT_OBSERVED, np.uint32)
    step = Updates(first[:-1].astype(np.int32), at, at, at, unseen, nothing, first, at, nothing)
    ORACLE.apply_updates(*world, poisoned_standing(world.cohorts, world.window), step)


def accumulate_volume(backend: Backend, draws: Draws, size: Size) -> None:
    trades = draws.sampled(size.many)
    count, buckets = draws.integers(1, 3), draws.integers(1, 4)
    row = draws.array(Numbers(((-2, count - 1),)), trades, np.int32)
    price = draws.array(builders.prices_around(size.centre), trades, np.uint32)
    lots = draws.array(builders.QUANTITIES, trades, np.uint32)
    first = draws.array(Numbers(points=(-3, 0, size.centre_bin - 2, 1 << 40)), count, np.int64)
    expected = np.arange(2 * count * buckets, dtype=np.uint64).reshape(2, count, buckets)
    got = expected.copy()
    clamped = ORACLE.accumulate_volume(row, price, lots, first, *expected)
    assert backend.accumulate_volume(row, price, lots, first, *got) == clamped
    assert_array(got, expected)


def apply_updates(backend: Backend, draws: Draws, size: Size) -> None:
    """Several steps in a row; clean rows also equal their rebuild, whoever computes."""
    world = builders.world(draws, size)
    if draws.sampled((True, False)):
        settle(world, size.centre)
    expected, got = world, world._replace(cohorts=copy(world.cohorts))
    standing = standing_of(draws, world)
    kept = copy(standing)
    for _ in range(draws.integers(1, 4) if size is SMALL else 3):
        step = builders.updates(draws, expected.cohorts, world.rules, size)
        outcome = ORACLE.apply_updates(*expected, standing, step)
        assert_same(backend.apply_updates(*got, kept, step), outcome)
        assert_same(got.cohorts, expected.cohorts)
        assert_same_where_clean(kept, standing, expected.cohorts)
        assert_same_where_clean(kept, rebuilt(expected, standing.stale), expected.cohorts)
        again = subset(draws, standing.stale.size)
        ORACLE.rebuild(*expected, standing, again)
        backend.rebuild(*got, kept, again)


def rebuild(backend: Backend, draws: Draws, size: Size) -> None:
    """Rows that are not asked for stay as they are."""
    world = builders.world(draws, size)
    expected = poisoned_standing(world.cohorts, world.window)
    expected.stale[...] = draws.array(Numbers(((0, 1),)), expected.stale.size, np.uint8).reshape(-1, 2)
    got = copy(expected)
    some = subset(draws, expected.stale.size)
    ORACLE.rebuild(*world, expected, some)
    backend.rebuild(*world, got, some)
    for name in ("stale", "totals", "fresh", "live", "frontier"):
        assert_array(getattr(got, name), getattr(expected, name), name)
    for row in range(expected.stale.size):
        slots = slots_in_use(world.cohorts, row // 2)
        assert_array(got.trigger[row % 2, slots], expected.trigger[row % 2, slots], f"trigger of row {row}")


def standing_totals(backend: Backend, draws: Draws, size: Size) -> None:
    world = builders.world(draws, size)
    some = subset(draws, 2 * len(world.cohorts.used))
    expected, got = poisoned(world.cohorts, world.window), poisoned(world.cohorts, world.window)
    ORACLE.standing_totals(*world, some, expected)
    backend.standing_totals(*world, some, got)
    assert_array(got, expected)
    untouched = np.setdiff1d(all_rows(world.cohorts), some)
    assert np.all(got.reshape(-1, got.shape[2])[untouched] == POISON), "a row that was not asked for"


def leverage_grid(backend: Backend, draws: Draws, size: Size) -> None:
    world = builders.world(draws, size)
    markets = draws.array(Numbers(((0, len(world.cohorts.used) - 1),)), draws.integers(0, 4), np.int32)
    assert_array(backend.leverage_grid(*world, markets), ORACLE.leverage_grid(*world, markets))


def spread_levels(backend: Backend, draws: Draws, size: Size) -> None:
    """No row gains or loses a lot, and none lies where it did not before but away from or towards the mark."""
    count = draws.integers(0, 5) if size is SMALL else draws.sampled((30, 1))
    width = cells(draws, size, widest=max(size.bins) + 2)
    lots = np.zeros((count, width), np.uint64)
    for row in lots:
        row[:] = bounded(draws.array(builders.QUANTITIES, width, np.uint64), MAX_LOTS << draws.sampled((0, 16)))
    spread = Spread(
        draws.array(Numbers(((0, 1),)), count, np.int32),
        draws.array(Numbers(((1, width - 2), (-2, width + 1)), (0, 1, width - 2, width - 1)), count, np.int32),
        draws.array(Numbers(((0, SPREAD_ONE),), (0, 1, 64, SPREAD_ONE)), count, np.uint32),
        draws.array(Numbers(((0, 20), (0, (1 << 31) - 1)), (0, 1)), count, np.uint32),
        draws.array(Numbers(((0, width), (0, (1 << 31) - 1)), (0, 1)), count, np.uint32),
    )
    expected = ORACLE.spread_levels(lots, spread)
    assert_array(backend.spread_levels(lots, spread), expected)
    assert_array(expected.sum(1, dtype=np.uint64), lots.sum(1, dtype=np.uint64), "a row's lots")


def compact(backend: Backend, draws: Draws, size: Size) -> None:
    crowded = draws.sampled((True, False))
    expected = builders.crowd(draws, size) if crowded else builders.world(draws, size).cohorts
    got = copy(expected)
    rungs, shift, now = builders.ladder(draws), draws.sampled((0, 1, 21)), draws.sampled((NOW, 0, 1 << 33))
    for market in range(len(expected.used)):
        remain = ORACLE.compact(expected, market, now, rungs, shift)
        assert backend.compact(got, market, now, rungs, shift) == remain
    assert_same(got, expected)


def profiles(backend: Backend, draws: Draws, size: Size) -> None:
    world = builders.world(draws, size)
    window = world.window._replace(first_bin=np.minimum(world.window.first_bin, np.uint32(1 << 22)))  # prices end there
    totals = np.zeros_like(poisoned(world.cohorts, window))
    ORACLE.standing_totals(*world._replace(window=window), all_rows(world.cohorts), totals)
    asked = totals, builders.groups(draws, len(totals)), builders.notional(draws, len(totals)), window
    for got, expected in zip(backend.profiles(*asked), ORACLE.profiles(*asked), strict=True):
        assert_array(got, expected)


def render(backend: Backend, draws: Draws, size: Size) -> None:
    count = draws.integers(0, 6) if size is SMALL else draws.sampled((40, 7, 1))
    width, outputs = cells(draws, size, widest=max(size.bins) + 2), draws.integers(1, 4)
    most = MAX_LOTS << draws.sampled((0, 3))  # a row may hold several markets
    lots = np.zeros((count, width), np.uint64)
    for row in lots:
        row[:] = bounded(draws.array(builders.QUANTITIES, width, np.uint64), most)
    target = draws.array(Numbers(((-1, outputs - 1),)), count, np.int32)
    high = draws.integers(1, width - 2)
    low = draws.integers(0, high - 1)
    first_bin = draws.sampled((90, 0, 1 << 16))
    if first_bin == 0:
        lots[:, 0] = 0  # there is no price below bin 0
    asked = lots, target, outputs, builders.notional(draws, count), first_bin, low, high
    assert_array(backend.render(*asked), ORACLE.render(*asked))


def changed_cells(backend: Backend, draws: Draws, size: Size) -> None:
    """Bits count, not values: zeros of two signs differ, a NaN equals itself."""
    width, height = draws.sampled(size.many), draws.integers(1, 3)
    bits = draws.array(CELL_BITS, height * width, np.uint32)
    kind = draws.sampled(("few", "any", "none"))
    other = bits.copy()
    if kind == "any":
        other = draws.array(CELL_BITS, len(bits), np.uint32)
    elif kind == "few" and len(bits):
        other[draws.array(Numbers(((0, len(bits) - 1),)), 3, np.int64)] ^= np.uint32(1 << 31)
    previous, values = (b.view(np.float32).reshape(height, width) for b in (bits, other))
    assert_array(backend.changed_cells(previous, values), ORACLE.changed_cells(previous, values))


def clusters(backend: Backend, draws: Draws, size: Size) -> None:
    width = draws.integers(3, 24) if size is SMALL else cells(draws, size)
    rows = draws.integers(0, 3)
    amounts = draws.sampled((Numbers(((0, 3), (0, 1 << 52))), Numbers(((0, 9),))))
    notional = draws.array(amounts, rows * width, np.uint64).reshape(rows, width)
    rule = builders.cluster_rule(draws)
    if rows and draws.sampled((True, False)):  # the most that a row can hold, in one cell
        notional[0] = 0
        notional[0, draws.integers(0, width - 1)] = (1 << 64) - 1
    total = sum(notional[-1].tolist()) if rows else 0
    if total and draws.sampled((True, False)):  # the bar is just as high as a cell, or next to it
        cell = int(notional[-1, draws.integers(0, width - 1)])
        bar = -(-(cell << SHARE_BITS) // total)
        share = draws.sampled((bar, max(bar - 1, 0), min(bar + 1, SHARE_ONE), SHARE_ONE))
        rule = rule._replace(ratio_percent=0, share=share)
    assert_same(backend.clusters(notional, rule), ORACLE.clusters(notional, rule))


def too_many_lots(backend: Backend, draws: Draws, size: Size) -> None:
    """A step of which one market would hold more lots than the format does: an error before anything changed."""
    world = builders.world(draws, size)
    step = builders.updates(draws, world.cohorts, world.rules, size)
    if not len(step.market):
        return
    k = draws.integers(0, len(step.market) - 1)
    market = int(step.market[k])
    world.cohorts.used[market] = max(world.cohorts.used[market], 1)
    first = world.cohorts.start[market]
    world.cohorts.lots[1, first] = max(world.cohorts.lots[1, first], 1)
    world.cohorts.live_tiers[1, first] = 1
    room = world.cohorts.start[market + 1] - first - world.cohorts.used[market]
    if room < step.first_open[k + 1] - step.first_open[k]:
        return
    refuse_overflow(backend, world, standing_of(draws, world), step, k)


def refuse_overflow(backend: Backend, world: World, standing: Standing, step: Updates, k: int) -> None:
    """Let the ``k``-th market of a step open the most lots there are on top of what it has."""
    interest, lots = step.open_interest.copy(), step.open_lots.copy()
    interest[k] = NOT_OBSERVED
    lots[step.first_open[k]] = MAX_LOTS
    step = step._replace(open_interest=interest, open_lots=lots)
    for computes in (backend, ORACLE):
        cohorts, kept = copy(world.cohorts), copy(standing)
        with refused(OverflowError, f"market {step.market[k]} "):
            computes.apply_updates(cohorts, world.rules, world.window, world.fresh, kept, step)
        assert_same(cohorts, world.cohorts)
        assert_same(kept, standing)
