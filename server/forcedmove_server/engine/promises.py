"""Futures that are kept away from the thread that made them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


def computed(taken: Future[Callable[[], T]], executor: Executor, ended: Exception) -> Future[T]:
    """Have what a future yields computed by ``executor``; it raises ``ended`` where that has been shut down."""
    answer: Future[T] = Future()

    def submit(taken: Future[Callable[[], T]]) -> None:
        try:
            executor.submit(resolve, answer, taken.result)
        except RuntimeError:  # it was shut down in between
            answer.set_exception(ended)

    taken.add_done_callback(submit)
    return answer


def resolve(answer: Future[T], work: Callable[[], Callable[[], T]]) -> None:
    """Do what a future promises: ``work`` returns what computes it; whatever goes wrong is its caller's to know."""
    try:
        answer.set_result(work()())
    except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
        answer.set_exception(error)
