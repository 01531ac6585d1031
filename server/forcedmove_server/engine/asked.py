"""What other threads ask of the engine's, and how they are answered: questions between ticks, changes with a tick."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.journal import Answer
from forcedmove_server.engine.recovery.record import TickRecord
from forcedmove_server.errors import ForcedMoveError, NotReadyError

_W = TypeVar("_W")
_T = TypeVar("_T")


class _Asked(Generic[_W]):
    """Work and the future of its answer, put from any thread and taken by the engine's."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[_W, Future[Any]]] = queue.SimpleQueue()

    def _put(self, work: _W) -> Future[Any]:
        future: Future[Any] = Future()
        self._queue.put((work, future))
        return future

    def _take(self) -> Iterator[tuple[_W, Future[Any]]]:
        """Yield what nobody has cancelled."""
        while True:
            try:
                work, future = self._queue.get_nowait()
            except queue.Empty:
                return
            if future.set_running_or_notify_cancel():
                yield work, future

    def refuse(self) -> None:
        """Tell everyone who waits that the engine has stopped; from any thread."""
        for _, future in self._take():
            future.set_exception(NotReadyError("the engine has stopped"))


class Questions(_Asked[Callable[[], Any]]):
    """What readers ask about the maps of the newest tick."""

    def put(self, work: Callable[[], _T]) -> Future[_T]:
        """Have something done between two ticks."""
        return self._put(work)

    def answer(self, end_s: float) -> None:
        """Answer what was asked until the monotonic clock has passed ``end_s``, but one question at least.

        A reader's error is the reader's, never the engine's.
        """
        for work, future in self._take():
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
                future.set_exception(error)
            if time.monotonic() >= end_s:
                return


class Changes(_Asked[tuple[str, object]]):
    """What is to be changed where the next tick begins; see :attr:`EngineCore.changes`."""

    def put(self, name: str, change: object) -> Future[Any]:
        """Have a change made."""
        return self._put((name, change))

    def make(self, core: EngineCore, record: TickRecord) -> list[Answer]:
        """Make what was asked for, note it, and return what tells those who asked, or that it may be lost, and why."""
        answers: list[Answer] = []
        for (name, change), future in self._take():
            try:
                answer = core.change(name, change)
            except ForcedMoveError as error:
                answers.append(partial(_fail, future, error))
                continue
            record.change(name, change)
            answers.append(partial(_answer, future, answer))
        return answers


def _answer(future: Future[Any], answer: object, problem: str | None) -> None:
    if problem is None:
        future.set_result(answer)
    else:
        future.set_exception(NotReadyError(problem))


def _fail(future: Future[Any], error: ForcedMoveError, _: str | None) -> None:
    future.set_exception(error)
