"""Weights go to the true ones of a synthetic world, by each kind of evidence alone, and noise leaves them alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from forcedmove_server.inference.calibration import Calibration, CalibrationSettings, Window
from tests.unit.calibration_world import (
    DAY,
    F64,
    I64,
    PRIOR,
    TIERS,
    TRUTH,
    World,
    both_sides,
    calibration_of,
    distance,
    of_interest,
    of_prints,
)

K = 2
BEFORE = distance(PRIOR[None], TRUTH[None])


def learn(
    world: World, calibration: Calibration, rows: I64, days: float, shown: Callable[[Window], Window]
) -> list[float]:
    """Run a world; return the distance to the truth after a sixteenth, a quarter, half of it and at the end."""
    found = []
    for part in (1 / 16, 3 / 16, 1 / 4, 1 / 2):
        for _ in range(int(days * DAY * part)):
            calibration.observe(shown(world.window(calibration.weights(rows), rows)[0]))
        found.append(distance(calibration.weights(rows), world.truth))
    return found


def volatile(seed: int, activity: float, **options: float) -> World:
    """A world whose price moves so much that low leverage is touched too."""
    return World(seed, both_sides(TRUTH, K), np.full(K, activity), volatility=0.012, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_prints_alone_lead_to_the_truth(seed: int) -> None:
    calibration, rows = calibration_of(K, True)
    found = learn(volatile(seed, 12.0), calibration, rows, 4, of_prints)
    assert found[1] < 0.5 * BEFORE
    assert found[-1] < 0.3 * BEFORE
    assert found[-1] < 0.6 * found[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_open_interest_alone_leads_there_more_slowly(seed: int) -> None:
    calibration, rows = calibration_of(K, None)
    found = learn(volatile(seed, 60.0, released_noise=0.004, published=0.0), calibration, rows, 5, of_interest)
    assert found[1] < 0.85 * BEFORE
    assert found[-1] < 0.5 * BEFORE
    assert found[-1] < 0.8 * found[0]
    # a venue with as many liquidations that prints them is further after a fifth of the time
    printing, rows = calibration_of(K, True)
    assert learn(volatile(seed, 60.0), printing, rows, 1, of_prints)[-1] < found[-1]


def test_a_capture_ratio_below_one_is_found_and_does_no_harm() -> None:
    calibration, rows = calibration_of(K, True)
    found = learn(volatile(1, 14.0, captured=0.5), calibration, rows, 4, of_prints)
    assert found[-1] < 0.35 * BEFORE
    assert calibration.capture("v").overall == pytest.approx(0.5, abs=0.1)
    assert calibration.capture("v").by_tier == pytest.approx(np.full(len(TIERS), 0.5), abs=0.2)


@pytest.mark.parametrize("prior", [PRIOR[::-1].copy(), np.full(len(PRIOR), 1 / len(PRIOR))], ids=["reverse", "flat"])
def test_a_prior_that_is_all_wrong_is_overcome(prior: F64) -> None:
    calibration, rows = calibration_of(K, True, prior=prior)
    found = learn(volatile(4, 14.0), calibration, rows, 4, of_prints)
    assert found[-1] < 0.45 * distance(prior[None], TRUTH[None])
    assert found[-1] < 0.8 * found[0]


def test_what_is_known_of_the_capture_ratio_tells_the_tail_from_the_feed() -> None:
    """In a calm world only the tail is touched: that it holds more is only seen by who knows that all is printed."""
    ends = []
    for log_sd in (0.05, 5.0):
        calibration, rows = calibration_of(K, True, CalibrationSettings(capture_log_sd=log_sd))
        world = World(5, both_sides(TRUTH, K), np.full(K, 15.0), volatility=0.003)
        ends.append(learn(world, calibration, rows, 4, of_prints)[-1])
    assert ends[0] < 0.6 * BEFORE
    assert ends[0] < 0.75 * ends[1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_open_interest_that_follows_no_map_moves_nothing(seed: int) -> None:
    calibration, rows = calibration_of(K, None)
    learn(volatile(seed, 60.0, released_of_crossed=0.0, published=0.0), calibration, rows, 3, of_interest)
    assert calibration.capture("v").reliability < 0.3
    assert distance(calibration.weights(rows), both_sides(PRIOR, K)) < 0.02


@pytest.mark.parametrize("seed", [1, 2])
def test_open_interest_that_comes_in_rises_is_no_sign_of_leverage(seed: int) -> None:
    """Longs seem to leave when they are crossed, and shorts to stay: the split of weights over sides is none of it."""
    calibration, rows = calibration_of(K, None)
    world = volatile(seed, 60.0, opened_in_rises=0.5, published=0.0)
    world.truth = both_sides(PRIOR, K)
    learn(world, calibration, rows, 5, of_interest)
    found = calibration.weights(rows)
    assert distance(found, both_sides(PRIOR, K)) < 0.05
    tails = found[:, :, TIERS >= 15].sum(2).mean(0)
    assert tails[0] == pytest.approx(tails[1], rel=0.15)


def test_reliability_tells_signal_from_noise() -> None:
    found = []
    for noise in (0.002, 0.1):
        calibration, rows = calibration_of(K, None)
        learn(volatile(1, 60.0, released_noise=noise, published=0.0), calibration, rows, 2, of_interest)
        found.append(calibration.capture("v").reliability)
    assert found[0] > 0.9
    assert found[1] < 0.5


def test_another_regime_is_followed_within_some_half_lives() -> None:
    calm = TRUTH[[0, 1, 2, 3, 6, 7, 4, 5]]
    calibration, rows = calibration_of(K, True, CalibrationSettings(half_life_days=1.0))
    lasting, same = calibration_of(K, True, CalibrationSettings(half_life_days=1000.0))
    world, twin = volatile(1, 14.0), volatile(1, 14.0)
    learn(world, calibration, rows, 3, of_prints)
    learn(twin, lasting, same, 3, of_prints)
    world.truth = twin.truth = both_sides(calm, K)
    changed = distance(calibration.weights(rows), world.truth)
    after, never = learn(world, calibration, rows, 3, of_prints), learn(twin, lasting, same, 3, of_prints)
    assert after[-1] < 0.6 * changed
    assert after[-1] < 0.8 * never[-1]


def test_the_throttled_feed_of_a_venue_still_leads_nearer() -> None:
    calibration, rows = calibration_of(K, False)
    world = World(6, both_sides(TRUTH, K), np.full(K, 14.0), volatility=0.012, published=0.7, most_prints=15)
    assert learn(world, calibration, rows, 4, of_prints)[-1] < 0.6 * BEFORE


def test_visible_positions_are_a_sample_of_what_is_open() -> None:
    rng = np.random.default_rng(3)
    calibration, rows = calibration_of(K, None)
    count = 600
    market, side = rng.integers(0, K, count), rng.integers(0, 2, count)
    tier = rng.choice(len(TRUTH), count, p=TRUTH)
    quantity = rng.lognormal(0, 0.5, count)
    calibration.observe_positions(0, rows, rows[market], side, quantity, tier)
    found = distance(calibration.weights(rows), both_sides(TRUTH, K))
    assert found < 0.5 * BEFORE
    # the same ones seen again are no further evidence
    for hour in range(1, 5):
        calibration.observe_positions(hour * 3600 * 10**9, rows, rows[market], side, quantity, tier)
    assert distance(calibration.weights(rows), both_sides(TRUTH, K)) == pytest.approx(found, abs=1e-3)
    assert calibration.counts(rows).seen.sum((1, 2)).max() <= 200.0 + 1e-9
    # and those that closed are none any more
    empty = np.zeros(0, np.int64)
    calibration.observe_positions(5 * 3600 * 10**9, rows, empty, empty, np.zeros(0), empty)
    assert distance(calibration.weights(rows), both_sides(PRIOR, K)) < 1e-6
