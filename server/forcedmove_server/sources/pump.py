"""Runs one source on a thread of its own and hands its batches on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.batching import from_time
from forcedmove_server.sources.pacing import paced
from forcedmove_server.sources.source import Source

_LOG = logging.getLogger(__name__)
#: a market may be silent for so long after it begins
_FIRST_EVENT_NS = 60 * 10**9


class Pump:
    """One source, running. ``failure`` holds what ended it early; ``on_end`` is called from its thread when it ends."""

    def __init__(
        self,
        source: Source,
        registry: InstrumentRegistry,
        put: Callable[[EventBatch], bool],
        speed: float | None,
        on_end: Callable[[], None],
        pace_from_ns: int = 0,
        resume_ns: int = 0,
    ) -> None:
        """``resume_ns``: what a source that begins anew has before this event time has been handed on long ago."""
        self.source = source
        self.failure: BaseException | None = None
        self._registry = registry
        self._put = put
        self._speed = speed
        self.pace_from_ns = max(pace_from_ns, resume_ns)
        self._resume_ns = resume_ns
        self._on_end = on_end
        self._stopping = threading.Event()
        self._handed_ns = 0
        self._newest_ns = resume_ns
        self._thread = threading.Thread(target=self._run, name=f"source-{source.name}", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def caught_up(self, now_ns: int) -> bool:
        """Whether a receiver that has processed event time up to ``now_ns`` has all that comes at once, or all."""
        ended = self._thread.ident is not None and not self._thread.is_alive()
        return now_ns >= self.pace_from_ns or (ended and now_ns >= self._handed_ns)

    def request_stop(self) -> None:
        """Stop reading after the batch in progress."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the thread has ended; to be called after the receiver has stopped too."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        batches = from_time(self.source.batches(self._registry), self._resume_ns)
        try:
            for batch in paced(batches, self._speed, self._stopping, self.pace_from_ns):
                if self._stopping.is_set() or not self._put(batch):
                    break
                self._handed_ns = batch.until_ns
                self._look(batch)
            else:
                if not self._stopping.is_set() and 0 < self._newest_ns < self.pace_from_ns:
                    self._warn("ends", self._newest_ns, "before")
        except Exception as error:  # noqa: BLE001  a source's fault ends the server loudly, on its own thread
            self.failure = error
            _LOG.debug("source %s failed", self.source.name, exc_info=True)
        if self.failure or not self._stopping.is_set():
            self._on_end()

    def _look(self, batch: EventBatch) -> None:
        """Follow the events up to the time that is played at once, and say where the first one is later."""
        times = [rows["time_ns"] for rows in batch.by_kind().values() if len(rows)]
        if not times or self._newest_ns >= self.pace_from_ns:
            return
        first_ns = min(int(of_kind[0]) for of_kind in times)
        if not self._newest_ns and first_ns > self.pace_from_ns + _FIRST_EVENT_NS:
            self._warn("begins", first_ns, "after")
        self._newest_ns = max(self._newest_ns, *(int(of_kind[-1]) for of_kind in times))

    def _warn(self, what: str, time_ns: int, where: str) -> None:
        told, at = (np.datetime64(ns, "ns").astype("datetime64[ms]") for ns in (time_ns, self.pace_from_ns))
        _LOG.warning(
            "source %s %s at %sZ, %s the time up to which it is played, %sZ", self.source.name, what, told, where, at
        )
