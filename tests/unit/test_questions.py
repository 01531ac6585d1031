"""Questions are answered in order, for a time, and what goes wrong is theirs to know who asked."""

from __future__ import annotations

import time
from concurrent.futures import Future

import pytest

from forcedmove_server.engine.asked import Questions


def asking(count: int) -> tuple[Questions, list[Future[int]], list[int]]:
    asked, done = Questions(), list[int]()

    def work(number: int) -> int:
        done.append(number)
        return number

    return asked, [asked.put(lambda number=number: work(number)) for number in range(count)], done  # type: ignore[misc]


def test_all_is_done_in_order_where_there_is_time() -> None:
    asked, futures, done = asking(5)
    asked.answer(time.monotonic() + 60)
    assert done == [0, 1, 2, 3, 4]
    assert [future.result(0) for future in futures] == done


def test_one_is_done_where_there_is_none_and_the_rest_the_next_time() -> None:
    asked, futures, done = asking(3)
    futures[0].cancel()
    asked.answer(0.0)
    assert done == [1]
    assert not futures[2].done()
    asked.answer(0.0)
    asked.answer(0.0)
    assert done == [1, 2]


def test_a_failure_goes_to_who_asked() -> None:
    asked = Questions()
    future = asked.put(lambda: 1 // 0)
    asked.answer(0.0)
    with pytest.raises(ZeroDivisionError):
        future.result(0)
