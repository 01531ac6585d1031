"""Map metrics: against scipy where it has them, and by definition where input is empty or constant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from forcedmove_server.errors import InputError
from forcedmove_server.inference.comparison import (
    compare_maps,
    spearman,
    top_decile,
    true_map,
    wasserstein,
)
from forcedmove_server.sources.simulate.positions import TRUTH

profiles = st.integers(2, 60).flatmap(
    lambda n: st.tuples(*[arrays(np.float64, n, elements=st.integers(0, 20).map(float)) for _ in range(2)])
)


@given(profiles)
def test_spearman_agrees_with_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert spearman(a, b) == 0.0
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@given(profiles)
def test_wasserstein_agrees_with_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    if a.sum() > 0 and b.sum() > 0:
        bins = np.arange(len(a))
        assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(bins, bins, a, b), abs=1e-9)


def test_empty_profiles() -> None:
    assert spearman([], []) == 0.0
    assert wasserstein([0, 0, 0], [0, 0, 0]) == 0.0
    assert wasserstein([0, 0, 0], [1, 0, 0]) == 2.0
    assert wasserstein([], []) == 0.0
    assert top_decile([]).shape == (0,)


def test_top_decile_shares_ties() -> None:
    assert top_decile(np.arange(20.0)).tolist() == [0.0] * 18 + [1.0] * 2
    assert top_decile(np.ones(20)).tolist() == [0.1] * 20
    # One above the edge, four tied for the one place that is left.
    assert top_decile([5.0, 3, 3, 3, 3] + [0.0] * 15).tolist() == [1.0] + [0.25] * 4 + [0.0] * 15


def test_a_map_equals_itself() -> None:
    rng = np.random.default_rng(7)
    notional = rng.random((2, 400)) * 1e6
    result = compare_maps(notional, 3 * notional, first_bin=1_750, bin_width_usd=50.0, mark_usd=97_500.0)
    for side in (result.long, result.short):
        assert side.spearman == 1.0
        assert side.wasserstein_bp == pytest.approx(0, abs=1e-6)
        assert side.top_decile_overlap == pytest.approx(1.0)
        assert side.true_usd == pytest.approx(3 * side.inferred_usd)


def test_a_shift_is_measured_in_basis_points() -> None:
    inferred, true = np.zeros((2, 400)), np.zeros((2, 400))
    inferred[0, 150], true[0, 140] = 1e6, 2e6  # ten bins of $50 at 97 500
    result = compare_maps(inferred, true, first_bin=1_750, bin_width_usd=50.0, mark_usd=97_500.0)
    assert result.long.wasserstein_bp == pytest.approx(500 / 97_500 * 1e4)
    # The crowded bin is missed; the other top bins are ties among the empty ones, shared evenly: almost nothing.
    assert result.long.top_decile_share < 0.2
    assert result.short == compare_maps(inferred, true, 1_750, 50.0, 97_500.0).short
    assert result.short.spearman == 0.0
    assert result.short.wasserstein_bp == 0.0


def test_only_levels_within_reach_count() -> None:
    notional = np.ones((2, 1_000))
    result = compare_maps(notional, notional, first_bin=0, bin_width_usd=1.0, mark_usd=500.0, within=0.2)
    assert result.long.bins == 101  # 400..500, the mark's own bin included
    assert result.short.bins == 100  # 500..599
    assert result.long.top_decile_overlap == pytest.approx(11 / 101)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("inferred", {"inferred": np.ones((2, 3))}),
        ("inferred", {"inferred": np.ones(4)}),
        ("true", {"true": np.full((2, 4), np.nan)}),
        ("true", {"true": np.full((2, 4), -1.0)}),
        ("mark_usd", {"mark_usd": float("nan")}),
        ("bin_width_usd", {"bin_width_usd": 0.0}),
        ("within", {"within": 1.5}),
    ],
)
def test_bad_input_is_named(field: str, call: dict[str, object]) -> None:
    good = {"inferred": np.ones((2, 4)), "true": np.ones((2, 4)), "first_bin": 0, "bin_width_usd": 1.0, "mark_usd": 2.0}
    with pytest.raises(InputError) as caught:
        compare_maps(**(good | call))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_true_map_places_positions() -> None:
    truth = np.zeros(5, TRUTH)
    truth["market"] = [0, 0, 1, 0, 0]
    truth["side"] = [0, 1, 0, 1, 0]
    truth["quantity"] = [2.0, 1.0, 700.0, 1.0, 1.0]
    truth["liquidation_price"] = [96_049.0, 96_050.0, 96_000.0, np.inf, 0.0]
    both = true_map(truth, [False, True], 50.0, first_bin=1_900, bins=100)
    assert both[0, 20] == pytest.approx(2 * 96_049 + 700)
    assert both[1, 21] == pytest.approx(96_050)
    assert both.sum() == pytest.approx(2 * 96_049 + 700 + 96_050)
    assert true_map(truth, [False, True], 50.0, 1_900, 100, markets=[1]).sum() == 700
    assert true_map(truth, [False, True], 50.0, 1_921, 100).sum() == pytest.approx(96_050)
