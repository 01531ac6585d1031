"""Spreading levels over the distances they may really have, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.arrays import Spread
from forcedmove_kernels.fixed_point import SPREAD_ONE
from forcedmove_kernels.reference import ReferenceBackend

KERNELS = ReferenceBackend()


def spread(lots: list[int], side: int, mark: int, share: int, near: int = 0, most: int = 99) -> list[int]:
    """One row, spread."""
    row = np.array([lots], np.uint64)
    how = Spread(
        np.array([side], np.int32),
        np.array([mark], np.int32),
        np.array([share], np.uint32),
        np.array([near], np.uint32),
        np.array([most], np.uint32),
    )
    found: list[int] = KERNELS.spread_levels(row, how)[0].tolist()
    return found


def test_a_level_four_cells_below_the_mark_may_be_one_off() -> None:
    assert spread([0, 0, 0, 9, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 4) == [0, 0, 3, 3, 3, 0, 0, 0, 0]


def test_fractions_of_lots_add_up_outward_from_the_mark() -> None:
    # 3 1/3 each: 3, 6 and 10 lots as far as each of the three cells
    assert spread([0, 0, 0, 10, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 4) == [0, 0, 4, 3, 3, 0, 0, 0, 0]
    # a third of a lot each: the last of the three has it
    assert spread([0, 0, 0, 1, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 4) == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    # two cells that overlap: 1/3, 2/3, 2/3, 1/3
    assert spread([0, 0, 1, 1, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 4) == [0, 1, 0, 1, 0, 0, 0, 0, 0]


def test_shorts_are_spread_above_the_mark() -> None:
    assert spread([0, 0, 0, 0, 0, 9, 0, 0, 0], 1, 1, SPREAD_ONE // 4) == [0, 0, 0, 0, 3, 3, 3, 0, 0]


def test_near_the_mark_levels_are_sharp_and_the_other_side_is_left_alone() -> None:
    assert spread([0, 5, 6, 7, 8, 9, 0], 0, 4, SPREAD_ONE // 4) == [0, 5, 6, 7, 8, 9, 0]
    assert spread([0, 0, 0, 0, 0, 90, 0], 0, 1, SPREAD_ONE) == [0, 0, 0, 0, 0, 90, 0]


def test_what_falls_beyond_the_window_lies_in_the_outer_cell() -> None:
    assert spread([1, 9, 0, 0, 0, 0, 0], 0, 5, SPREAD_ONE // 4) == [4, 3, 3, 0, 0, 0, 0]


def test_a_whole_distance_reaches_the_mark() -> None:
    assert spread([0, 0, 0, 50, 0, 0, 0], 0, 5, SPREAD_ONE) == [0, 10, 10, 10, 10, 10, 0]


@pytest.mark.parametrize("mark", [-3, 0, 6, 40])
def test_without_a_mark_in_the_window_nothing_is_spread(mark: int) -> None:
    assert spread([1, 9, 9, 9, 9, 9, 2], 0, mark, SPREAD_ONE) == [1, 9, 9, 9, 9, 9, 2]


def test_more_than_the_whole_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="share: must be at most 256, a level's whole distance, got 257"):
        spread([0, 0, 0], 0, 1, SPREAD_ONE + 1)


def test_levels_near_the_mark_are_spread_less() -> None:
    """Half of the share where the distance is ``near``: 4 * 4 / (4 + 4) / 2 = 1 cell, 2 * 2 / (2 + 4) / 2 = 0."""
    half = SPREAD_ONE // 2
    assert spread([0, 0, 0, 9, 0, 0, 0, 0, 0], 0, 7, half, near=4) == [0, 0, 3, 3, 3, 0, 0, 0, 0]
    assert spread([0, 0, 0, 0, 0, 9, 0, 0, 0], 0, 7, half, near=4) == [0, 0, 0, 0, 0, 9, 0, 0, 0]
    assert spread([0, 0, 0, 0, 0, 9, 0, 0, 0], 0, 7, half, near=0) == [0, 0, 0, 0, 3, 3, 3, 0, 0]


def test_no_level_goes_below_a_price_of_zero() -> None:
    """Six cells lie between the mark and the lowest bin there is."""
    assert spread([0, 9, 0, 0, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 2, most=6) == [0, 9, 0, 0, 0, 0, 0, 0, 0]
    assert spread([0, 0, 9, 0, 0, 0, 0, 0, 0], 0, 7, SPREAD_ONE // 2, most=6) == [0, 3, 3, 3, 0, 0, 0, 0, 0]
