"""Markets full of cohorts, loaded into the store of a backend, and the steps they take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from forcedmove_kernels.arrays import (
    I32,
    NOT_OBSERVED,
    U32,
    U64,
    Cohorts,
    Freshness,
    Rules,
    Updates,
    Window,
    check_rules,
)
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import (
    FRESHNESS_ONE,
    PHASES,
    PRICE_BITS,
    cumulative_weights,
    freshness_table,
    multipliers,
)
from forcedmove_kernels.store import ResidentStore

LEVERAGE = np.array([2, 3, 5, 8, 10, 15, 20, 25, 33, 50, 75, 100, 125], np.float64)
TIERS = len(LEVERAGE)
BINS = 2048
CELLS = BINS + 2
CENTRE_BIN = 2000  # bins of 5 bp
FIRST_BIN = CENTRE_BIN - BINS // 2
PRICE_NOW = CENTRE_BIN << PRICE_BITS
MEAN_COHORTS = 1750  # per market
#: an update is one live tier of one cohort on one side
UPDATES_PER_COHORT = 2 * TIERS

UNWEIGHTED = Freshness(np.full(1, FRESHNESS_ONE, np.uint32), 60, 1 << 31)


class Store(NamedTuple):
    """What the grid kernels take, in their order."""

    cohorts: Cohorts
    rules: Rules
    window: Window
    fresh: Freshness


def build_store(cohorts: int, seed: int = 7) -> Store:
    """Markets of about 1 750 cohorts, lognormal in size, entries along each market's own price path, all tiers live.

    The largest market is about four times the mean, so that a store with the same room for every market holds them.
    """
    rng = np.random.default_rng(seed)
    size = np.clip(rng.lognormal(0, 0.8, max(cohorts // MEAN_COHORTS, 2)), 0.05, 4)
    used = np.maximum((size * cohorts / size.sum()).astype(np.int64), 8)
    used[: max(cohorts - used.sum(), 0)] += 1
    markets, start = len(used), np.concatenate([[0], np.cumsum(used)])
    slots = int(start[-1])
    entry = np.empty(slots, np.uint32)
    for m in range(markets):
        path = np.exp(np.cumsum(rng.normal(0, 0.002, used[m])) + rng.normal(0, 0.001, used[m]))
        path *= CENTRE_BIN / path[-1]
        entry[start[m] : start[m + 1]] = np.clip(path, 1, 100_000) * (1 << PRICE_BITS)
    maintenance = rng.uniform(0.003, 0.006, markets)[:, None, None]
    leverage = LEVERAGE * np.linspace(0.9, 1.1, PHASES)[:, None]  # [P, T]
    ratio = np.stack([1 - 1 / leverage + maintenance, 1 + 1 / leverage - maintenance], 1)
    rules = Rules(
        tiers=np.full(markets, TIERS, np.uint8),
        multiplier=multipliers(ratio),
        weight=cumulative_weights(rng.dirichlet(np.full(TIERS, 3.0), (markets, 2))),
    )
    check_rules(rules)
    return Store(
        Cohorts(
            start=start.astype(np.int64),
            used=used.astype(np.int32),
            entry=entry,
            opened_at=np.arange(slots, dtype=np.uint32),
            lots=rng.integers(1, 200_000, (2, slots), np.uint32),
            live_tiers=np.full((2, slots), TIERS, np.uint8),
        ),
        rules,
        Window(np.full(markets, FIRST_BIN, np.uint32), BINS),
        UNWEIGHTED,
    )


def aged(store: Store) -> Freshness:
    """Weights by age that differ from cohort to cohort: a half-life of a quarter of the store's time."""
    newest = int(store.cohorts.opened_at[-1])
    step = max(newest // 512, 1)
    return Freshness(freshness_table(step, 1024, newest / 4 + 1), step, newest)


def one_market(store: Store, market: int) -> tuple[Cohorts, Rules]:
    """Cohorts and tables of one market, as a resident store takes them."""
    cohorts = store.cohorts
    slots = slice(cohorts.start[market], cohorts.start[market + 1])
    own = Cohorts(
        start=np.array([0, cohorts.used[market]], np.int64),
        used=cohorts.used[market : market + 1],
        entry=cohorts.entry[slots],
        opened_at=cohorts.opened_at[slots],
        lots=cohorts.lots[:, slots],
        live_tiers=cohorts.live_tiers[:, slots],
    )
    return own, Rules(*(table[market : market + 1] for table in store.rules))


def resident(backend: Backend, store: Store, spare: int) -> ResidentStore:
    """The store in the arrays of a backend, with room for ``spare`` more cohorts in the largest market; all stale."""
    markets = len(store.cohorts.used)
    there = backend.open_store(markets, int(store.cohorts.used.max()) + spare, TIERS, BINS)
    for market in range(markets):
        cohorts, rules = one_market(store, market)
        there.set_rules(market, rules)
        there.replace(market, cohorts)
    there.move_window(np.arange(markets, dtype=np.int32), FIRST_BIN)
    there.set_freshness(store.fresh)
    return there


def settle(there: ResidentStore) -> U64:
    """Kill what lies behind the current price, as the first sweep of a running server has. Returns live lots [M, 2]."""
    markets = len(there.used)
    price, nothing = np.full(markets, PRICE_NOW, np.uint32), np.zeros(markets, np.uint32)
    unknown = np.full((markets, 2), NOT_OBSERVED, np.uint32)
    rows = np.arange(markets + 1, dtype=np.int64)
    step = Updates(rows[:-1].astype(np.int32), price, price, price, unknown, nothing, rows, price, nothing)
    live = there.apply(step).live
    there.refresh()
    return live


def tick(markets: I32, deltas: int, now: int, interest: U32, move_bp: float, seed: int) -> Updates:
    """``deltas`` openings spread over ``markets``, in each of which the price moves by ``move_bp``, up or down.

    ``interest`` u32 ``[K, 2]`` is the open interest of each market and side in lots, or NOT_OBSERVED.
    """
    rng = np.random.default_rng(seed)
    steps = len(markets)
    first_open = np.linspace(0, deltas, steps + 1).astype(np.int64)
    before = np.full(steps, PRICE_NOW, np.int64)
    after = before + rng.choice([-1, 1], steps) * round(PRICE_NOW * move_bp / 10_000)
    low, high = np.minimum(before, after), np.maximum(before, after)
    rows = np.diff(first_open)
    return Updates(
        market=markets,
        low=low.astype(np.uint32),
        high=high.astype(np.uint32),
        price=after.astype(np.uint32),
        open_interest=interest,
        opened_at=np.full(steps, now, np.uint32),
        first_open=first_open,
        open_entry=rng.integers(np.repeat(low, rows), np.repeat(high, rows) + 1).astype(np.uint32),
        open_lots=rng.integers(1, 1000, deltas, np.uint32),
    )
