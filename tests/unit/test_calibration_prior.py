"""How sure a prior is taken to be, what is left of its error once something was seen, and sizes of what opens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forcedmove_server.inference.calibration import CalibrationSettings, Window
from forcedmove_server.inference.calibration.venue_fit import (
    VenueCounts,
    _Posterior,
    fit_venues,
    prior_strength,
    unfitted,
    usual_tail,
)
from tests.unit.calibration_world import DAY, PRIOR, TIERS, TRUTH, WINDOW_NS, World, both_sides, calibration_of


def test_a_tier_of_which_the_prior_holds_little_is_held_to_it_little() -> None:
    """A Dirichlet law: the same total strength, dealt out as the prior's own weight is."""
    settings = CalibrationSettings()
    tiers = len(PRIOR)
    strength = prior_strength(np.concatenate([PRIOR, PRIOR])[None], settings)[0]
    assert strength.sum() == pytest.approx(2 * tiers * settings.prior_counts, rel=0.01)
    assert strength[:tiers] == pytest.approx(settings.prior_counts * tiers * PRIOR)
    none = prior_strength(np.array([[1.0, 0.0, 1.0, 0.0]]), settings)[0]
    assert none[1] == settings.least_prior_counts


@pytest.mark.parametrize("publishes_all", [True, None])
def test_an_error_of_the_prior_counts_less_the_more_was_seen_of_a_tier(publishes_all: bool | None) -> None:
    calibration, rows = calibration_of(2, publishes_all)
    whole = calibration.settings.prior_log_sd
    assert (calibration.common_deviation(rows) == whole).all()
    world = World(5, both_sides(TRUTH, 2), np.full(2, 12.0), volatility=0.006)
    seen = []
    for days in (1, 2):
        for _ in range(days * DAY):
            window = world.window(calibration.weights(rows), rows)[0]
            calibration.observe(
                window if publishes_all else replace(window, released=None, open_interest=None, move=None)
            )
        seen.append(calibration.common_deviation(rows))
    if publishes_all is None:
        assert np.allclose(seen[-1], whole), "who tells nothing leaves the prior as doubtful as it was"
        return
    tail, bulk = -1, 0
    assert (seen[0][:, :, tail] < 0.5 * whole).all()
    assert (seen[1] <= seen[0] + 1e-9).all()
    assert (seen[1][:, :, bulk] > 0.9 * whole).all(), "3x was hardly touched"
    assert np.array_equal(seen[1][0], seen[1][1]), "a matter of the venue"


def test_openings_are_measured_while_nothing_is_learnt_and_fade_with_the_rest() -> None:
    calibration, rows = calibration_of(2, True)
    calibration.freeze()
    calibration.observe_openings(rows, np.array([10.0, 20.0]), np.array([40.0, 20.0]))
    calibration.observe_openings(rows[:1], np.array([10.0]), np.array([40.0]))
    total, squares = calibration.opened_sizes(rows)
    assert (squares / total).tolist() == [4.0, 1.0]
    assert calibration.size_from(total, squares, 1e-9) == pytest.approx([4.0, 1.0])
    calibration.thaw()
    weights = calibration.weights(rows)
    for at in (0, int(14 * DAY)):
        calibration.observe(Window(at * WINDOW_NS, rows, np.zeros(weights.shape), weights))
    assert calibration.opened_sizes(rows)[0] == pytest.approx([10.0, 10.0])


def test_openings_fade_while_frozen_too() -> None:
    calibration, rows = calibration_of(1, True)
    weights = calibration.weights(rows)
    calibration.observe(Window(0, rows, np.zeros(weights.shape), weights))
    calibration.freeze()
    calibration.observe_openings(rows, np.array([10.0]), np.array([40.0]))
    calibration.observe(Window(int(14 * DAY) * WINDOW_NS, rows, np.zeros(weights.shape), weights))
    assert calibration.opened_sizes(rows)[0] == pytest.approx([5.0])


def test_a_fit_to_nothing_leaves_what_is_known_without_one() -> None:
    """Weights and how sure they are do not jump when the first window comes and tells nothing."""
    calibration, rows = calibration_of(3, True)
    before = calibration.weights(rows), calibration.shape(rows)
    calibration.observe(Window(0, rows, np.zeros(before[0].shape), before[0]))
    assert calibration.weights(rows) == pytest.approx(before[0])
    assert calibration.shape(rows) == pytest.approx(before[1], rel=0.02)
    assert before[1].min() < 0.3 * before[1].max(), "a tier of which the prior holds little is little known"


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e3, 1e5])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_fit_ends_where_nothing_can_be_gained(scale: float, seed: int) -> None:
    """Open interest of one side speaks strongly against its map: a step is only safe as a whole, and damped."""
    rng = np.random.default_rng(seed)
    settings, tiers = CalibrationSettings(), len(PRIOR)
    crossed = np.abs(rng.normal(size=(200, 2 * tiers))) * rng.gamma(0.3, 1, 2 * tiers) * np.sqrt(scale)
    left = crossed @ np.repeat([0.5, -0.3], tiers) + rng.normal(size=200)
    nothing = np.zeros((1, 2 * tiers))
    counts = VenueCounts(
        *(nothing,) * 4,
        (crossed.T @ crossed)[None],
        (crossed.T @ left)[None],
        np.array([True]),
        np.concatenate([PRIOR, PRIOR])[None],
        usual_tail(TIERS)[None],
    )
    model, start = _Posterior(counts, settings), unfitted(1, 2 * tiers, settings)
    found = fit_venues(counts, settings, start)
    point = np.concatenate(
        [np.log(found.ratio), found.tail, np.log(found.capture)[:, None], np.log(found.released_capture)], 1
    )
    value, (gradient, information, _) = model.value(point)[0], model.slope(point)
    gain = gradient[0] @ np.linalg.solve(information[0], gradient[0])
    assert gain < 1e-6 * (1 + abs(value))
    for small in (1e-8, 1e-4, 0.1):
        other = fit_venues(counts, settings, replace(start, released_capture=np.array([[0.5, small]])))
        again = np.concatenate(
            [np.log(other.ratio), other.tail, np.log(other.capture)[:, None], np.log(other.released_capture)], 1
        )
        assert model.value(again)[0] == pytest.approx(value, rel=1e-4, abs=0.01)
