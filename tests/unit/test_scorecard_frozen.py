"""Frozen maps, their axis, and the nulls that know only distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.errors import InputError
from forcedmove_server.inference.leverage_prior import LeveragePrior
from forcedmove_server.scorecard.distance import BAND_EDGES, DistancePrior, band_means, band_of, flattened
from forcedmove_server.scorecard.frozen import Axis, FrozenMap, bin_of

#: bins 90 to 109 of 10 USD; the mark in bin 100
AXIS = Axis.of(1004.0, 10.0, 90, 20)


def frozen(levels: np.ndarray, mark: float = 1004.0) -> FrozenMap:
    return FrozenMap("ours", 0, 0, mark, 10.0, 90, levels, 100.0)


def test_a_profile_begins_at_the_mark_and_leads_away() -> None:
    levels = np.arange(40.0).reshape(2, 20)
    made = frozen(levels)
    assert made.axis == AXIS
    assert made.profile(0).tolist() == list(range(10, -1, -1))
    assert made.profile(1).tolist() == list(range(30, 40))
    assert (AXIS.length(0), AXIS.length(1)) == (11, 10)
    assert AXIS.prices(0)[:2].tolist() == [1005.0, 995.0]
    assert AXIS.far_edges(0)[:2].tolist() == [1000.0, 990.0]
    assert AXIS.far_edges(1)[:2].tolist() == [1010.0, 1020.0]


@pytest.mark.parametrize(
    ("side", "extreme", "touched"),
    [
        (0, 1004.0, 1),
        (0, 1000.0, 1),  # the lower edge belongs to the bin
        (0, 999.9, 2),
        (0, 895.0, 12),  # beyond the window's 11
        (0, 1100.0, 1),  # on the other side
        (1, 1009.9, 1),
        (1, 1010.0, 2),
        (1, 1095.0, 10),
    ],
)
def test_touched_bins(side: int, extreme: float, touched: int) -> None:
    assert AXIS.touched(side, extreme) == touched


@given(st.floats(0.5, 1e6), st.floats(0.01, 100.0))
def test_one_price_falls_in_the_bin_that_many_do(price: float, width: float) -> None:
    price = min(price, width * 4e6)
    here = Axis.of(price, width, 0, 1)
    assert here.mark_index == int(bin_of(price, width))
    assert here.touched(1, price) == 1


def test_offsets_are_negative_beyond_the_mark() -> None:
    assert AXIS.offsets(0, [100, 98, 101]).tolist() == [0, 2, -1]
    assert AXIS.offsets(1, [100, 98, 101]).tolist() == [0, -2, 1]


@pytest.mark.parametrize(
    ("levels", "mark", "field"),
    [
        (np.zeros((1, 20)), 1004.0, "levels"),
        (np.zeros((2, 0)), 1004.0, "levels"),
        (np.full((2, 20), -1.0), 1004.0, "levels"),
        (np.full((2, 20), np.nan), 1004.0, "levels"),
        (np.full((2, 20), np.inf), 1004.0, "levels"),
        (np.zeros((2, 20)), 1100.0, "mark_usd"),
        (np.zeros((2, 20)), 899.0, "mark_usd"),
        (np.zeros((2, 20)), -4.0, "mark_usd"),
    ],
)
def test_maps_that_cannot_be_are_refused(levels: np.ndarray, mark: float, field: str) -> None:
    with pytest.raises(InputError, match=field):
        frozen(levels, mark)


def test_bands_are_geometric_in_distance() -> None:
    assert BAND_EDGES[0] == 0.0025
    assert BAND_EDGES[1:] / BAND_EDGES[:-1] == pytest.approx(np.full(16, math.sqrt(2)))
    band = band_of(AXIS, 0)
    assert (np.diff(band) >= 0).all()
    # centre 995 is 0.9 % away: above .0025 * 2^(3/2) = .00707, below .01
    assert band[1] == 4


def test_band_means_keep_what_bands_hold() -> None:
    values = np.array([[1.0, 3.0, 5.0, 9.0], [0.0, 0.0, 4.0, 4.0]])
    assert band_means(values, np.array([0, 0, 2, 2])).tolist() == [[2, 2, 7, 7], [0, 0, 4, 4]]


def test_flattening_keeps_every_band_and_the_other_side_of_the_mark() -> None:
    rng = np.random.default_rng(0)
    made = frozen(rng.lognormal(size=(2, 20)))
    flat = flattened(made)
    for side in (0, 1):
        band = band_of(AXIS, side)
        assert np.bincount(band, flat.profile(side)) == pytest.approx(np.bincount(band, made.profile(side)))
        for number in np.unique(band):
            assert np.ptp(flat.profile(side)[band == number]) < 1e-12
    assert (flat.levels[0, 11:] == made.levels[0, 11:]).all()
    assert flattened(flat).levels == pytest.approx(flat.levels)
    assert flat.levels is not made.levels


def test_the_prior_conserves_open_interest_and_tells_longs_from_shorts() -> None:
    prior = DistancePrior.of_venue("binance", 100.0)
    axis = Axis.of(50_000.0, 50.0, 0, 20_000)  # down to zero, up to 1e6
    longs, shorts = (prior.profile(axis, side, 1000.0) for side in (0, 1))
    assert longs.sum() == pytest.approx(1000.0, rel=1e-6)
    assert shorts.sum() == pytest.approx(1000.0, rel=1e-6)
    assert (longs >= 0).all()
    assert (shorts >= 0).all()
    assert len(longs) == 1001
    # a long of 2x is liquidated 0.69 below in log price, a short of 2x 0.41 above: shorts lie nearer
    at_half = [np.interp(0.5, prior.distance, prior.within[side]) for side in (0, 1)]
    assert at_half[1] > at_half[0] + 0.02


def test_the_prior_puts_a_single_leverage_where_its_levels_are() -> None:
    # nearly all at 10x: longs at 1 - .1 + .005, shorts at 1 + .1 - .005, spread by the entries
    prior = DistancePrior.of_leverage(LeveragePrior(0.0, 10.0, bulk_log_sd=0.01), 100.0)
    for side, level in ((0, -math.log(0.905)), (1, math.log(1.095))):
        at = float(np.interp(0.5, prior.within[side], prior.distance))
        assert at == pytest.approx(level, abs=0.004)


def test_the_prior_as_a_map() -> None:
    made = frozen(np.ones((2, 20)))
    prior = DistancePrior(np.array([0.0, 0.02]), np.array([[0.0, 1.0], [0.0, 0.5]]))
    drawn = prior.map(made)
    # 1000 is 0.399 % below the mark: a fifth of the way to 2 %
    assert drawn.profile(0)[0] == pytest.approx(100 * math.log(1.004) / 0.02)
    assert drawn.levels[0].sum() == pytest.approx(100.0)
    assert drawn.levels[1].sum() == pytest.approx(50.0)
    assert (drawn.name, drawn.levels[0, 11:].sum()) == ("distance", 0.0)


@pytest.mark.parametrize(
    ("distance", "within"),
    [
        ([0.0, 1.0], [[0.0, 1.0]]),
        ([0.1, 1.0], [[0.0, 1.0]] * 2),
        ([0.0, 1.0], [[0.1, 1.0]] * 2),
        ([0.0, 1.0], [[0.0, 1.2]] * 2),
        ([0.0, 1.0, 2.0], [[0.0, 1.0, 0.5]] * 2),
    ],
)
def test_laws_that_are_none_are_refused(distance: list[float], within: list[list[float]]) -> None:
    with pytest.raises(InputError):
        DistancePrior(np.array(distance), np.array(within))
