"""Every measure of the scorecard on cases small enough to be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.measures.bits import bits, log_gain
from forcedmove_server.scorecard.measures.capture import (
    capture,
    capture_by_tier,
    capture_ratio,
    decile_members,
    poisson_bits_per_event,
)
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen, score_cascades
from forcedmove_server.scorecard.measures.coverage import coverage, coverage_sums
from forcedmove_server.scorecard.measures.invariants import flow_error, interest_error
from forcedmove_server.scorecard.measures.profile import profile_distance
from forcedmove_server.scorecard.measures.reach import reach_probability, reach_score, reach_sums
from forcedmove_server.scorecard.resampling import (
    MOST_CLUSTERS,
    Estimate,
    Resampling,
    effective_size,
    expanded_tail,
    wilson,
)

S = 10**9
DAY = 86_400 * S


# --- bits ------------------------------------------------------------------------------------------------------------


def test_bits_without_floor_are_the_log_ratio() -> None:
    # q = .5 .25 .125 .125 against an even null
    gain = log_gain([4.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], floor=1e-12)
    assert gain == pytest.approx([1.0, 0.0, -1.0, -1.0])


def test_an_empty_bin_costs_what_the_floor_says() -> None:
    # n = 4, floor .2: q = .8 * (1, 0, 0, 0) + .05, q0 = .25
    gain = log_gain([1.0, 0.0, 0.0, 0.0], np.ones(4), floor=0.2)
    assert gain == pytest.approx([math.log2(0.85 / 0.25), *[math.log2(0.05 / 0.25)] * 3])


def test_the_null_against_itself_and_an_empty_map_are_worth_nothing() -> None:
    null = np.array([5.0, 0.0, 2.0, 1.0])
    assert (log_gain(np.stack([null, 7 * null, 0 * null]), null) == 0).all()


def test_expected_bits_under_the_truth_are_the_divergence() -> None:
    truth, null = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    gain = log_gain(truth, null, floor=1e-15)
    assert truth @ gain == pytest.approx(stats.entropy(truth, null, base=2))


def test_bits_of_positions_leave_out_what_lies_outside_the_region() -> None:
    gain = np.array([[1.0, -1.0, np.nan], [2.0, np.nan, np.nan]])
    found = bits(gain, [0, 0, 0, 1], [0, 1, 2, 0], [1, 1, 1, 1], [0, 1, 2, 3], Resampling(least_blocks=99))
    assert (found.value, found.n, found.blocks) == (pytest.approx(2 / 3), 3, 3)
    dollars = bits(gain, [0, 0, 0, 1], [0, 1, 2, 0], [10, 30, 9, 60], [0, 1, 2, 3], Resampling(least_blocks=99))
    assert dollars.value == pytest.approx((10 - 30 + 120) / 100)
    with pytest.raises(InputError, match="bins"):
        bits(gain, [0], [3], [1], [0], Resampling())


# --- resampling ------------------------------------------------------------------------------------------------------


def test_ratio_interval_matches_the_standard_error_of_a_clustered_mean() -> None:
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(200), 10)
    values = rng.normal(size=200)[cluster] + rng.normal(size=2000)
    found = Resampling(resamples=4000).ratio(values, np.ones(2000), cluster)
    means = np.bincount(cluster, values) / 10
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * means.std() / math.sqrt(200), rel=0.06)


def test_intervals_are_the_same_for_the_same_seed_and_only_then() -> None:
    rng = np.random.default_rng(0)
    top, cluster = rng.normal(size=100), np.arange(100) % 20
    one, again, other = (Resampling(seed=seed).ratio(top, np.ones(100), cluster) for seed in (3, 3, 4))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


@pytest.mark.parametrize("blocks", [5, 7, 20, 200])
def test_the_expansion_for_few_blocks_is_students(blocks: int) -> None:
    expected = stats.norm.cdf(-math.sqrt(blocks / (blocks - 1)) * stats.t.ppf(0.975, blocks - 1))
    assert expanded_tail(0.95, blocks) == pytest.approx(expected, rel=0.03)


def test_too_few_blocks_give_a_value_without_an_interval() -> None:
    found = Resampling(least_blocks=5).ratio([1.0, 3.0], [1.0, 1.0], [0, 1])
    assert found == Estimate(2.0, None, None, 2, 2, "no interval from 2 blocks, 5 needed")
    assert Resampling().ratio([], [], []) == Estimate(None, n=0, reason="nothing observed")


def test_very_many_clusters_are_joined_and_give_the_same_interval() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=5 * MOST_CLUSTERS)
    found = Resampling(resamples=800).ratio(values, np.ones(len(values)), np.arange(len(values)))
    assert found.low is not None
    assert found.high is not None
    assert found.blocks == len(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(len(values)), rel=0.15)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (17, 40), (40, 40)])
def test_wilson_agrees_with_scipy(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_effective_size() -> None:
    assert effective_size(4.0, 4.0) == 4.0  # four equal events
    assert effective_size(10 + 1 + 1, 100 + 1 + 1) == pytest.approx(144 / 102)
    assert effective_size(0.0, 0.0) == 0.0
    assert wilson(0.0, 0.0) == (0.0, 1.0)


# --- capture ---------------------------------------------------------------------------------------------------------


def test_capture_against_both_nulls() -> None:
    # 20 bins, top decile two: bins 3 and 12; bands of 5 and 15 bins
    profile = np.ones((1, 20))
    profile[0, [3, 12]] = 9.0
    band = np.repeat([0, 1], [5, 15])
    member, matched = decile_members(profile, band)
    assert member[0].tolist() == [1.0 if b in (3, 12) else 0.0 for b in range(20)]
    assert matched[0] == pytest.approx(np.repeat([1 / 5, 1 / 15], [5, 15]))
    usd = np.zeros(20)
    usd[3], usd[4], usd[12] = 60.0, 30.0, 10.0
    found = capture(member[0] @ usd, matched[0] @ usd, usd.sum() * 2 / 20, usd.sum(), (usd**2).sum())
    assert found.share == pytest.approx(0.7)
    assert found.uniform == pytest.approx(0.1)
    assert found.distance_matched == pytest.approx((90 / 5 + 10 / 15) / 100)
    assert found.lift == pytest.approx(7.0)
    assert found.lift_distance_matched == pytest.approx(0.7 / 0.18666667)
    assert found.effective_n == pytest.approx(100**2 / (3600 + 900 + 100))
    assert found.low == pytest.approx(wilson(0.7, found.effective_n)[0])


def test_nothing_captured_says_so() -> None:
    found = capture(0.0, 0.0, 0.0, 0.0, 0.0)
    assert found.share is None
    assert found.reason is not None


def test_capture_ratio_says_nothing_where_nothing_was_predicted() -> None:
    assert capture_ratio([2.0, 3.0], [4.0, 0.0]) == pytest.approx([0.5, np.nan], nan_ok=True)


def test_capture_by_tier_divides_bins_as_the_map_does() -> None:
    # bin 0: tiers 3:1, realised 2 -> 1.5 and .5; bin 1: only tier 1, realised 1; bin 2: empty on the map
    found = capture_by_tier([2.0, 1.0, 5.0], [[3.0, 0.0, 0.0], [1.0, 4.0, 0.0]])
    assert found == pytest.approx([1.5 / 3, 1.5 / 5])


def test_poisson_bits_are_the_fall_of_deviance() -> None:
    counts, mass, null = np.array([5, 0, 1, 2.0]), np.array([4.0, 0.5, 1.0, 2.5]), np.array([1.0, 1.0, 3.0, 1.0])

    def deviance(values: np.ndarray) -> float:
        rate = values * counts.sum() / values.sum()
        return float(
            2 * (np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / rate), 0) - (counts - rate)).sum()
        )

    found = poisson_bits_per_event(
        counts @ np.log2(mass), mass.sum(), float(counts @ np.log2(null)), float(null.sum()), float(counts.sum())
    )
    assert found == pytest.approx((deviance(null) - deviance(mass)) / (2 * math.log(2) * counts.sum()))
    assert np.isnan(poisson_bits_per_event(0.0, 1.0, 0.0, 1.0, 0.0))


def test_profile_distance() -> None:
    distance, rank = profile_distance([[1.0, 0, 0, 0], [0, 0, 0, 2.0]], [0, 0, 0, 5.0], bin_width_bp=5.0)
    assert distance.tolist() == [15.0, 0.0]
    assert rank == pytest.approx([-1 / 3, 1.0])


# --- reach -----------------------------------------------------------------------------------------------------------


def test_reach_probability_is_the_reflection_principle() -> None:
    sigma, horizon = 0.001, 3600.0
    spread = sigma * 60
    assert reach_probability([0.0, spread, 2 * spread], sigma, horizon) == pytest.approx(
        [1.0, 2 * stats.norm.cdf(-1), 2 * stats.norm.cdf(-2)]
    )
    assert reach_probability([0.0, 0.01], 0.0, horizon).tolist() == [1.0, 0.0]


def test_reach_probability_is_what_a_walk_does() -> None:
    rng = np.random.default_rng(2)
    walks = np.cumsum(rng.normal(0, 1e-4, (4000, 2000)), axis=1)
    reached = (walks.max(axis=1) >= 0.004).mean()
    assert reached == pytest.approx(float(reach_probability(0.004, 1e-4, 2000.0)), abs=0.02)


def test_reliability_of_hand_made_forecasts() -> None:
    sums = reach_sums([[0.05, 0.95], [0.05, 0.95]], [[0, 1], [1, 1]])
    assert sums.shape == (2, 10, 4)
    found = reach_score(sums.sum(axis=0))
    assert found.n == 4
    assert found.brier == pytest.approx((0.0025 * 3 + 0.9025) / 4)
    assert found.skill == pytest.approx(1 - 0.2275 / 0.1875)
    assert [(b.n, b.forecast, b.observed) for b in found.reliability] == [
        (2, pytest.approx(0.05), 0.5),
        (2, pytest.approx(0.95), 1.0),
    ]
    assert reach_score(np.zeros((10, 4))).reason is not None


# --- coverage and invariants -----------------------------------------------------------------------------------------


def test_coverage_counts_bins_that_say_something() -> None:
    low, high, truth = [0, 1, 1, 0, 0], [0, 2, 2, 1, 1], [0, 1.5, 3, 0.5, 9.0]
    found = coverage(coverage_sums(low, high, truth, [True, True, True, True, False]))
    assert (found.bins, found.share) == (3, pytest.approx(2 / 3))
    assert found.share_of_truth == pytest.approx(2 / 5)
    assert (found.below, found.above) == (0.0, pytest.approx(1 / 3))
    assert coverage(np.zeros(6)).share is None
    with pytest.raises(InputError, match="band"):
        coverage_sums([2.0], [1.0], [1.0], [True])


def test_interest_error_is_relative_and_of_the_worse_side() -> None:
    assert interest_error([[99, 102], [0, 0], [1, 0]], [100, 0, 0]).tolist() == [0.02, 0.0, math.inf]


def test_flows_balance() -> None:
    # opened 100, of which 5 were wrongly killed and raised again: 80 + 15 + 10 = 105
    assert flow_error(100.0, 5.0, 80.0, 15.0, 10.0) == 0.0
    assert flow_error([100.0], [0.0], [80.0], [15.0], [10.0]).tolist() == [0.05]
    assert flow_error([0.0], [0.0], [2.0], [0.0], [0.0]).tolist() == [2.0]


# --- cascades --------------------------------------------------------------------------------------------------------


def alarm(at_s: float, until_s: float, side: int = 0, floor: float = 95_000.0, total: float = 60e6) -> CascadeAlarm:
    return CascadeAlarm("BTC", side, int(at_s * S), int(until_s * S), floor, total, 3)


def seen(at_s: float, side: int = 0) -> CascadeSeen:
    return CascadeSeen("BTC", side, int(at_s * S), 96_000.0, 50e6, 4)


def test_cascades_by_hand() -> None:
    alarms = [
        alarm(100, 500),  # superseded by the next one: a false alarm
        alarm(200, 500),  # hit, 100 s ahead
        alarm(200, 500, side=1),  # other side: false
        alarm(86_000, 90_000),  # still standing at the end: undecided
    ]
    found = score_cascades(alarms, [seen(300), seen(600)], 0, DAY)
    assert (found.alarms, found.hits, found.missed, found.false_alarms) == (3, 1, 1, 2)
    assert found.floor_error_bp == pytest.approx(1000 / 96_000 * 1e4)
    assert (found.total_error, found.depth_error) == (pytest.approx(0.2), 1.0)
    assert (found.lead_time_s, found.false_alarms_per_day) == (100.0, 2.0)


def test_an_alarm_at_the_same_instant_is_none_and_one_alarm_answers_once() -> None:
    assert score_cascades([alarm(300, 400)], [seen(300)], 0, DAY).hits == 0
    found = score_cascades([alarm(100, 400)], [seen(200), seen(300)], 0, DAY)
    assert (found.hits, found.missed) == (1, 1)


def test_no_cascades_give_no_errors_but_still_false_alarms() -> None:
    found = score_cascades([alarm(1, 2)], [], 0, DAY // 2)
    assert (found.floor_error_bp, found.false_alarms_per_day, found.reason) == (None, 2.0, "no cascade was seen")
    with pytest.raises(InputError, match="end_ns"):
        score_cascades([], [], 5, 5)
