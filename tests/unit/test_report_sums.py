"""What a report adds up itself: deciles of density, and the residuals behind the partial correlation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.measures.released import released
from forcedmove_server.scorecard.report.deciles import DecileSums, decile_members
from forcedmove_server.scorecard.report.largest import largest_moves, largest_table
from forcedmove_server.scorecard.report.residuals import residual_bins
from forcedmove_server.scorecard.report.wording import percent
from forcedmove_server.scorecard.tables import MarketName
from tests.unit.report_sample import HOUR, MAPS, RESAMPLING, deciles, moves


@pytest.mark.parametrize("n", [10, 13, 57, 100])
def test_every_bin_is_shared_out_and_every_decile_is_a_tenth(n: int) -> None:
    member = decile_members(np.random.default_rng(n).integers(0, 6, n))
    assert member.sum(axis=0) == pytest.approx(np.ones(n))
    assert member.sum(axis=1) == pytest.approx(np.full(10, n / 10))


def test_deciles_ascend_with_density_and_ties_share() -> None:
    profile = np.array([3.0, 1, 2, 2, 9, 8, 7, 6, 5, 4])
    member = decile_members(profile)
    assert member[9].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert member[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    # the two twos hold the second and third place together
    assert member[1] == pytest.approx(np.array([0, 0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]))
    assert member[2] == pytest.approx(member[1])
    assert decile_members(np.full(20, 4.0)) == pytest.approx(np.full((10, 20), 0.1))


def test_the_matched_null_is_what_shuffling_inside_distance_bands_gives() -> None:
    rng = np.random.default_rng(1)
    n, band = 30, np.repeat([0, 1, 2], 10)
    profile, usd = rng.gamma(0.5, 1.0, n), rng.gamma(0.5, 1.0, n)
    sums = DecileSums()
    sums.add("ours", HOUR, "liquidations", 0, profile, usd, band, 7)
    (found,) = sums.lifts(RESAMPLING)
    member = decile_members(profile)
    drawn = np.zeros(10)
    for _ in range(4000):
        order = np.concatenate([part + rng.permutation(10) for part in (0, 10, 20)])
        drawn += member @ usd[order]
    assert np.array(found.matched) == pytest.approx(drawn / 4000 / usd.sum(), abs=0.01)
    assert sum(found.matched) == pytest.approx(1)
    assert [share.value for share in found.shares] == pytest.approx((member @ usd / usd.sum()).tolist())
    assert (found.shares[0].n, found.shares[0].blocks, found.shares[0].low) == (7, 1, None)


def test_lift_is_found_where_it_is_and_intervals_hold_the_share() -> None:
    found = {(one.map, one.source): one for one in deciles().lifts(RESAMPLING)}
    ours = found["ours", "liquidations"]
    top = ours.shares[-1]
    assert top.value is not None
    assert top.low is not None
    assert top.high is not None
    assert top.low < top.value < top.high
    # above random bins, and above random bins at the same distance
    assert top.low > 0.1
    assert top.low > ours.matched[-1]
    # a map that only knows distance has nothing over its own matched null
    distance = found["distance", "liquidations"]
    for share, matched in zip(distance.shares, distance.matched, strict=True):
        assert share.low is not None
        assert share.high is not None
        assert share.low - 0.02 <= matched <= share.high + 0.02
    assert found["ours", "positions"].shares[0].blocks == 29


def test_windows_without_deciles_are_left_out_and_lengths_are_checked() -> None:
    sums = DecileSums()
    sums.add("ours", HOUR, "positions", 0, np.ones(9), np.ones(9), np.zeros(9, np.int64), 9)
    sums.add("ours", HOUR, "positions", 0, np.ones(20), np.zeros(20), np.zeros(20, np.int64), 0)
    assert sums.lifts(RESAMPLING) == ()
    with pytest.raises(InputError, match="length 20"):
        sums.add("ours", HOUR, "positions", 0, np.ones(20), np.ones(19), np.zeros(20, np.int64), 1)


@pytest.mark.parametrize("truth", [1.0, 0.0, -0.6])
def test_the_residuals_are_those_of_the_reported_correlation(truth: float) -> None:
    rows = moves(3, truth)
    reported = released(rows, MAPS, "naive", replace(RESAMPLING, resamples=0))
    found = residual_bins(rows, MAPS, HOUR, RESAMPLING)
    # the prior is a function of the controls, so it has no residual to draw
    assert [one.map for one in found] == ["ours", "naive", "naive_maintenance"]
    for one in found:
        assert one.correlation == pytest.approx(reported[one.map].rank.value, abs=1e-6)
        assert np.sign(one.slope) == np.sign(one.correlation)
        assert list(one.crossed) == sorted(one.crossed)
        assert sum(value.n for value in one.released) == len(rows)
        # residuals are about zero, and so are their equally filled bins
        assert np.mean([value.value for value in one.released if value.value is not None]) == pytest.approx(0, abs=1e-9)


def test_order_of_arrival_changes_no_bin() -> None:
    rows = moves(4)
    shuffled = rows[np.random.default_rng(0).permutation(len(rows))]
    first, second = (residual_bins(some, MAPS, HOUR, RESAMPLING) for some in (rows, shuffled))
    assert [one.crossed for one in second] == [pytest.approx(one.crossed, abs=1e-12) for one in first]


def test_too_few_moves_have_no_bins() -> None:
    assert residual_bins(moves()[:12], MAPS, HOUR, RESAMPLING) == ()
    assert residual_bins(moves()[:0], MAPS, HOUR, RESAMPLING) == ()


def test_the_largest_moves_are_told_whole_and_in_order() -> None:
    rows = moves(3)
    found = largest_moves(rows, MAPS, HOUR, lambda number: MarketName("okx", f"M{number}", f"C{number}"), most=5)
    z = rows["size"] / rows["volatility"]
    assert [one.deviations for one in found] == sorted(z.tolist(), reverse=True)[:5]
    row = rows[np.argmax(z)]
    assert (found[0].at_ns, found[0].symbol, found[0].side) == (row["at_ns"], f"C{row['market']}", row["side"])
    assert found[0].crossed == tuple(row["crossed"].tolist())
    shuffled = np.random.default_rng(0).permutation(rows)
    assert largest_moves(shuffled, MAPS, HOUR, lambda number: MarketName("okx", "", f"C{number}"), most=5) == found


def test_the_table_of_largest_moves_shows_what_every_map_had() -> None:
    found = largest_moves(moves(3), MAPS, HOUR, lambda number: MarketName("okx", f"M{number}", "<b>"), most=3)
    shown = str(largest_table(found))
    assert shown.count("okx &lt;b&gt;") == 3
    assert all(percent(share, 2) in shown for one in found for share in one.crossed)
    assert "No move" in str(largest_table(()))
    with pytest.raises(InputError, match="crossed"):
        replace(found[0], crossed=(0.1,))
