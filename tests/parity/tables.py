"""Hypothesis strategies for everything kernels read: small, and full of extremes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.arrays import (
    NOT_OBSERVED,
    U64,
    Cohorts,
    Freshness,
    Notional,
    Rules,
    Updates,
    Window,
    check_rules,
    check_updates,
    empty_cohorts,
)
from forcedmove_kernels.fixed_point import FRESHNESS_ONE, MAX_LOTS, MAX_PRICE_UNITS, cumulative_weights

CAPACITY = 24
CENTRE = 100 << 10  # bin 100
POISON = 0xDEAD_BEEF_DEAD_BEEF
NOW = 100_000

prices = st.one_of(
    st.integers(CENTRE * 9 // 10, CENTRE * 11 // 10),
    st.integers(CENTRE * 99 // 100, CENTRE * 101 // 100),
    st.sampled_from([1, 1023, 1024, CENTRE, MAX_PRICE_UNITS]),
)
quantities = st.one_of(st.integers(1, 50), st.integers(0, MAX_LOTS), st.sampled_from([0, 1, MAX_LOTS]))
multipliers = st.one_of(
    st.integers(240 << 20, 272 << 20),  # about 0.94 to 1.06
    st.integers(144 << 20, 368 << 20),  # about 0.56 to 1.44
    st.sampled_from([0, 1, 1 << 28, MAX_PRICE_UNITS]),
)
times = st.one_of(st.integers(0, NOW), st.sampled_from([0, NOW, NOW + 500, (1 << 32) - 1]))


class World(NamedTuple):
    """A store, its rules and a window on it."""

    cohorts: Cohorts
    rules: Rules
    window: Window
    fresh: Freshness


def array(draw: st.DrawFn, elements: st.SearchStrategy[int], size: int, dtype: Any) -> NDArray[Any]:
    """One-dimensional array of drawn elements."""
    return np.array(draw(st.lists(elements, min_size=size, max_size=size)), dtype)


def bounded(lots: NDArray[Any], limit: int) -> NDArray[Any]:
    """``lots`` that add up to at most ``limit``: unchanged where they do already."""
    total = int(lots.sum(dtype=np.uint64))
    if total <= limit:
        return lots
    return np.array([int(q) * limit // total for q in lots], np.uint32)


@st.composite
def rule_tables(draw: st.DrawFn, markets: int) -> Rules:
    tiers = draw(st.sampled_from([3, 1, 2, 5, 17]))
    multiplier = np.empty((markets, 2, tiers), np.uint32)
    shares = np.empty((markets, 2, tiers))
    for m in range(markets):
        for side in (0, 1):
            ladder = np.sort(array(draw, multipliers, tiers, np.uint32))
            multiplier[m, side] = ladder if side == 0 else ladder[::-1]
            shares[m, side] = array(draw, st.integers(0, 3), tiers, np.float64)
    rules = Rules(array(draw, st.integers(1, tiers), markets, np.uint8), multiplier, cumulative_weights(shares))
    check_rules(rules)
    return rules


@st.composite
def stores(draw: st.DrawFn, rules: Rules) -> Cohorts:
    markets = len(rules.tiers)
    cohorts = empty_cohorts(CAPACITY, markets)
    for m in range(markets):
        tiers = int(rules.tiers[m])
        used = draw(st.sampled_from([5, 12, 2, 1, 0]))
        slots = slice(m * CAPACITY, m * CAPACITY + used)
        cohorts.used[m] = used
        cohorts.entry[slots] = array(draw, prices, used, np.uint32)
        cohorts.opened_at[slots] = np.sort(array(draw, times, used, np.uint32))
        for side in (0, 1):
            live = array(draw, st.one_of(st.integers(1, tiers), st.integers(0, tiers)), used, np.uint8)
            lots = bounded(array(draw, quantities, used, np.uint32), MAX_LOTS)
            cohorts.live_tiers[side, slots] = live
            cohorts.lots[side, slots] = np.where(live > 0, lots, 0)
    return cohorts


@st.composite
def crowds(draw: st.DrawFn) -> Cohorts:
    """A market of cohorts that are close in price, time and live tiers, so that compaction has something to merge."""
    cohorts = empty_cohorts(CAPACITY, 1)
    used = draw(st.integers(1, 16))
    near = st.one_of(st.integers(CENTRE, CENTRE + 2100), st.sampled_from([1, MAX_PRICE_UNITS]))
    ago = st.one_of(st.integers(-100, 200), st.integers(3500, 3700), st.integers(39_900, 40_100))
    cohorts.used[0] = used
    cohorts.entry[:used] = array(draw, near, used, np.uint32)
    cohorts.opened_at[:used] = np.sort(NOW - array(draw, ago, used, np.int64))
    for side in (0, 1):
        cohorts.live_tiers[side, :used] = array(draw, st.integers(1, 2), used, np.uint8)
        cohorts.lots[side, :used] = bounded(array(draw, quantities, used, np.uint32), MAX_LOTS)
    return cohorts


@st.composite
def windows(draw: st.DrawFn, markets: int) -> Window:
    near = st.integers(85, 95)
    first = st.one_of(near, near, st.sampled_from([0, 1, 110, 1 << 22, (1 << 32) - 1]))
    return Window(array(draw, first, markets, np.uint32), draw(st.sampled_from([30, 20, 1])))


@st.composite
def freshness_tables(draw: st.DrawFn) -> Freshness:
    if draw(st.booleans()):
        return Freshness(np.full(3, FRESHNESS_ONE, np.uint32), 60, NOW)
    table = array(draw, st.integers(0, FRESHNESS_ONE), draw(st.integers(1, 4)), np.uint32)
    return Freshness(table, draw(st.sampled_from([1, 60, 1 << 33])), draw(st.sampled_from([0, NOW, 1 << 33])))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    markets = draw(st.integers(1, 4))
    rules = draw(rule_tables(markets))
    return World(draw(stores(rules)), rules, draw(windows(markets)), draw(freshness_tables()))


@st.composite
def updates(draw: st.DrawFn, cohorts: Cohorts) -> Updates:
    """A step that fits ``cohorts``: some markets, in any order, observed or not."""
    market = np.array(draw(st.permutations(range(len(cohorts.used)))), np.int32)
    market = market[draw(st.integers(0, len(market))) :]
    low, high, price, interest, count, entry, lots = ([] for _ in range(7))
    for m in market:
        extremes = sorted(draw(st.lists(prices, min_size=3, max_size=3)))
        low.append(extremes[0])
        price.append(extremes[1])
        high.append(extremes[2])
        rows = draw(st.integers(1, 3))
        slots = slice(m * CAPACITY, m * CAPACITY + cohorts.used[m])
        live = int(cohorts.lots[:, slots].sum(1, dtype=np.uint64).max())
        opened = array(draw, quantities, rows, np.uint32)
        observed = draw(st.sampled_from(["no", "nothing left", "any", "same", "most"]))
        if observed == "no":
            opened = bounded(opened, MAX_LOTS - live)
            interest.append(NOT_OBSERVED)
        else:
            opened = bounded(opened, MAX_LOTS - 1)
            least = int(opened.sum(dtype=np.uint64))
            wanted = {"nothing left": least, "any": draw(quantities), "same": live + least, "most": MAX_LOTS - 1}
            interest.append(min(max(wanted[observed], least), MAX_LOTS - 1))
        count.append(rows)
        entry += draw(st.lists(prices, min_size=rows, max_size=rows))
        lots += opened.tolist()
    step = Updates(
        market=market,
        low=np.array(low, np.uint32),
        high=np.array(high, np.uint32),
        price=np.array(price, np.uint32),
        open_interest=np.array(interest, np.uint32),
        opened_at=array(draw, times, len(market), np.uint32),
        first_open=np.cumsum([0, *count], dtype=np.int64),
        open_entry=np.array(entry, np.uint32),
        open_lots=np.array(lots, np.uint32),
    )
    check_updates(step, cohorts)
    return step


@st.composite
def notionals(draw: st.DrawFn, markets: int) -> Notional:
    """Linear and inverse contracts whose cells stay far below 2**63 cents."""
    base = array(draw, st.sampled_from([0.0, 100.0, 1 / 3]), markets, np.float64)
    slope = array(draw, st.sampled_from([0.0, 0.1, 50.0, 1e-7]), markets, np.float64)
    return Notional(base, slope)


amounts = st.one_of(st.integers(0, 5), st.integers(0, 1 << 50), st.just(0))


@st.composite
def books(draw: st.DrawFn) -> tuple[U64, U64, int]:
    """Notional, depth (any u64) and the mark's cell."""
    cells = draw(st.integers(3, 14))
    depths = st.one_of(amounts, st.just(0), st.just((1 << 64) - 1))
    return (
        array(draw, amounts, cells, np.uint64),
        array(draw, depths, cells, np.uint64),
        draw(st.integers(0, cells - 1)),
    )


ladders = st.sampled_from(
    [[(0, 60)], [(0, 1), (600, 3600)], [(300, 60), (3600, 900), (40_000, 86_400)], [(0, 1 << 31)]]
)


def copy(cohorts: Cohorts) -> Cohorts:
    return Cohorts(*(field.copy() for field in cohorts))


def all_rows(cohorts: Cohorts) -> NDArray[np.int32]:
    return np.arange(2 * len(cohorts.used), dtype=np.int32)


def poisoned(cohorts: Cohorts, window: Window) -> U64:
    """Standing totals full of garbage."""
    return np.full((len(cohorts.used), 2, window.bins + 2), POISON, np.uint64)


def assert_same(got: Any, expected: Any) -> None:
    """Same arrays, bit for bit, field by field."""
    for name, one, other in zip(expected._fields, got, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert np.asarray(one).dtype == np.asarray(other).dtype, name
