"""Builders of everything kernels read: full of extremes, small enough to read or large enough to leave one block."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.arrays import (
    I64,
    NOT_OBSERVED,
    U32,
    ClusterRule,
    Cohorts,
    Freshness,
    Notional,
    Rules,
    Updates,
    Window,
    check_rules,
    check_updates,
)
from forcedmove_kernels.fixed_point import (
    FRESHNESS_ONE,
    LONG,
    MAX_LOTS,
    MAX_PRICE_UNITS,
    MULTIPLIER_BITS,
    PHASES,
    PRICE_BITS,
    SHARE_ONE,
    SHORT,
    cumulative_weights,
    multipliers,
    phase_of,
)
from tests.parity.draws import Draws, Numbers, subset

CAPACITY = 24
NOW = 100_000


class Size(NamedTuple):
    """How large tables are; of several numbers one is drawn."""

    markets: int  # at most
    capacity: tuple[int, ...]  # cohort slots of a market
    cohorts: tuple[int, ...]  # of them in use, as far as openings leave room
    openings: tuple[int, ...]  # of a market in one step
    tiers: tuple[int, ...]
    bins: tuple[int, ...]
    centre_bin: int  # where prices are
    many: tuple[int, ...]  # trades, chains, paths, cells to compare

    @property
    def centre(self) -> int:
        """Price units of the lower edge of ``centre_bin``."""
        return self.centre_bin << PRICE_BITS


SMALL = Size(4, (CAPACITY,), (5, 12, 2, 1, 0), (1, 2, 3), (3, 1, 2, 5, 17), (30, 20, 1), 100, (3, 12, 1, 0))
# Blocks have 256 threads, tiles 4096 cohorts or cells: one less, one more and several of both. The hundred cohorts
# that 4196 leave to a second tile matter: most cells hold nothing of theirs, or one lot.
LARGE = Size(
    markets=5,
    capacity=(5200, 9000, 1200),
    cohorts=(300, 4196, 640, 4196, 0, 8250, 257, 2049, 1),
    openings=(1, 40, 257, 600),
    tiers=(13, 17, 4),
    bins=(2048, 255, 62, 1000, 5000, 2048, 14, 256),
    centre_bin=2000,
    many=(300, 1025, 33),
)

QUANTITIES = Numbers(((1, 50), (0, MAX_LOTS)), (0, 1, MAX_LOTS))
FEW = Numbers(((1, 9), (1, 50)), (0, 1))  # fewer than there are tiers to share them out to
MODERATE = Numbers(((0, 100_000),))  # even the largest markets can hold them
MULTIPLIERS = Numbers(
    ((240 << 20, 272 << 20), (144 << 20, 368 << 20)),  # about 0.94 to 1.06, 0.56 to 1.44
    (0, 1, 1 << MULTIPLIER_BITS, MAX_PRICE_UNITS),
)
#: of a ratio of one, about a bin and a half around SMALL's centre
DITHER = Numbers(((-(1 << 22), 1 << 22),), (0, 1))
FRESHNESS = Numbers(((FRESHNESS_ONE // 2, FRESHNESS_ONE), (0, FRESHNESS_ONE)))
TIMES = Numbers(((0, NOW),), (0, NOW, NOW + 500, (1 << 32) - 1))
LADDERS = ([(0, 60)], [(0, 1), (600, 3600)], [(300, 60), (3600, 900), (40_000, 86_400)], [(0, 1 << 31)])


class World(NamedTuple):
    """A store, its rules and a window on it."""

    cohorts: Cohorts
    rules: Rules
    window: Window
    fresh: Freshness


def prices_around(centre: int) -> Numbers:
    """Price units near ``centre``, very near, and at the ends of the format."""
    return Numbers(
        ((centre * 9 // 10, centre * 11 // 10), (centre * 99 // 100, centre * 101 // 100)),
        (1, 1023, 1024, centre, MAX_PRICE_UNITS),
    )


def bounded(lots: NDArray[Any], limit: int) -> NDArray[Any]:
    """``lots`` that add up to at most ``limit``: unchanged where they do already."""
    total = sum(lots.tolist())
    if total <= limit:
        return lots
    return np.array([q * limit // total for q in lots.tolist()], lots.dtype)


def in_every_phase(ratio: ArrayLike) -> U32:
    """Multipliers u32 ``[M, 2, P, T]`` of tiers without width, from ``ratio`` ``[M, 2, T]``."""
    return np.repeat(multipliers(ratio)[:, :, None], PHASES, 2)


def rule_tables(draws: Draws, markets: int, tiers: int) -> Rules:
    """Ladders of any kind, in the order that rules need; every phase has its own, in some close to each other."""
    shape = markets, 2, PHASES, tiers
    if draws.sampled((True, False)):  # one ladder, moved from phase to phase
        ladder = draws.array(MULTIPLIERS, markets * 2 * tiers, np.int64).reshape(markets, 2, 1, tiers)
        moved = draws.array(DITHER, PHASES, np.int64)[:, None]
        drawn = np.clip(ladder + moved, 0, MAX_PRICE_UNITS).astype(np.uint32)
    else:
        drawn = draws.array(MULTIPLIERS, math.prod(shape), np.uint32).reshape(shape)
    multiplier = np.sort(drawn)
    multiplier[:, 1] = multiplier[:, 1, :, ::-1]
    shares = draws.array(Numbers(((0, 3),)), markets * 2 * tiers, np.float64).reshape(markets, 2, tiers)
    rules = Rules(
        draws.array(Numbers(((max(tiers - 3, 1), tiers), (1, tiers))), markets, np.uint8),
        np.ascontiguousarray(multiplier),
        cumulative_weights(shares),
    )
    check_rules(rules)
    return rules


def empty_store(capacity: list[int]) -> Cohorts:
    """Empty markets with as many slots as ``capacity`` says."""
    start = np.cumsum([0, *capacity], dtype=np.int64)
    slots = int(start[-1])
    return Cohorts(
        start,
        np.zeros(len(capacity), np.int32),
        *np.zeros((2, slots), np.uint32),
        np.zeros((2, slots), np.uint32),
        np.zeros((2, slots), np.uint8),
    )


def store(draws: Draws, rules: Rules, size: Size = SMALL) -> Cohorts:
    """Markets with any cohorts; on some both sides hold the same lots, as they do when openings are all there is."""
    capacity = [draws.sampled(size.capacity) for _ in range(len(rules.tiers))]
    cohorts = empty_store(capacity)
    for m in range(len(capacity)):
        tiers = int(rules.tiers[m])
        used = min(draws.sampled(size.cohorts), capacity[m] - 4 * min(size.openings))
        slots = slice(cohorts.start[m], cohorts.start[m] + used)
        cohorts.used[m] = used
        cohorts.entry[slots] = draws.array(prices_around(size.centre), used, np.uint32)
        cohorts.opened_at[slots] = np.sort(draws.array(TIMES, used, np.uint32))
        balanced = draws.sampled((True, False))
        quantities = draws.sampled((FEW, QUANTITIES, MODERATE))
        alive = Numbers(((1, tiers),)) if balanced else Numbers(((1, tiers), (0, tiers)))
        for side in (0, 1):
            live = draws.array(alive, used, np.uint8)
            cohorts.live_tiers[side, slots] = live
            if side and balanced:
                cohorts.lots[side, slots] = cohorts.lots[0, slots]
            else:
                lots = bounded(draws.array(quantities, used, np.uint32), MAX_LOTS)
                cohorts.lots[side, slots] = np.where(live > 0, lots, 0)
    return cohorts


def crowd(draws: Draws, size: Size = SMALL) -> Cohorts:
    """A market of cohorts that are close in price, time and live tiers, so that compaction has something to merge."""
    used = draws.integers(1, 16) if size is SMALL else draws.sampled(size.cohorts)
    cohorts = empty_store([max(CAPACITY, used)])
    near = Numbers(((size.centre, size.centre + 2100),), (1, MAX_PRICE_UNITS))
    ago = Numbers(((-100, 200), (3500, 3700), (39_900, 40_100)))
    cohorts.used[0] = used
    cohorts.entry[:used] = draws.array(near, used, np.uint32)
    cohorts.opened_at[:used] = np.sort(NOW - draws.array(ago, used, np.int64))
    for side in (0, 1):
        cohorts.live_tiers[side, :used] = draws.array(Numbers(((1, 2),)), used, np.uint8)
        cohorts.lots[side, :used] = bounded(draws.array(QUANTITIES, used, np.uint32), MAX_LOTS)
    return cohorts


def first_bins(size: Size, bins: int) -> Numbers:
    """Windows that show most prices, and some that show none."""
    if size is SMALL:
        return Numbers(((85, 95), (85, 95)), (0, 1, 110, 1 << 22, (1 << 32) - 1))
    middle = max(size.centre_bin - bins // 2, 20)
    return Numbers(((middle - 20, middle + 20), (middle, middle)), (0, size.centre_bin, (1 << 32) - 1))


def window(draws: Draws, markets: int, size: Size = SMALL) -> Window:
    """A window per market, of one width."""
    bins = draws.sampled(size.bins)
    return Window(draws.array(first_bins(size, bins), markets, np.uint32), bins)


def freshness(draws: Draws) -> Freshness:
    """Weights by age, which may rise with age as well; the time may lie before or beyond every opening."""
    if draws.sampled((True, False, False)):
        return Freshness(np.full(3, FRESHNESS_ONE, np.uint32), 60, NOW)
    table = draws.array(FRESHNESS, draws.integers(1, 4), np.uint32)
    return Freshness(table, draws.sampled((1, 60, 1 << 33)), draws.sampled((0, NOW, 1 << 33)))


def world(draws: Draws, size: Size = SMALL) -> World:
    """A store with everything that belongs to it."""
    markets = draws.integers(1, size.markets)
    rules = rule_tables(draws, markets, draws.sampled(size.tiers))
    return World(store(draws, rules, size), rules, window(draws, markets, size), freshness(draws))


def trigger_prices(cohorts: Cohorts, rules: Rules, market: int, side: int) -> NDArray[np.int64]:
    """Prices that liquidate the highest live tier of cohorts of one side, at most 2**32 - 1; of live cohorts only."""
    slots = slice(cohorts.start[market], cohorts.start[market] + cohorts.used[market])
    live = cohorts.live_tiers[side, slots].astype(np.int64)
    entry = cohorts.entry[slots][live > 0]
    highest = rules.multiplier[market, side, phase_of(entry), live[live > 0] - 1].astype(np.uint64)
    price = entry * highest >> np.uint64(MULTIPLIER_BITS)
    return np.minimum(price, MAX_PRICE_UNITS).astype(np.int64)


def extremes(draws: Draws, cohorts: Cohorts, rules: Rules | None, market: int, size: Size) -> list[int]:
    """Lowest price, price now, highest price of a step: anywhere, close together, or just at triggers of cohorts."""
    kind = draws.sampled(("calm", "edge", "any") if rules else ("any", "calm"))
    if kind == "any":
        return sorted(draws.array(prices_around(size.centre), 3, np.int64).tolist())
    if kind == "calm":
        return sorted(draws.array(Numbers(((-10, 10), (-2048, 2048))), 3, np.int64) + size.centre)
    assert rules is not None
    at = [size.centre, size.centre]
    for side in (0, 1):
        triggers = trigger_prices(cohorts, rules, market, side)
        if len(triggers):
            # Few reached or many: the rank decides how many of the row's cohorts the extreme meets.
            ranked = np.sort(triggers) if side else np.sort(triggers)[::-1]
            rank = draws.sampled((0, 0, len(ranked) // 8, len(ranked) // 4, len(ranked) - 1))
            at[side] = min(max(int(ranked[rank]) + draws.integers(-1, 1), 0), MAX_PRICE_UNITS)
    low, high = (at[LONG], at[SHORT]) if at[LONG] <= at[SHORT] else [draws.sampled(at)] * 2
    return [low, draws.sampled((low, high)), high]


def updates(draws: Draws, cohorts: Cohorts, rules: Rules | None = None, size: Size = SMALL) -> Updates:
    """A step that fits ``cohorts``: some markets, in any order, observed or not."""
    room = np.diff(cohorts.start) - cohorts.used
    market = subset(draws, len(room))
    market = market[room[market] > 0]
    spans, interest, count, entries, openings = [], [], [], [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
    for m in market.tolist():
        spans.append(extremes(draws, cohorts, rules, m, size))
        rows = min(draws.sampled(size.openings), int(room[m]))
        slots = slice(cohorts.start[m], cohorts.start[m] + cohorts.used[m])
        live = int(cohorts.lots[:, slots].sum(1, dtype=np.uint64).max())
        opened = draws.array(draws.sampled((FEW, QUANTITIES)), rows, np.uint32)
        observed = draws.sampled(("no", "no", "no", "same", "nothing left", "any", "most"))
        if observed == "no":
            opened = bounded(opened, MAX_LOTS - live)
            interest.append([NOT_OBSERVED] * 2)
        else:
            opened = bounded(opened, MAX_LOTS - 1)
            least = int(opened.sum(dtype=np.uint64))
            any_number = int(draws.array(QUANTITIES, 1, np.uint32)[0])
            wanted = {"nothing left": least, "any": any_number, "same": live + least, "most": MAX_LOTS - 1}
            sides = [observed, draws.sampled((observed, *wanted))]
            interest.append([min(max(wanted[side], least), MAX_LOTS - 1) for side in sides])
        count.append(rows)
        entries.append(draws.array(prices_around(size.centre), rows, np.uint32))
        openings.append(opened)
    low, price, high = np.array(spans, np.uint32).reshape(-1, 3).T.copy()
    step = Updates(
        market=market,
        low=low,
        high=high,
        price=price,
        open_interest=np.array(interest, np.uint32).reshape(-1, 2),
        opened_at=draws.array(TIMES, len(market), np.uint32),
        first_open=np.cumsum([0, *count], dtype=np.int64),
        open_entry=np.concatenate(entries),
        open_lots=np.concatenate(openings),
    )
    check_updates(step, cohorts)
    return step


def ladder(draws: Draws) -> U32:
    """A compaction ladder u32 ``[L, 2]``."""
    return np.array(draws.sampled(LADDERS), np.uint32)


def notional(draws: Draws, rows: int) -> Notional:
    """Linear and inverse contracts whose cells stay far below 2**63 cents while bins stay below 2**23."""
    base = draws.array(Numbers(points=(0.0, 100.0, 1 / 3)), rows, np.float64)
    slope = draws.array(Numbers(points=(0.0, 0.1, 50.0, 1e-7)), rows, np.float64)
    return Notional(base, slope)


def groups(draws: Draws, markets: int) -> I64:
    """Where the markets of each of some symbols begin, i64 ``[S + 1]``; a symbol may have none."""
    inner = draws.array(Numbers(((0, markets),)), draws.integers(0, 3), np.int64) if markets else np.zeros(0, np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.sort(inner), np.full(1, markets, np.int64)])


def cluster_rule(draws: Draws) -> ClusterRule:
    """Narrow and wide surroundings, low and high bars, shares that leave a cell, all of them, or none."""
    share = draws.array(Numbers(((0, SHARE_ONE), (0, SHARE_ONE // 50)), (0, 1, SHARE_ONE)), 1, np.uint64)
    return ClusterRule(
        draws.sampled((draws.integers(0, 5), 40, 1 << 40)),
        draws.sampled((100, 0, 150, 300, (1 << 64) - 1)),
        int(share[0]),
    )
