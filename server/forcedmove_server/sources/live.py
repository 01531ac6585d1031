"""The live source: all venues' public feeds, collected on a thread of their own, as batches."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator

from forcedmove_server.collectors.supervisor import LiveSettings, Supervisor, run_until
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.market.instruments import InstrumentRegistry

#: batches waiting for whoever takes them; more stay with the collectors, who drop and announce what is too much
_WAITING = 32
_LOOK_S = 0.1
_END_S = 5.0


class LiveSource:
    """Implements :class:`~forcedmove_server.sources.source.Source` without an end."""

    def __init__(self, name: str, settings: LiveSettings) -> None:
        self.name = name
        self.defects = Defects()
        self._settings = settings
        self._batches: queue.Queue[EventBatch] = queue.Queue(_WAITING)
        self._supervisor: Supervisor | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()

    def batches(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
        """Yield what arrives, about ten batches a second. Raises whatever the collectors failed with."""
        supervisor = Supervisor(self._settings, registry, self.defects, self._put)
        self._supervisor = supervisor
        thread = threading.Thread(target=self._collect, args=(supervisor,), name=f"collectors-{self.name}", daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not self._batches.empty():
                with contextlib.suppress(queue.Empty):
                    yield self._batches.get(timeout=_LOOK_S)
            if self._failure is not None:
                raise self._failure
        finally:
            self._ready.wait()
            if self._loop is not None and self._stop is not None:
                with contextlib.suppress(RuntimeError):  # it has ended by itself
                    self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(_END_S)

    def progress(self) -> float | None:
        """Live feeds have no end."""
        return None

    def feeds(self) -> list[FeedStatus]:
        """How every channel of every venue is doing; from any thread."""
        return self._supervisor.feeds() if self._supervisor is not None else []

    def _put(self, batch: EventBatch) -> bool:
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            return False
        return True

    def _collect(self, supervisor: Supervisor) -> None:
        try:
            asyncio.run(self._run(supervisor))
        except BaseException as error:  # noqa: BLE001  raised again by whoever reads the batches
            self._failure = error
        finally:
            self._ready.set()

    async def _run(self, supervisor: Supervisor) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await run_until(supervisor, self._stop)
