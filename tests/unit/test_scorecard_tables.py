"""What a scorecard remembers stays within its bounds, and what is forgotten is chosen fairly."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.scorecard.day_sums import DaySums
from forcedmove_server.scorecard.moves import MoveLog

DAY = 86_400 * 10**9


def keys(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64)


def test_equal_keys_add_up_in_one_call_and_over_calls() -> None:
    table = DaySums(2, most_days=9, most_rows=100)
    table.add(keys((5, 1, 0, 0), (5, 1, 0, 0), (4, 2, 1, 7)), np.array([[1.0, 2], [10, 20], [5, 5]]))
    table.add(keys((5, 1, 0, 0)), np.array([[100.0, 0]]))
    found, sums = table.rows()
    assert found.tolist() == [[4, 2, 1, 7], [5, 1, 0, 0]]
    assert sums.tolist() == [[5, 5], [111, 22]]


def test_old_days_go_whole() -> None:
    table = DaySums(1, most_days=3, most_rows=100)
    for day in (1, 2, 4, 8, 3):
        table.add(keys((day, 0, 0, 0), (day, 1, 0, 0)), np.ones((2, 1)))
    assert np.unique(table.rows()[0][:, 0]).tolist() == [3, 4, 8]
    assert table.forgotten == 4
    table.add(keys((9, 0, 0, 0)), np.ones((1, 1)))
    assert np.unique(table.rows()[0][:, 0]).tolist() == [4, 8, 9]
    assert table.rows()[1].tolist() == [[1.0]] * 5


def test_rows_are_bounded_but_the_newest_day_stays() -> None:
    table = DaySums(1, most_days=99, most_rows=10)
    for day in range(6):
        table.add(np.array([(day, m, 0, 0) for m in range(4)]), np.ones((4, 1)))
    assert np.unique(table.rows()[0][:, 0]).tolist() == [4, 5]
    table.add(np.array([(6, m, 0, 0) for m in range(50)]), np.ones((50, 1)))
    assert len(table) == 50
    table.add(np.array([(7, 0, 0, 0)]), np.ones((1, 1)))
    assert table.rows()[0].tolist() == [[7, 0, 0, 0]]


def test_growing_beyond_the_first_room_keeps_the_sums() -> None:
    table = DaySums(1, most_days=9, most_rows=10_000)
    table.add(np.array([(0, m, 0, 0) for m in range(1000)]), np.arange(1000.0)[:, None])
    assert table.rows()[1][:, 0].tolist() == list(range(1000))


def moves(log: MoveLog, seed: int, n: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, log.dtype)
    rows["at_ns"] = rng.integers(0, days * 288, n) * (DAY // 288)
    rows["market"] = np.arange(n)
    rows["released"] = rng.normal(size=n)
    return rows, rng.integers(0, 2**32, n).astype(np.uint64)


def test_a_sample_of_a_crowded_day_does_not_depend_on_order_or_batches() -> None:
    rows, hashes = moves(MoveLog(2, 9, 50, 0), 0, 400, 3)
    kept = []
    for order, parts in ((np.arange(400), 1), (np.random.default_rng(1).permutation(400), 7)):
        log = MoveLog(2, 9, 50, seed=0)
        for part in np.array_split(order, parts):
            log.add(rows[part], hashes[part])
        assert len(log) == 150
        assert log.forgotten == 250
        kept.append(set(log.moves()["market"].tolist()))
    assert kept[0] == kept[1]
    other = MoveLog(2, 9, 50, seed=1)
    other.add(rows, hashes)
    assert set(other.moves()["market"].tolist()) != kept[0]


def test_the_sample_is_uniform() -> None:
    log = MoveLog(1, 9, 5000, seed=0)
    rows, hashes = moves(log, 2, 20_000, 1)
    log.add(rows, hashes)
    kept = log.moves()
    assert kept["market"].mean() == pytest.approx(9999.5, abs=3 * 20_000 / np.sqrt(12 * 5000))
    assert kept["released"].mean() == pytest.approx(0.0, abs=3 / np.sqrt(5000))


def test_old_moves_go() -> None:
    log = MoveLog(1, most_days=2, most_per_day=10, seed=0)
    for day in range(5):
        rows = np.zeros(3, log.dtype)
        rows["at_ns"] = day * DAY + np.arange(3)
        log.add(rows, np.zeros(3, np.uint64))
    assert (log.moves()["at_ns"] // DAY).tolist() == [3, 3, 3, 4, 4, 4]
    assert log.forgotten == 9
