"""The event log: the newest events of this epoch, in memory, numbered from 1 without gaps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import NamedTuple

from forcedmove_server.engine.clusters.events import ArmEvent, EventKind
from forcedmove_server.errors import GoneError


class Wanted(NamedTuple):
    """Which events a reader wants; None for all."""

    symbols: Collection[str] | None = None
    kinds: Collection[EventKind] | None = None

    def has(self, event: ArmEvent) -> bool:
        """Whether the reader wants this one."""
        return (self.symbols is None or event.symbol in self.symbols) and (
            self.kinds is None or event.kind in self.kinds
        )


class Page(NamedTuple):
    """Events that were asked for, in order, and the number to go on from."""

    events: tuple[ArmEvent, ...]
    next_seq: int


class EventLog:
    """Written by the engine's thread, read by any. The oldest events are dropped when there are more than ``kept``."""

    def __init__(self, epoch: int, kept: int = 10_000) -> None:
        self.epoch = epoch
        self._events: deque[ArmEvent] = deque(maxlen=kept)
        self._next = 1
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def next_seq(self) -> int:
        """The number that the next event will have."""
        return self._next

    @property
    def first_seq(self) -> int:
        """The oldest number that is kept; the next one where nothing is."""
        with self._lock:
            return self._next - len(self._events)

    def append(self, event: ArmEvent) -> None:
        """Add the next event and wake those who wait. Raises ValueError for another number than the next."""
        with self._lock:
            if event.seq != self._next or event.epoch != self.epoch:
                raise ValueError(f"event {event.epoch:x}-{event.seq} is not {self.epoch:x}-{self._next}")
            self._events.append(event)
            self._next += 1
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def kept(self) -> tuple[tuple[ArmEvent, ...], int]:
        """Return the events that are kept, and the number that the next one will have."""
        with self._lock:
            return tuple(self._events), self._next

    def restore(self, events: Iterable[ArmEvent], next_seq: int) -> None:
        """Hold these events, of this epoch, and go on with ``next_seq``: numbers go on after a restart.

        Who held a number of the epoch before is told so, as ever: the last events before a crash may not have been
        kept, and their numbers may now be those of others.
        """
        with self._lock:
            self._events.clear()
            self._events.extend(events)
            self._next = next_seq

    def on_event(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` on the writer's thread after every event; returns the function that stops it."""
        with self._lock:
            self._listeners.append(callback)

        def stop() -> None:
            with self._lock:
                self._listeners.remove(callback)

        return stop

    def read(self, from_seq: int, most: int, wanted: Wanted, epoch: int = 0) -> Page:
        """Return at most ``most`` events from a number on that are wanted; 0 begins at the oldest one kept.

        ``epoch`` is that of the number, 0 for this one. Raises GoneError where the number is not kept any more, does
        not exist yet, or belongs to another epoch.
        """
        with self._lock:
            first = self._next - len(self._events)
            if epoch not in (0, self.epoch):
                raise GoneError(
                    f"epoch = {epoch}: the server has restarted since; its epoch is {self.epoch}, whose events "
                    f"{first} to {self._next - 1} are kept"
                )
            begin = from_seq or first
            if not first <= begin <= self._next:
                raise GoneError(f"from_seq = {from_seq}: events {first} to {self._next - 1} are kept")
            found: list[ArmEvent] = []
            at = begin
            for event in islice(self._events, begin - first, None):
                if len(found) >= most:
                    break
                at = event.seq + 1
                if wanted.has(event):
                    found.append(event)
            return Page(tuple(found), at)
