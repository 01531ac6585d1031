"""The formats at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forcedmove_kernels.fixed_point import (
    FRESHNESS_ONE,
    MAX_MULTIPLIER,
    MAX_PRICE_UNITS,
    MULTIPLIER_BITS,
    PRICE_BITS,
    WEIGHT_ONE,
    cumulative_weights,
    freshness_table,
    multipliers,
    price_units,
    price_usd,
)


def test_price_units_know_the_bin() -> None:
    units = price_units([97_500, 97_549.9, 97_550], 50)
    assert (units >> PRICE_BITS).tolist() == [1950, 1950, 1951]


@given(st.floats(1e-6, 1e9), st.floats(1e-6, 1e4))
def test_price_round_trip(price: float, bin_width: float) -> None:
    if not 1 <= price * (1 << PRICE_BITS) / bin_width < MAX_PRICE_UNITS:
        return
    back = price_usd(price_units(price, bin_width), bin_width)
    assert abs(float(back) - price) <= bin_width / (1 << PRICE_BITS) / 2 * (1 + 1e-6)


def test_smallest_price_is_one_unit() -> None:
    assert price_units(1e-12, 50).tolist() == 1


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_price_beyond_the_format_is_named(price: float) -> None:
    with pytest.raises(ValueError, match=r"price .* is not a positive price"):
        price_units([100.0, price], 50)


def test_multipliers_saturate() -> None:
    got = multipliers([-0.5, 0, 1, MAX_MULTIPLIER, 1e9, np.inf])
    assert got.tolist() == [0, 0, 1 << MULTIPLIER_BITS, MAX_PRICE_UNITS, MAX_PRICE_UNITS, MAX_PRICE_UNITS]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 17)), elements=st.floats(0, 1e6)))
def test_weight_rows_are_cumulative_shares(share: np.ndarray) -> None:
    rows = cumulative_weights(share).astype(np.int64)
    tiers = share.shape[1]
    assert rows.shape == (len(share), tiers + 1, tiers + 1)
    assert not rows[:, 0].any()
    assert not rows[..., 0].any()
    assert np.all(np.diff(rows, axis=-1) >= 0)
    for live in range(1, tiers + 1):
        assert np.all(rows[:, live, live:] == WEIGHT_ONE)


def test_weights_follow_the_shares_and_zeros_count_as_equal() -> None:
    rows = cumulative_weights([1.0, 3.0, 0.0, 4.0])
    assert rows[4].tolist() == [0, WEIGHT_ONE // 8, WEIGHT_ONE // 2, WEIGHT_ONE // 2, WEIGHT_ONE]
    assert rows[2].tolist() == [0, WEIGHT_ONE // 4, WEIGHT_ONE, WEIGHT_ONE, WEIGHT_ONE]
    assert cumulative_weights([0.0, 0.0, 1.0])[2].tolist() == [0, WEIGHT_ONE // 2, WEIGHT_ONE, WEIGHT_ONE]


@pytest.mark.parametrize("share", [[-0.1, 1], [float("nan"), 1], [float("inf"), 1], 1.0])
def test_bad_shares_are_refused(share: object) -> None:
    with pytest.raises(ValueError, match="tier shares"):
        cumulative_weights(share)


def test_freshness_halves_and_can_be_switched_off() -> None:
    table = freshness_table(60, 5, 120)
    assert table[[0, 2, 4]].tolist() == [FRESHNESS_ONE, FRESHNESS_ONE // 2, FRESHNESS_ONE // 4]
    assert freshness_table(60, 3, float("inf")).tolist() == [FRESHNESS_ONE] * 3
    with pytest.raises(ValueError, match="freshness needs positive"):
        freshness_table(60, 3, 0)
