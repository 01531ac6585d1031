"""Sizes of positions from open interest: what rises add up to, what does not matter, how old entries are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_server.engine.turnover import Turnover
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.market.instruments import InstrumentRegistry

LOT = 0.5


def turnover() -> Turnover:
    table = MarketTable(InstrumentRegistry(), 4)
    table.lot[:] = LOT
    return Turnover(table)


def step(interest: int, opened: int, at_s: int, market: int = 1) -> Updates:
    """One market's update: its openings in two rows."""
    sides = np.full((1, 2), interest, np.uint32)
    lots = np.array([opened // 2, opened - opened // 2], np.uint32)
    price = np.full(1, 1000 << 10, np.uint32)
    return Updates(
        market=np.array([market], np.int32),
        low=price,
        high=price,
        price=price,
        open_interest=sides,
        opened_at=np.array([at_s], np.uint32),
        first_open=np.array([0, 2], np.int64),
        open_entry=np.repeat(price, 2),
        open_lots=lots,
    )


def size(found: Turnover) -> float:
    opened, squares = found.taken(np.array([1]))
    return float(squares[0] / opened[0])


@pytest.mark.parametrize("every", [1, 10, 100])
def test_the_size_of_positions_comes_out_however_often_open_interest_is_observed(every: int) -> None:
    """Positions of log-normal size open and close one by one, one a second."""
    rng = np.random.default_rng(every)
    count = 40_000
    opens, closes = (np.rint(1000 * np.exp(0.8 * rng.standard_normal(count))).astype(np.int64) for _ in range(2))
    both = np.where(rng.random(count) < 0.5, opens, -closes)
    interest = 10**9 + np.cumsum(both)[every - 1 :: every]
    opened = np.add.reduceat(np.maximum(both, 0), np.arange(0, count, every))
    found = turnover()
    for at, (lots, new) in enumerate(zip(interest.tolist(), opened.tolist(), strict=True)):
        found.observe(step(lots, new, at))
    true = LOT * float((opens.astype(float) ** 2).sum() / opens.sum())
    assert size(found) == pytest.approx(true, rel=0.15)


def test_a_crowd_that_is_forced_out_a_gap_and_a_mere_sweep_say_nothing() -> None:
    found = turnover()
    found.observe(step(1_000_000, 1_000_000, 0))
    found.observe(step(1_000_100, 100, 30))
    found.observe(step(500_000, 0, 60))
    found.observe(step(NOT_OBSERVED, 0, 70))
    found.observe(step(900_000, 400_000, 60 + 601))
    found.observe(step(900_100, 100, 60 + 631))
    assert size(found) == pytest.approx(100 * LOT)
    assert not np.any(found.taken(np.array([1]))), "what was taken is not counted again"


def test_what_stood_at_the_first_observation_is_replaced_by_what_opens() -> None:
    found = turnover()
    assert found.stood[1] == 1.0
    found.observe(step(1000, 1000, 0))
    assert found.stood[1] == 1.0, "the first observation is what stood"
    found.observe(step(1000, 100, 30))
    found.observe(step(1000, 100, 60))
    assert found.stood[1] == pytest.approx(0.81)
    found.observe(step(500, 0, 90))
    assert found.stood[1] == pytest.approx(0.81), "what closes is old and new alike"
    found.observe(step(2000, 2000, 5000))
    assert found.stood[1] == 0.0
    assert found.stood[0] == 1.0


@pytest.mark.parametrize("factor", [1.01, 1.1, 1.45, 2.0, 9.0])
def test_one_wrong_reading_changes_no_size(factor: float) -> None:
    rng = np.random.default_rng(1)
    interest = 10**7 + np.cumsum(rng.integers(-300, 301, 3000))
    sizes = []
    for wrong in (1.0, factor):
        read = interest.astype(float)
        read[1500] *= wrong
        found = turnover()
        for at, lots in enumerate(read.astype(np.int64).tolist()):
            found.observe(step(lots, 100, at))
        sizes.append(size(found))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_a_large_position_counts_once_it_is_seen_to_stay() -> None:
    found = turnover()
    lots = [1_000_000, 1_000_100, 1_000_200, 1_040_200]
    for at, interest in enumerate(lots):
        found.observe(step(interest, 100, at))
    assert size(found) < 200 * LOT, "not yet"
    found.observe(step(1_040_100, 100, len(lots)))
    assert size(found) == pytest.approx(39_900**2 / 100 * LOT)
