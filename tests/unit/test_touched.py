"""Which bins count as touched, and which of them a liquidation belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.engine.touched import HeldGrid, TouchedBins, touched_bins
from forcedmove_server.market.events import LIQUIDATION, Records

UNIT = 1024
#: bins 90 to 109 of 10 USD, two tiers; the mark in bin 100
CELLS = np.arange(2 * 2 * 20, dtype=np.float32).reshape(2, 2, 20)
GRID = HeldGrid(90, 100, CELLS, np.array([[0.7, 0.3], [0.6, 0.4]]), 1e3, 100.5 * UNIT, 10.0)


def touched(low_bin: float, high_bin: float, *prints: tuple[float, float, int, int]) -> TouchedBins:
    """Extremes in bins; prints are price, quantity, market, side."""
    rows: Records = np.array([(0, 0, *row) for row in prints], LIQUIDATION)
    low, high = np.full(4, np.inf), np.zeros(4)
    low[3], high[3] = low_bin * UNIT, high_bin * UNIT
    return touched_bins({3: GRID}, low, high, [rows], 2)


def test_both_sides_are_touched_from_the_marks_bin_to_the_extremes() -> None:
    found = touched(97.2, 101.9)
    assert found.market.tolist() == [3] * 6
    assert found.side.tolist() == [LONG] * 4 + [SHORT] * 2
    assert np.array_equal(found.tier_cells, np.concatenate([CELLS[LONG, :, 7:11].T, CELLS[SHORT, :, 10:12].T]))
    assert np.array_equal(found.weights[:, 0], [0.7] * 4 + [0.6] * 2)
    assert not found.liquidated.any()


def test_a_side_whose_extreme_stays_in_the_marks_bin_has_none() -> None:
    found = touched(100.1, 100.9, (1005.0, 1.0, 3, LONG))
    assert len(found.market) == 0
    assert found.tier_cells.shape == (0, 2)


def test_a_move_beyond_the_grid_ends_with_it() -> None:
    found = touched(20.0, 300.0)
    assert found.side.tolist() == [LONG] * 11 + [SHORT] * 10


@pytest.mark.parametrize(
    ("price", "side", "bins"),
    [
        (985.0, LONG, [0, 1, 0, 0, 0, 0]),
        (941.0, LONG, [1, 0, 0, 0, 0, 0]),  # printed beyond the extreme: it fired there
        (1004.0, LONG, [0, 0, 0, 1, 0, 0]),
        (1015.0, LONG, [0] * 6),  # a long above the mark was opened later
        (1015.0, SHORT, [0, 0, 0, 0, 0, 1]),
        (1170.0, SHORT, [0, 0, 0, 0, 0, 1]),
        (985.0, SHORT, [0] * 6),
    ],
)
def test_a_liquidation_belongs_to_a_touched_bin_of_its_side(price: float, side: int, bins: list[float]) -> None:
    found = touched(97.2, 101.9, (price, 2.5, 3, side), (price, 2.5, 3, side), (price, 9.0, 1, side))
    assert found.liquidated.tolist() == [5.0 * share for share in bins], "of this market alone"
