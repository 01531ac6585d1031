"""Runs one source on a thread of its own and hands its batches on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.pacing import paced
from forcedmove_server.sources.source import Source

_LOG = logging.getLogger(__name__)


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
    ) -> None:
        self.source = source
        self.failure: BaseException | None = None
        self._registry = registry
        self._put = put
        self._speed = speed
        self.pace_from_ns = pace_from_ns
        self._on_end = on_end
        self._stopping = threading.Event()
        self._handed_ns = 0
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
        batches = self.source.batches(self._registry)
        try:
            for batch in paced(batches, self._speed, self._stopping, self.pace_from_ns):
                if self._stopping.is_set() or not self._put(batch):
                    break
                self._handed_ns = batch.until_ns
        except Exception as error:  # noqa: BLE001  a source's fault ends the server loudly, on its own thread
            self.failure = error
            _LOG.debug("source %s failed", self.source.name, exc_info=True)
        if self.failure or not self._stopping.is_set():
            self._on_end()
