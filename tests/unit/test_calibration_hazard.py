"""The selection trap, pooling over markets, incomplete feeds and bounds: on windows with a given touch hazard."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.inference.calibration import Calibration, CalibrationSettings, Prints, Window
from tests.unit.calibration_world import F64, I64, PRIOR, TIERS, TRUTH, WINDOW_NS, both_sides, calibration_of, distance

T = len(TIERS)
#: one tier of the tail is touched a hundred times more often than the bulk
HAZARD = np.array([1.0, 1, 1, 2, 5, 20, 50, 100])


def feed(
    calibration: Calibration,
    rows: I64,
    truth: F64,
    hazard: F64,
    windows: int,
    seed: int = 0,
    published: float = 1.0,
    heard: np.ndarray | None = None,
    begin: int = 0,
) -> None:
    """Windows in which each tier is touched with probability in proportion to ``hazard`` ``[K, 2, T]`` per market.

    A touched tier had ten positions per unit of weight; prints are of one size and their tier is known.
    """
    rng = np.random.default_rng(seed)
    most = hazard.max()
    for window in range(begin, begin + windows):
        unit = 10.0 * (rng.random(hazard.shape) < hazard / most)
        weights = calibration.weights(rows)
        number = rng.poisson(truth * unit * published)
        market, side, tier = np.nonzero(number)
        prints = Prints(rows[market], side, number[market, side, tier].astype(float), np.eye(T)[tier])
        calibration.observe(Window((window + 1) * WINDOW_NS, rows, weights * unit, weights, prints, heard))


@pytest.mark.parametrize("publishes_all", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tail_that_is_touched_more_often_does_not_grow(publishes_all: bool, seed: int) -> None:
    equal = np.full(T, 1 / T)
    calibration, rows = calibration_of(2, publishes_all, prior=equal)
    feed(calibration, rows, both_sides(equal, 2), both_sides(HAZARD, 2), 1500, seed)
    printed = calibration.counts(rows).printed.sum((0, 1))
    assert printed[-3:].sum() / printed.sum() > 0.9, "the trap was not set"
    assert calibration.weights(rows) == pytest.approx(both_sides(equal, 2), abs=0.035)
    assert calibration.weights(rows)[:, :, -1].mean() == pytest.approx(1 / T, abs=0.02)


def test_a_tail_that_is_smaller_than_believed_shrinks_though_it_prints_most() -> None:
    believed, true = TRUTH, PRIOR
    calibration, rows = calibration_of(2, True, prior=believed)
    feed(calibration, rows, both_sides(true, 2), both_sides(HAZARD, 2), 3000)
    printed = calibration.counts(rows).printed.sum((0, 1))
    assert printed[-1] / printed.sum() > 2 * TRUTH[-1]
    assert calibration.weights(rows)[:, :, -1].mean() == pytest.approx(true[-1], abs=0.012)


def test_what_is_never_touched_keeps_its_prior() -> None:
    calibration, rows = calibration_of(1, True)
    hazard = both_sides(HAZARD * (TIERS >= 15), 1)
    feed(calibration, rows, both_sides(TRUTH, 1), hazard, 1000)
    change = calibration.weights(rows)[0] / PRIOR
    assert change[:, 0] == pytest.approx(change[:, 1], rel=1e-6), "the bulk keeps its shape"
    assert (change[:, 4:6] > 1.3 * change[:, :1]).all()
    assert (change[:, 6] < change[:, 5]).all()
    # nobody is touched between bulk and tail: they go half-way with the tail as a whole
    assert (change[:, 2:4] >= change[:, :1]).all()
    assert (change[:, 2:4] < change[:, 4:6].mean(1, keepdims=True)).all()


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_thin_market_borrows_strength(seed: int) -> None:
    """One market in twelve prints hardly anything: with its venue it ends nearer to the truth than alone."""
    hazard = both_sides(HAZARD, 12)
    hazard[0] /= 60
    pooled, rows = calibration_of(12, True)
    feed(pooled, rows, both_sides(TRUTH, 12), hazard, 500, seed)
    alone, only = calibration_of(1, True)
    feed(alone, only, both_sides(TRUTH, 1), both_sides(HAZARD, 1), 500 // 60, seed)
    assert pooled.counts(rows[:1]).printed.sum() < 200
    near, far = distance(pooled.weights(rows[:1]), TRUTH), distance(alone.weights(only), TRUTH)
    assert near < 0.6 * far
    assert (pooled.shape(rows[:1]) < pooled.shape(rows[1:2])).all(), "the thin market is less sure"


def test_a_market_that_differs_from_its_venue_keeps_its_own_way() -> None:
    truth = both_sides(TRUTH, 6)
    own = TRUTH[[0, 1, 2, 3, 6, 7, 4, 5]]
    truth[0] = own
    calibration, rows = calibration_of(6, True)
    feed(calibration, rows, truth, both_sides(HAZARD, 6), 2000)
    assert distance(calibration.weights(rows[:1]), own) < 0.6 * distance(calibration.weights(rows[1:2]), own)
    tight, rows = calibration_of(6, True, CalibrationSettings(market_counts=1e6))
    feed(tight, rows, truth, both_sides(HAZARD, 6), 2000)
    assert distance(tight.weights(rows[:1]), tight.weights(rows[1:2])) < 0.02


def test_a_feed_that_publishes_one_in_ten_shrinks_nothing() -> None:
    found = []
    for publishes_all in (False, True):
        calibration, rows = calibration_of(2, publishes_all)
        feed(calibration, rows, both_sides(PRIOR, 2), both_sides(HAZARD, 2), 2000, published=0.1)
        tail = calibration.weights(rows)[:, :, 4:].sum(2).mean() / PRIOR[4:].sum()
        found.append(tail)
    assert found[0] == pytest.approx(1.0, abs=0.06)
    assert found[1] < found[0] - 0.03, "of a feed said to be whole, silence is evidence"


def test_windows_whose_feed_was_not_heard_say_nothing() -> None:
    calibration, rows = calibration_of(2, True)
    feed(calibration, rows, both_sides(PRIOR, 2), both_sides(HAZARD, 2), 300, published=0.0, heard=np.zeros(2, bool))
    assert calibration.weights(rows) == pytest.approx(both_sides(PRIOR, 2), abs=1e-9)
    assert calibration.counts(rows).expected.sum() == 0


def test_no_weight_leaves_its_bounds() -> None:
    settings = CalibrationSettings(most_change=3.0)
    calibration, rows = calibration_of(2, True, settings)
    strange = np.array([0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.993])
    feed(calibration, rows, both_sides(strange, 2), both_sides(np.ones(T), 2), 1000)
    change = calibration.weights(rows) / PRIOR
    assert change.max() <= 3.0 + 1e-9
    assert change.min() >= 1 / 3.0 - 1e-9
    assert change[:, :, -1] == pytest.approx(3.0)
    assert calibration.weights(rows).sum(2) == pytest.approx(1.0)


def test_tiers_that_are_not_offered_get_nothing() -> None:
    calibration, rows = calibration_of(3, True)
    short = np.append(PRIOR[:5] / PRIOR[:5].sum(), np.zeros(3))
    row = calibration.new_market("v:short", "v", np.stack([short, short]), True)
    lone = calibration.new_market("v:lone", "v", np.stack([np.eye(T)[0]] * 2), True)
    feed(calibration, rows, both_sides(TRUTH, 3), both_sides(HAZARD, 3), 500)
    found = calibration.weights(np.array([row, lone]))
    assert found[0, :, 5:].max() == 0
    assert found[1, :, 0] == pytest.approx(1.0)
    assert found.sum(2) == pytest.approx(1.0)
    assert (found[0, 0, :5] / short[:5])[4] > 1.1, "the new market has what its venue has learnt"
    assert np.isfinite(calibration.shape(np.array([row, lone]))).all()


def test_prints_where_nothing_was_crossed_are_told_and_left_out() -> None:
    calibration, rows = calibration_of(1, True)
    weights, nothing = calibration.weights(rows), np.zeros((1, 2, T))
    prints = Prints(rows, np.array([0]), np.array([4.0]), np.ones((1, T)))
    calibration.observe(Window(WINDOW_NS, rows, nothing, weights, prints))
    assert calibration.counts(rows).unplaced.tolist() == [1.0]
    assert calibration.counts(rows).printed.sum() == 0


def test_a_print_without_likelihood_is_split_as_what_was_crossed() -> None:
    calibration, rows = calibration_of(1, True)
    weights = calibration.weights(rows)
    exposure = np.zeros((1, 2, T))
    exposure[0, 1, 6:] = 3.0, 1.0
    calibration.observe(Window(0, rows, exposure * 0, weights))
    calibration.observe(Window(WINDOW_NS, rows, exposure, weights, Prints(rows, np.array([1]), np.array([8.0]))))
    assert calibration.counts(rows).printed[0, 1, 6:] == pytest.approx([0.75, 0.25])


def test_one_giant_counts_as_one() -> None:
    calibration, rows = calibration_of(1, True)
    weights = calibration.weights(rows)
    quantity = np.append(np.ones(50), 1e6)
    prints = Prints(np.zeros(51, np.int64), np.zeros(51, np.int64), quantity)
    calibration.observe(Window(WINDOW_NS, rows, both_sides(np.ones(T), 1), weights, prints))
    assert calibration.counts(rows).printed.sum() == pytest.approx(1.0, rel=1e-3)
