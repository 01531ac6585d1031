"""Open interest released on crossing: the correlation, and worlds where the map is right, random, or the prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.measures.released import _resampled_products, move_dtype, released
from forcedmove_server.scorecard.resampling import Resampling

F64 = NDArray[np.float64]
DAY = 86_400 * 10**9
NAMES = ("ours", "noise", "distance")
RESAMPLING = Resampling(resamples=400)


def world(seed: int, truth: float = 1.0, days: int = 20, per_day: int = 60, markets: int = 6) -> Records:
    """Moves whose open interest leaves by size, market and volatility, and by ``truth`` times the mass that "ours" has.

    "noise" is as large as "ours" and as much a matter of size, but of nothing else.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    moves = np.zeros(n, move_dtype(3))
    moves["at_ns"] = np.repeat(np.arange(days), per_day) * DAY + rng.integers(0, 24, n) * DAY // 24
    moves["market"], moves["side"] = rng.integers(0, markets, n), rng.integers(0, 2, n)
    size = moves["size"] = rng.exponential(0.01, n) + 0.004
    moves["volatility"] = rng.lognormal(-5, 0.3, n)
    moves["interest_change_before"] = rng.normal(0, 0.02, n)
    prior = (1 - np.exp(-8 * size)) * rng.lognormal(0, 0.1, n)  # whole bins, other open interest
    structure = rng.lognormal(0, 0.5, (2, n))
    moves["crossed"] = np.stack([prior * structure[0], prior * structure[1], prior], axis=1)
    moves["released"] = (
        3 * size
        + 40 * size**2
        + 2 * moves["volatility"]
        + rng.normal(0, 0.02, markets)[moves["market"]]
        + truth * moves["crossed"][:, 0]
        + rng.normal(0, 0.05, n)
    )
    return moves


def left_over(values: F64, moves: Records, *more: F64) -> F64:
    """What least squares leaves of values, given the smooth controls, a dummy per market, and more."""
    smooth = [
        form
        for base in (moves["size"], moves["crossed"][:, 2])
        for form in (base, base**2, np.sqrt(base), np.log(base))
    ]
    others = [moves["side"], moves["volatility"], moves["interest_change_before"], *more]
    columns = np.column_stack([*smooth, *others, *(moves["market"] == np.arange(6)[:, None])]).astype(float)
    columns /= np.abs(columns).max(axis=0)
    left: F64 = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return left


def test_the_plain_correlation_is_what_regression_with_dummies_leaves() -> None:
    moves = world(0)
    out = left_over(moves["released"], moves)
    expected = [np.corrcoef(out, left_over(moves["crossed"][:, k], moves))[0, 1] for k in (0, 1)]
    found = released(moves, NAMES, None, RESAMPLING)
    assert [found[name].plain.value for name in NAMES[:2]] == pytest.approx(expected, abs=1e-6)


def test_the_rank_correlation_is_the_same_of_ranks() -> None:
    moves = world(3)
    size, prior, *others = (
        stats.rankdata(values)
        for values in (moves["size"], moves["crossed"][:, 2], moves["volatility"], moves["interest_change_before"])
    )
    ranked = (size, prior, *others, size**2, prior**2)
    pair = [left_over(stats.rankdata(values), moves, *ranked) for values in (moves["released"], moves["crossed"][:, 0])]
    expected = np.corrcoef(*pair)[0, 1]
    assert released(moves, NAMES, None, RESAMPLING)["ours"].rank.value == pytest.approx(expected, abs=1e-6)


def test_a_resample_is_worked_out_as_if_its_rows_were_repeated() -> None:
    rng = np.random.default_rng(4)
    z, market, block = rng.normal(size=(60, 4)), rng.integers(0, 5, 60), rng.integers(0, 6, 60)
    weights = Resampling(resamples=7, seed=1).weights(6)
    found = _resampled_products(z, market, 5, block, weights)
    for drawn, products in zip(weights, found, strict=True):
        row = np.repeat(np.arange(60), drawn[block].astype(int))
        means = np.stack(
            [z[row][market[row] == m].mean(axis=0) if (market[row] == m).any() else z[0] for m in range(5)]
        )
        centred = z[row] - means[market[row]]
        assert products == pytest.approx(centred.T @ centred, abs=1e-9)


