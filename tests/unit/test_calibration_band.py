"""Bands cover what they claim: of Gamma laws, of compound Poisson bins, and of bins of the synthetic world."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from forcedmove_server.errors import InputError
from forcedmove_server.inference.calibration import Dispersion, credible_band, gamma_band, weight_variance
from tests.unit.calibration_world import F64, TIERS, TRUTH, World, both_sides, calibration_of, of_prints

T = len(TIERS)


def covered(low: F64, high: F64, realised: F64) -> float:
    return float(((low <= realised) & (realised <= high)).mean())


def bins(rng: np.random.Generator, count: int, size_log_sd: float, clumping: float = 1.0) -> tuple[F64, F64, float]:
    """Compound Poisson bins: mean, realised quantity, and the size-biased mean quantity of one liquidation.

    ``clumping`` liquidations come at once.
    """
    mean = rng.lognormal(1.0, 1.5, count)
    number = rng.poisson(mean / clumping)
    sizes = rng.lognormal(-0.5 * size_log_sd**2, size_log_sd, int(number.sum()))
    realised = np.zeros(count)
    np.add.at(realised, np.repeat(np.arange(count), number), sizes * clumping)
    return mean, realised, float(np.exp(size_log_sd**2))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_quantiles_are_those_of_a_gamma_law(level: float) -> None:
    shape = np.geomspace(3e-3, 1e6, 500)
    low, high = gamma_band(np.full(500, 3.0), 9.0 / shape, level)
    one_sided = np.exp(-shape) > (1 - level) / 2
    tail = (1 - level) / 2
    above = np.where(one_sided, level, 1 - tail)
    expected = stats.gamma.ppf(above, shape, scale=3.0 / shape)
    seen = expected > 1e-9
    widened = np.maximum(expected, 3.0)  # a band never leaves out its mean
    furthest = shape[np.argmax(stats.gamma.ppf(level, shape, scale=3.0 / shape))]
    if level > 0.5:  # and none is narrower than where less is in doubt
        widened[shape < furthest] = stats.gamma.ppf(level, furthest, scale=3.0 / furthest)
    assert high[seen] == pytest.approx(widened[seen], rel=0.015)
    assert (high >= 3.0).all()
    assert (low[one_sided] == 0).all()
    below = np.minimum(stats.gamma.ppf(tail, shape, scale=3.0 / shape), 3.0)
    assert low[~one_sided] == pytest.approx(below[~one_sided], rel=0.015)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_more_doubt_makes_no_band_narrower_where_positions_are_few(level: float) -> None:
    variance = np.geomspace(0.4, 1e12, 60)
    low, high = gamma_band(np.ones(60), variance, level)
    assert (np.diff(high) >= -0.02).all() or level < 0.9
    assert (high >= 1).all()
    assert (np.diff(low) <= 1e-12).all()
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        gamma_band(np.array([1e200, 1e-300, 0.0]), np.array([1e200, 1e-300, 0.0]), level)


def test_bins_without_mean_or_variance_have_no_width() -> None:
    low, high = gamma_band(np.array([0.0, 2.0]), np.array([0.0, 0.0]))
    assert low.tolist() == high.tolist() == [0.0, 2.0]
    for level in (1.0, 0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="level"):
            gamma_band(np.ones(1), np.ones(1), level)


def test_a_size_begins_at_what_is_expected_and_follows_the_prints() -> None:
    calibration, _ = calibration_of(1, True)
    assert calibration.size_from(np.zeros(1), np.zeros(1), np.array([5.0])) == 5.0
    few = calibration.size_from(np.array([2.0]), np.array([4.0]), np.array([20.0]))
    many = calibration.size_from(np.array([2000.0]), np.array([4000.0]), np.array([20.0]))
    assert 15.0 < few[0] < 20.0
    assert 2.0 < many[0] < 3.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_variance_of_weights_is_that_of_a_dirichlet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = rng.gamma(2.0, 5.0, T)
    unit = rng.exponential(1.0, (T, 5)) * (rng.random((T, 5)) < 0.5)
    draws = rng.dirichlet(alpha, 40_000) @ unit
    cells = (alpha / alpha.sum())[:, None] * unit
    assert weight_variance(cells, alpha) == pytest.approx(draws.var(0), rel=0.05, abs=1e-9)


def test_a_tier_that_was_seen_often_is_surer_than_the_rest() -> None:
    """One concentration cannot say that the tail is known and the bulk is not; shapes per tier can."""
    rng = np.random.default_rng(4)
    weights, shape = TRUTH, np.array([20.0, 20, 20, 20, 20, 3000, 3000, 3000])
    gammas = rng.gamma(shape, weights / shape, (40_000, T))
    draws = gammas / gammas.sum(1, keepdims=True)
    unit = np.eye(T)[:, 5:]
    cells = weights[:, None] * unit
    found = weight_variance(cells, shape, weights)
    assert found == pytest.approx(draws[:, 5:].var(0), rel=0.12)
    single = weight_variance(cells, weights * 100.0)
    assert (single > 2 * found).all()


@pytest.mark.parametrize("size_log_sd", [0.0, 1.0, 1.5])
def test_bands_of_compound_poisson_bins_cover_nine_in_ten(size_log_sd: float) -> None:
    mean, realised, typical = bins(np.random.default_rng(1), 6000, size_log_sd)
    low, high = credible_band(mean[None], np.array([1e9]), typical)
    assert 0.87 <= covered(low, high, realised) <= 0.95
    # without the large positions in mind they would not
    low, high = credible_band(mean[None], np.array([1e9]), 0.1)
    assert covered(low, high, realised) < 0.75


@pytest.mark.parametrize(("clumping", "claimed"), [(6.0, 1.0), (1.0, 5.0)])
def test_the_dispersion_is_learnt_from_coverage(clumping: float, claimed: float) -> None:
    """Liquidations that come six at a time, or a typical quantity five times too large: phi makes up for it."""
    rng = np.random.default_rng(2)
    dispersion = Dispersion(0.9)
    assert dispersion.phi == 1.0
    mean, realised, typical = bins(rng, 4000, 0.7, clumping)
    dispersion.observe(mean, np.zeros(4000), realised, typical * claimed)
    mean, realised, typical = bins(rng, 4000, 0.7, clumping)
    low, high = gamma_band(mean, dispersion.phi * mean * typical * claimed)
    assert 0.87 <= covered(low, high, realised) <= 0.93
    assert (dispersion.phi > 3) if clumping > 1 else (dispersion.phi < 0.5)


def test_dispersion_does_not_depend_on_order_and_fades() -> None:
    rng = np.random.default_rng(3)
    mean, realised, typical = bins(rng, 500, 1.0, 4.0)
    one, other = Dispersion(), Dispersion()
    one.observe(mean, np.zeros(500), realised, typical)
    for part in np.array_split(rng.permutation(500), 7):
        other.observe(mean[part], np.zeros(len(part)), realised[part], typical)
    assert one.phi == other.phi > 1.5
    one.forget(1e-3)
    assert 1.0 < one.phi < 1.1, "what has faded holds little against the default"
    one.observe(np.zeros(3), np.zeros(3), np.ones(3), typical)
    assert one.bins == pytest.approx(0.5), "bins of which the map said nothing are left out"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bands_of_the_synthetic_world_cover_nine_in_ten(seed: int) -> None:
    """Weights learnt, dispersion learnt, and then the crossed quantity of each later window and side."""
    markets = 2
    calibration, rows = calibration_of(markets, True)
    world = World(seed, both_sides(TRUTH, markets), np.full(markets, 15.0), volatility=0.012)
    inside, total, plain = 0.0, 0, 0.0
    for window in range(900):
        weights, shape = calibration.weights(rows), calibration.shape(rows)
        seen, liquidated = world.window(weights, rows)
        typical = calibration.size_from(*calibration.printed_sizes(rows), 1.0)[:, None, None]
        cells, came = seen.exposure[..., None], liquidated.sum(2)
        touched = cells.sum((2, 3)) > 0
        if window >= 450:
            low, high = credible_band(cells, shape, typical, 0.9, calibration.phi("v"), weights)
            inside += ((low[..., 0] <= came) & (came <= high[..., 0]))[touched].sum()
            total += int(touched.sum())
            tight = gamma_band(cells.sum((2, 3)), np.full(came.shape, 1e-9))
            plain += ((tight[0] <= came) & (came <= tight[1]))[touched].sum()
        variance = weight_variance(cells, shape, weights)[..., 0]
        spread = np.broadcast_to(typical[..., 0], came.shape)
        mean = cells.sum((2, 3))
        calibration.observe_bins("v", mean[touched], variance[touched], came[touched], spread[touched])
        calibration.observe(of_prints(seen))
    assert 0.85 <= inside / total <= 0.95
    assert plain / total < 0.3
