"""Work that others asked for is done in order, for a time, and what goes wrong is theirs to know."""

from __future__ import annotations

import queue
import time
from concurrent.futures import Future

import pytest

from forcedmove_server.engine.promises import Asked, answer_until


def asking(count: int) -> tuple[Asked, list[Future[int]], list[int]]:
    asked: Asked = queue.SimpleQueue()
    done: list[int] = []
    futures = [Future[int]() for _ in range(count)]
    for number, future in enumerate(futures):

        def work(number: int = number) -> int:
            done.append(number)
            return number

        asked.put((work, future))
    return asked, futures, done


def test_all_is_done_in_order_where_there_is_time() -> None:
    asked, futures, done = asking(5)
    answer_until(time.monotonic() + 60, asked)
    assert done == [0, 1, 2, 3, 4]
    assert [future.result(0) for future in futures] == done


def test_one_is_done_where_there_is_none_and_the_rest_the_next_time() -> None:
    asked, futures, done = asking(3)
    futures[0].cancel()
    answer_until(0.0, asked)
    assert done == [1]
    assert not futures[2].done()
    answer_until(0.0, asked)
    answer_until(0.0, asked)
    assert done == [1, 2]


def test_a_failure_goes_to_who_asked() -> None:
    asked: Asked = queue.SimpleQueue()
    future: Future[int] = Future()
    asked.put((lambda: 1 // 0, future))
    answer_until(0.0, asked)
    with pytest.raises(ZeroDivisionError):
        future.result(0)
