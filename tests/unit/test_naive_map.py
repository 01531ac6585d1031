"""The baseline does exactly what the maps people use do."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.inference.naive_map import NAIVE_WEIGHTS, NaiveMaps


def step(low: int, high: int, price: int, open_interest: int, market: int = 0) -> Updates:
    """One observation; prices in bins."""
    units = [np.array([bin_ << PRICE_BITS], np.uint32) for bin_ in (low, high, price)]
    return Updates(
        market=np.array([market], np.int32),
        low=units[0],
        high=units[1],
        price=units[2],
        open_interest=np.full((1, 2), open_interest, np.uint32),
        opened_at=np.zeros(1, np.uint32),
        first_open=np.array([0, 1]),
        open_entry=units[2],
        open_lots=np.zeros(1, np.uint32),
    )


@pytest.fixture
def maps() -> NaiveMaps:
    """1000 lots opened at bin 1000."""
    made = NaiveMaps()
    made.apply(step(1000, 1000, 1000, 5000))  # what was open before is not known to it
    made.apply(step(1000, 1000, 1000, 6000))
    return made


def found(maps: NaiveMaps) -> list[dict[int, float]]:
    levels = maps.levels(0, 0, 1500)
    return [{int(b): float(levels[side, b]) for b in np.flatnonzero(levels[side])} for side in (0, 1)]


def test_a_rise_opens_both_sides_at_the_price_with_fixed_weights(maps: NaiveMaps) -> None:
    longs, shorts = found(maps)
    assert longs == {800: 150.0, 900: 300.0, 960: 250.0, 980: 200.0, 990: 100.0}
    assert shorts == {1200: 150.0, 1100: 300.0, 1040: 250.0, 1020: 200.0, 1010: 100.0}
    assert NAIVE_WEIGHTS.sum() == pytest.approx(1.0)


def test_crossed_levels_are_gone_and_nothing_is_conserved(maps: NaiveMaps) -> None:
    maps.apply(step(960, 1010, 1000, 6000))
    assert found(maps) == [{800: 150.0, 900: 300.0}, {1200: 150.0, 1100: 300.0, 1040: 250.0, 1020: 200.0}]


def test_a_fall_shrinks_everything_in_proportion(maps: NaiveMaps) -> None:
    maps.apply(step(1000, 1000, 1000, 3000))
    longs, shorts = found(maps)
    assert longs[800] == shorts[1200] == 75.0
    assert maps.open_interest() == {0: 3000}


def test_a_step_without_an_observation_only_sweeps(maps: NaiveMaps) -> None:
    maps.apply(step(985, 1000, 990, NOT_OBSERVED))
    longs, shorts = found(maps)
    assert 990 not in longs
    assert sum(shorts.values()) == 1000.0


def test_levels_may_have_maintenance_and_lie_beyond_what_was_seen_so_far() -> None:
    ratio = np.stack([np.full(5, 0.5), np.full(5, 1.4)])
    maps = NaiveMaps(lambda market: ratio)
    maps.apply(step(100, 100, 100, 10))
    maps.apply(step(100, 1000, 1000, 20))
    assert [list(side) for side in found(maps)] == [[500], [1400]]


def test_a_market_whose_lot_grew_keeps_its_quantities(maps: NaiveMaps) -> None:
    maps.coarsen(0)
    maps.apply(step(1000, 1000, 1000, 600))
    assert found(maps)[0][800] == 15.0


def test_a_level_that_no_price_reaches_is_not_on_the_map() -> None:
    ratio = np.stack([np.full(5, 0.5), np.array([np.inf, 1e9, 1.2, 1.1, 1.05])])
    maps = NaiveMaps(lambda market: ratio)
    maps.apply(step(1000, 1000, 1000, 1000))
    maps.apply(step(1000, 1000, 1000, 2000))
    longs, shorts = found(maps)
    assert longs == {500: 1000.0}
    assert shorts == {1200: 250.0, 1100: 200.0, 1050: 100.0}
