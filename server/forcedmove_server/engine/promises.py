"""Futures that are kept away from the thread that made them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def resolve(answer: Future[T], work: Callable[[], Callable[[], T]]) -> None:
    """Do what a future promises: ``work`` returns what computes it; whatever goes wrong is its caller's to know."""
    try:
        answer.set_result(work()())
    except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
        answer.set_exception(error)