def test_a_map_that_is_right_shows_and_one_that_is_random_does_not() -> None:
    found = released(world(1), NAMES, "noise", RESAMPLING)
    right, noise = found["ours"], found["noise"]
    for estimate in (right.rank, right.plain, right.rank_gain, right.plain_gain):
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.low > 0.2
    assert noise.rank_gain is None
    for estimate in (noise.rank, noise.plain):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < 0 < estimate.high
    assert (right.rank.n, right.rank.blocks) == (1200, 20)


@pytest.mark.parametrize("days", [6, 20])
def test_the_interval_of_nothing_covers_nothing_nearly_as_often_as_it_says(days: int) -> None:
    covered = 0
    for seed in range(40):
        rank = released(world(seed, truth=0.0, days=days, per_day=40), NAMES, None, RESAMPLING)["ours"].rank
        assert rank.low is not None
        assert rank.high is not None
        covered += rank.low < 0 < rank.high
    assert 35 <= covered <= 40


def test_the_distance_prior_scores_zero_by_construction_whatever_its_scale() -> None:
    moves = world(2)
    moves["crossed"][:, 1] = 3.7 * moves["crossed"][:, 2]
    found = released(moves, NAMES, None, RESAMPLING)
    for name in ("noise", "distance"):
        assert (found[name].plain.value, found[name].plain.low, found[name].plain.high) == (0.0, 0.0, 0.0)
        assert "by construction" in str(found[name].rank.reason)
        assert found[name].rank.value == 0.0


def test_the_paired_gain_is_surer_than_the_difference_of_intervals() -> None:
    moves = world(6)
    rng = np.random.default_rng(0)
    moves["crossed"][:, 1] = moves["crossed"][:, 0] * rng.lognormal(0, 0.1, len(moves))  # nearly the same map
    found = released(moves, NAMES, "noise", RESAMPLING)["ours"]
    assert found.plain_gain is not None
    assert found.plain_gain.low is not None
    assert found.plain_gain.high is not None
    assert found.plain.low is not None
    assert found.plain.high is not None
    assert found.plain_gain.high - found.plain_gain.low < (found.plain.high - found.plain.low) / 2


def test_intervals_depend_on_the_seed_alone() -> None:
    moves = world(7)
    one, again = (released(moves, NAMES, "noise", RESAMPLING) for _ in range(2))
    other = released(moves, NAMES, "noise", replace(RESAMPLING, seed=1))
    assert one == again
    assert one["ours"].rank.value == other["ours"].rank.value
    assert one["ours"].rank.low != other["ours"].rank.low


def test_what_cannot_be_said_has_a_reason() -> None:
    moves = world(8)
    few = released(moves[:30], NAMES, "noise", RESAMPLING)["ours"]
    assert few.rank.value is None
    assert "50 needed" in str(few.rank.reason)
    assert few.rank_gain is not None
    assert few.rank_gain.value is None
    none = released(moves[:0], NAMES, "noise", RESAMPLING)["ours"]
    assert (none.plain.value, none.plain.n) == (None, 0)
    short = released(moves[moves["at_ns"] < 3 * DAY], NAMES, "noise", RESAMPLING)["ours"]
    assert short.rank.value is not None
    assert (short.rank.low, short.rank.blocks) == (None, 3)
    moves["released"] = 2 * moves["size"]
    assert "function of the controls" in str(released(moves, NAMES, None, RESAMPLING)["ours"].plain.reason)


def test_a_market_with_one_move_changes_nothing() -> None:
    moves = world(9)
    lone = moves[:1].copy()
    lone["market"], lone["released"], lone["crossed"] = 99, 50.0, 70.0
    one, two = (released(rows, NAMES, "noise", RESAMPLING) for rows in (moves, np.concatenate([moves, lone])))
    assert one == two
