"""How fast books withdraw: the regression finds the rate that is there, and says when it cannot know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from forcedmove_server.engine.cascade.withdrawal import BOUNDS, WithdrawalWatch, fit_withdrawal, moves, near_depth
from forcedmove_server.engine.depth import LEAST_DEPTH, ImpactLaw, remaining
from forcedmove_server.market.events import BOOK_DEPTH, Records

F64 = NDArray[np.float64]
DEFAULT = 0.043
MINUTE = 60 * 10**9
START = 1_700_000_000 * 10**9


def samples(rate: float, n: int = 2000, noise: float = 0.1, largest: float = 0.05) -> tuple[F64, F64, F64, F64]:
    """Log depth, moves, markets and hours; markets have books of very different sizes."""
    rng = np.random.default_rng(5)
    market = rng.integers(0, 4, n)
    move = rng.uniform(-largest, largest, n)
    depth = 5.0 * market - rate * np.abs(move) + rng.normal(0, noise, n)
    return depth, move, market, np.arange(n) // 60


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_a_rate_that_is_there_is_found_with_its_error(rate: float) -> None:
    depth, move, market, hour = samples(rate)
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    assert found.measured is not None
    assert found.error is not None
    assert abs(found.measured - rate) < 4 * found.error
    assert found.error < 1.0
    assert 1 / found.fraction == pytest.approx(rate, rel=0.1)
    assert (found.samples, found.markets) == (2000, 4)
    assert found.largest_move == np.abs(move).max()


def test_small_moves_leave_the_default_in_charge() -> None:
    depth, move, market, hour = samples(60.0, noise=0.5, largest=0.0005)
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    assert found.error is not None
    assert found.error > 20
    assert found.fraction == pytest.approx(DEFAULT, rel=0.3)


def test_books_that_grow_with_a_move_stay_within_bounds() -> None:
    depth, move, market, hour = samples(-100.0, noise=0.01)
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    assert found.fraction == BOUNDS[1]
    depth, move, market, hour = samples(5_000.0, noise=0.01)
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    assert found.fraction == BOUNDS[0]


@pytest.mark.parametrize("n", [0, 1, 59])
def test_too_few_samples_say_nothing(n: int) -> None:
    depth, move, market, hour = (column[:n] for column in samples(60.0))
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    assert (found.fraction, found.measured, found.samples) == (DEFAULT, None, n)


def test_rows_that_are_not_numbers_are_left_out() -> None:
    depth, move, market, hour = samples(30.0)
    depth[::3], move[1::3] = np.nan, np.inf
    found = fit_withdrawal(depth, move, market.astype(np.int64), hour.astype(np.int64), DEFAULT)
    kept = np.isfinite(depth) & np.isfinite(move)
    again = fit_withdrawal(*(c[kept] for c in (depth, move, market.astype(np.int64), hour.astype(np.int64))), DEFAULT)
    assert found == again


def book(minute: int, middle: float, quantity: float, market: int = 0) -> Records:
    """A book of three levels a side, the last of them further away than what is counted."""
    rows = np.zeros(6, BOOK_DEPTH)
    rows["time_ns"], rows["market"] = START + minute * MINUTE, market
    away = np.array([1e-4, 5e-4, 5e-3])
    rows["side"] = [0, 0, 0, 1, 1, 1]
    rows["price"] = np.concatenate([middle * (1 - away), middle * (1 + away)])
    rows["quantity"] = quantity
    return rows


def test_a_watched_market_is_sampled_once_a_minute_and_gives_the_same_fit() -> None:
    rng = np.random.default_rng(2)
    watch, rate = WithdrawalWatch(), 40.0
    log_price = np.cumsum(rng.normal(0, 0.004, 300))
    times = START + np.arange(300) * MINUTE
    own = moves(times, log_price)
    depth = np.where(np.isfinite(own), -rate * np.abs(own), 0.0) + rng.normal(0, 0.05, 300)
    for minute in range(300):
        for late in (0, 20):  # the second of a minute is not sampled
            rows = book(minute, 100 * math.exp(log_price[minute]), math.exp(depth[minute]) * (1 + 9 * (late > 0)))
            rows["time_ns"] += late * 10**9
            watch.take(rows)
    found = watch.fit([0], DEFAULT)
    expected = fit_withdrawal(
        depth + math.log(4), own, np.zeros(300, np.int64), (times // (3600 * 10**9)).astype(np.int64), DEFAULT
    )
    assert found.samples == expected.samples == 295
    assert found.fraction == pytest.approx(expected.fraction, rel=1e-6)
    assert found.error == pytest.approx(expected.error, rel=1e-6)
    assert 1 / found.fraction == pytest.approx(rate, rel=0.1)
    assert watch.fit([0], DEFAULT) is found, "a fit stands for five minutes"
    assert watch.fit([7], DEFAULT).fraction == DEFAULT


def test_depth_is_counted_near_the_middle_on_both_sides() -> None:
    found = near_depth(book(0, 100.0, 2.0))
    assert found is not None
    assert found == pytest.approx((math.log(100), math.log(8)))
    assert near_depth(book(0, 100.0, 2.0)[:3]) is None


def test_what_was_seen_holds_no_further_than_it_was_seen() -> None:
    law = ImpactLaw(0.03, 1e9, 1.0, withdrawal_fraction=0.02, seen_move=0.01, unseen_fraction=0.04)
    moved = np.array([0.0, 1.0, 2.0, 5.0, 50.0])
    expected = [1.0, math.exp(-0.5), math.exp(-0.5 - 0.25), math.exp(-0.5 - 1.0), LEAST_DEPTH]
    np.testing.assert_allclose(remaining(moved, 100.0, law), expected)


def test_a_slow_move_withdraws_less_of_what_was_seen_and_as_much_of_what_was_not() -> None:
    """Twenty minutes: a quarter of what was seen over five, all of the default, which was seen of half an hour."""
    law = ImpactLaw(0.03, 1e9, 1.0, withdrawal_fraction=0.02, seen_move=0.01, unseen_fraction=0.04, permanent=0.4)
    moved = np.array([0.0, 2.0, 4.0, 6.0, 90.0])
    felt = 0.4 + 0.6 * 65 / 1200 * (1 - math.exp(-1200 / 65))
    expected = np.array([1.0, math.exp(-0.25), math.exp(-0.5), math.exp(-0.5 - 0.5), LEAST_DEPTH]) / felt
    np.testing.assert_allclose(remaining(moved, 100.0, law.lasting(1200.0)), expected)
    hour = np.array([1.0, math.exp(-0.02 / 12 / 0.02), math.exp(-0.04 / 12 / 0.02)])
    found = remaining(moved[:3], 100.0, law.lasting(3600.0)) * law.lasting(3600.0).felt
    np.testing.assert_allclose(found, hour)
    beyond = remaining(np.array([15.0]), 100.0, law.lasting(3600.0)) * law.lasting(3600.0).felt
    np.testing.assert_allclose(beyond, math.exp(-0.5 - (0.15 - 0.12) / 2 / 0.04))
    assert law.lasting(1200.0).lasting(0.0) == law, "no time at all is at once"


@pytest.mark.parametrize("duration_s", [1e-320, 1e-9, 1.0, 3e4])
def test_what_is_felt_lies_between_all_of_it_and_what_stays(duration_s: float) -> None:
    felt = ImpactLaw(0.03, 1e9, 1.0, 0.04, permanent=0.65).lasting(duration_s).felt
    assert 0.65 <= felt <= 1.0
    assert (felt > 0.999) == (duration_s < 0.1)
