"""Threads for answers that take tens of milliseconds: readers take turns on them, and no tick waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from forcedmove_server.errors import QuotaError

T = TypeVar("T")

#: how much the last turn counts in what is known of their length
_NEWEST = 0.3


class Turns:
    """So many answers at once, each on a thread, and so many that wait for one; used from one event loop.

    What an answer needs is taken when its turn comes, so that who waits holds no memory and gets the newest map. A
    reader that leaves, or whose deadline passes, gives up its place; work that has begun keeps its thread to the end.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._places, self._taken = at_once, at_once + waiting, 0
        #: how long a turn takes, smoothed
        self._turn_s = 0.0
        #: questions that were turned away
        self.refused = 0
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="forcedmove-answers")

    async def answer(self, take: Callable[[], Awaitable[Callable[[], T]]]) -> T:
        """Wait for a turn, take what the answer needs and compute it: ``take`` returns what runs on a thread.

        Raises QuotaError where as many wait already as may.
        """
        if self._taken == self._places:
            self.refused += 1
            raise QuotaError(
                f"{self._taken} questions are being answered or wait for it, which is this server's limit; ask again"
            )
        self._taken += 1
        try:
            await self._free.acquire()
        except BaseException:
            self._taken -= 1
            raise
        began = time.monotonic()
        try:
            running = self._threads.submit(await take())
        except BaseException:
            self._leave()
            raise
        loop = asyncio.get_running_loop()

        def left(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended before the work
                loop.call_soon_threadsafe(self._finish, began)

        running.add_done_callback(left)
        return await asyncio.wrap_future(running)

    @property
    def running(self) -> int:
        """Questions that are being answered."""
        return min(self._taken, self._at_once)

    @property
    def waiting(self) -> int:
        """Questions that wait for a turn."""
        return self._taken - self.running

    @property
    def expected_wait_s(self) -> float:
        """How long one who asks now would wait for a turn, once those end that run."""
        return self.waiting * self._turn_s / self._at_once

    def close(self) -> None:
        """Let go of the threads once what they do is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finish(self, began: float) -> None:
        took_s = time.monotonic() - began
        self._turn_s += (took_s - self._turn_s) * (_NEWEST if self._turn_s else 1.0)
        self._leave()

    def _leave(self) -> None:
        self._taken -= 1
        self._free.release()
