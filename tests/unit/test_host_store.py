"""The store on the host: what makes rows stale, what stale rows refuse, copies that stay copies."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels import host_store
from forcedmove_kernels.arrays import NOT_OBSERVED, ClusterRule, Freshness, Notional, Rules, Updates, View, Window
from forcedmove_kernels.errors import MemoryBudgetError
from forcedmove_kernels.fixed_point import cumulative_weights, freshness_table
from forcedmove_kernels.host_store import HostStore
from forcedmove_kernels.reference import ReferenceBackend
from tests.parity.builders import in_every_phase

ALL = np.arange(2, dtype=np.int32)
ENTRY = 100 << 10
LADDER = np.array([[0, 60]], np.uint32)


def rules() -> Rules:
    """Tables of one market of two tiers."""
    return Rules(
        np.full(1, 2, np.uint8), in_every_phase([[[0.9, 0.95], [1.1, 1.05]]]), cumulative_weights(np.ones((1, 2, 2)))
    )


def step(*markets: int, price: int = ENTRY) -> Updates:
    """Ten lots open in each market."""
    count = len(markets)
    at = np.full(count, price, np.uint32)
    return Updates(
        market=np.array(markets, np.int32),
        low=at,
        high=at,
        price=at,
        open_interest=np.full((count, 2), NOT_OBSERVED, np.uint32),
        opened_at=np.full(count, 1000, np.uint32),
        first_open=np.arange(count + 1),
        open_entry=at,
        open_lots=np.full(count, 10, np.uint32),
    )


@pytest.fixture
def store() -> HostStore:
    """Two markets with a cohort each, up to date."""
    opened = HostStore(ReferenceBackend(), markets=2, capacity=8, tiers=2, bins=40)
    for market in (0, 1):
        opened.set_rules(market, rules())
    opened.move_window(ALL, 80)
    opened.apply(step(0, 1))
    opened.refresh()
    return opened


def stale(store: HostStore) -> list[int]:
    """Markets whose totals are refused."""
    found = []
    for market in range(len(store.used)):
        try:
            store.totals(np.array([market], np.int32), weighted=False)
        except ValueError:
            found.append(market)
    return found


def test_steps_keep_rows_up_to_date(store: HostStore) -> None:
    store.apply(step(1))
    assert stale(store) == []
    assert store.totals(ALL, weighted=False).sum(2).tolist() == [[10, 10], [20, 20]]
    assert store.used.tolist() == [1, 2]


def test_what_changes_a_market_makes_its_rows_stale(store: HostStore) -> None:
    store.set_rules(0, rules())
    assert stale(store) == [0]
    store.refresh()
    store.move_window(ALL[1:], 81)
    assert stale(store) == [1]
    assert store.first_bin.tolist() == [80, 81]
    store.refresh()
    assert store.compact(0, 2000, LADDER, 0) == 1
    assert stale(store) == [0]
    store.refresh()
    store.replace(1, store.cohorts(0))
    assert stale(store) == [1]
    store.refresh()
    assert stale(store) == []
    store.set_freshness(Freshness(freshness_table(60, 10, 600), 60, 5000))
    assert stale(store) == [0, 1]


def test_stale_rows_are_refused_wherever_totals_are_read(store: HostStore) -> None:
    store.set_rules(1, rules())
    money = Notional(np.ones(2), np.zeros(2))
    target = np.zeros((2, 2, 1), np.int32)
    with pytest.raises(ValueError, match="refresh"):
        store.totals(ALL, weighted=True)
    with pytest.raises(ValueError, match="refresh"):
        store.profiles(ALL, np.array([0, 2]), money, ClusterRule(1, 100, 0))
    with pytest.raises(ValueError, match="refresh"):
        store.render(View(ALL, None, False, money, target, 1, 0, 40))
    assert store.render(View(ALL, ALL[:1], False, money, target, 1, 0, 40)).sum() > 0  # the grid is never stale
    assert store.leverage_grid(ALL, weighted=False).sum() == 40


def test_weighted_totals_follow_the_table(store: HostStore) -> None:
    assert np.array_equal(store.totals(ALL, weighted=True), store.totals(ALL, weighted=False))
    half = Freshness(np.full(1, 1 << 15, np.uint32), 1, 0)
    store.set_freshness(half)
    store.refresh()
    assert store.totals(ALL, weighted=True).sum() == 20
    assert store.totals(ALL, weighted=False).sum() == 40
    assert store.leverage_grid(ALL, weighted=True).sum() == 20


def test_the_same_market_in_several_windows(store: HostStore) -> None:
    twice = np.zeros(2, np.int32)
    grid = store.leverage_grid(twice, False, Window(np.array([80, 120], np.uint32), 40))
    assert grid[:, :, :, 1:-1].sum((1, 2, 3)).tolist() == [20, 0]
    assert grid.sum((1, 2, 3)).tolist() == [20, 20]


def test_rendered_tiers_add_up_to_the_totals(store: HostStore) -> None:
    money = Notional(np.full(2, 100.0), np.zeros(2))
    together = View(ALL, None, False, money, np.zeros((2, 2, 1), np.int32), 1, 0, 40)
    every = store.render(together)
    tiers = store.render(together._replace(tiers=ALL, target=np.zeros((2, 2, 2), np.int32)))
    np.testing.assert_array_equal(every, tiers)
    assert every.sum() == 40
    hidden = np.full((2, 2, 1), -1, np.int32)
    assert not store.render(together._replace(target=hidden, outputs=2)).any()
    with pytest.raises(ValueError, match="target"):
        store.render(together._replace(tiers=ALL, target=hidden))


def test_cohorts_are_copies(store: HostStore) -> None:
    own = store.cohorts(0)
    assert own.lots.tolist() == [[10], [10]]
    own.lots[:] = 0
    assert store.cohorts(0).lots.tolist() == [[10], [10]]
    store.replace(1, own)
    own.lots[:] = 5
    assert store.cohorts(1).lots.tolist() == [[0], [0]]


def test_bad_arguments(store: HostStore) -> None:
    with pytest.raises(ValueError, match="cohorts"):
        store.replace(0, store.cohorts(0)._replace(used=np.array([9], np.int32)))
    for refused in (lambda: store.cohorts(2), lambda: store.set_rules(-1, rules()), lambda: store.apply(step(2))):
        with pytest.raises(ValueError, match="market"):
            refused()
    with pytest.raises(ValueError, match="markets"):
        store.move_window(ALL + 1, 0)
    fresh = HostStore(ReferenceBackend(), 1, 8, 2, 40)
    with pytest.raises(ValueError, match="rules"):
        fresh.apply(step(0))


def test_refused_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_store, "host_free_bytes", lambda: 1 << 20)
    monkeypatch.setattr(host_store, "empty_cohorts", lambda *_: pytest.fail("allocated"))
    with pytest.raises(MemoryBudgetError, match=r"this machine has 1\.0 MiB free: lower"):
        HostStore(ReferenceBackend(), 100, 100_000, 13, 2048)
