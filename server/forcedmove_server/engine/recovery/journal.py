"""The journal of a running engine: what comes in is written down while its tick is computed, and told when it is kept.

One thread appends records, as many as there are at a time with one sync; another writes snapshots. Where the disk
fails, the map goes on without them: the journal has a *problem*, changes are refused, and whoever was not answered yet
is told that a crash would undo what they asked for. A new snapshot, tried every few seconds, bridges what was not
written; only once it is on the disk has the journal no problem any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from forcedmove_server.config import RecoveryConfig
from forcedmove_server.engine.recovery.files import Lock
from forcedmove_server.engine.recovery.log import Segment, Witness, remove_before
from forcedmove_server.engine.recovery.record import SealedRecord, added, encoded
from forcedmove_server.engine.recovery.snapshot import Position, remove_older, write_snapshot
from forcedmove_server.engine.recovery.state import Captured
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry

_LOG = logging.getLogger(__name__)

#: how long a tick waits for room at most; a disk that is slower than that has failed
_STALL_S = 2.0
#: time between two attempts to bridge what was not written
_RETRY_S = 2.0

#: told None when what they wait for is kept, or why it is not
Answer = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """How a journal is doing. ``kept`` is the last record that outlasts a crash, ``waiting`` are those behind it."""

    problem: str | None
    kept: int
    waiting: int
    snapshot: int
    snapshot_age_s: float
    snapshot_bytes: int
    snapshot_pause_s: float
    log_bytes: int
    syncs: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Tick:
    number: int
    record: SealedRecord
    instruments: tuple[Instrument, ...]
    size: int


@dataclass(frozen=True, slots=True)
class _Taken:
    """A state that was captured behind record ``number``."""

    number: int
    captured: Captured


class Journal:
    """Fed by the engine's thread; its status is for any thread. ``on_failure`` is called when a bug ended it."""

    def __init__(
        self,
        folder: Path,
        lock: Lock,
        config: RecoveryConfig,
        fingerprint: dict[str, str],
        segment: Segment,
        snapshot: tuple[int, int],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Go on behind the last record of ``segment``, with the number and bytes of the newest snapshot."""
        self._folder, self._lock, self._config, self._fingerprint = folder, lock, config, fingerprint
        self._on_failure = on_failure
        self._segment: Segment | None = segment
        self._witness = Witness(folder)
        #: where the log ends, and the last record of it that outlasts a crash for sure
        self._end = Position(segment.number - 1, segment.chain)
        self._number = self._kept = self._end.number
        #: instruments that are in the log; the first record has all, since a snapshot may know more than the log does
        self._registered = 0
        self._problem: str | None = None
        #: the segment is not to be written to any more
        self._broken = False
        self._changed = threading.Condition()
        self._items: deque[_Tick | _Taken] = deque()
        self._waiting: deque[tuple[int, Sequence[Answer]]] = deque()
        self._bytes = 0
        self._closing = self._writing = False
        self._snapshot, self._snapshot_bytes = snapshot
        self._snapshot_s = time.monotonic()
        self._failed_s = -_RETRY_S
        self._snapshot_busy = False
        self._worked_s = 0.0
        self._pause_s = 0.0
        self._syncs = self._failures = 0
        self._log_bytes = 0
        self._snapshots = ThreadPoolExecutor(1, "snapshot")
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why nothing that is asked for now would outlast a crash; None where it does."""
        return self._problem

    def status(self) -> JournalStatus:
        """Return how it is doing, from any thread."""
        with self._changed:
            return JournalStatus(
                problem=self._problem,
                kept=self._kept,
                waiting=sum(isinstance(item, _Tick) for item in self._items),
                snapshot=self._snapshot,
                snapshot_age_s=time.monotonic() - self._snapshot_s,
                snapshot_bytes=self._snapshot_bytes,
                snapshot_pause_s=self._pause_s,
                log_bytes=self._log_bytes,
                syncs=self._syncs,
                failures=self._failures,
            )

    def append(self, record: SealedRecord, registry: InstrumentRegistry) -> int:
        """Take the record of a tick, waiting a while for room; return its number."""
        instruments = added(registry, self._registered)
        self._registered += len(instruments)
        size = record.size
        with self._changed:
            self._number += 1
            if not self._changed.wait_for(lambda: self._has_room(size) or self._problem, _STALL_S):
                self._fail("the disk is slower than what comes in")
            if self._has_room(size):
                self._items.append(_Tick(self._number, record, instruments, size))
                self._bytes += size
                self._changed.notify_all()
            return self._number

    def when_kept(self, number: int, answers: Sequence[Answer]) -> None:
        """Call ``answers`` once record ``number`` is kept, or cannot be."""
        if not answers:
            return
        with self._changed:
            problem = self._problem
            if problem is None and number > self._kept:
                self._waiting.append((number, answers))
                return
        for answer in answers:
            answer(problem)

    def wants_snapshot(self, worked_s: float) -> bool:
        """Whether it is time for one; ``worked_s`` is what all inputs so far have taken to compute."""
        now_s = time.monotonic()
        if self._snapshot_busy or self._closing or now_s - self._failed_s < _RETRY_S:
            return False
        due = now_s - self._snapshot_s >= self._config.snapshot_interval_s
        return self._problem is not None or due or worked_s - self._worked_s >= self._config.max_replay_s

    def snapshot(self, captured: Captured, worked_s: float, pause_s: float) -> None:
        """Write a state that was captured behind the last record; ``pause_s`` is what that took."""
        with self._changed:
            self._snapshot_busy = True
            self._worked_s, self._pause_s = worked_s, pause_s
            self._items.append(_Taken(self._number, captured))
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until all that was handed over is written, or cannot be."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._items or self._writing or self._snapshot_busy))

    def close(self) -> None:
        """Write what there is, wait for it, and let go of the folder."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._snapshots.shutdown(wait=True)
        self._refuse("the engine has stopped")
        if self._segment is not None:
            self._segment.close()
        self._witness.close()
        self._lock.close()

    def _has_room(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._config.max_waiting_mb * 10**6

    def _run(self) -> None:
        try:
            while items := self._next_items():
                if isinstance(items[0], _Taken):
                    self._begin_snapshot(items[0])
                else:
                    self._append([item for item in items if isinstance(item, _Tick)])
        except BaseException as error:  # noqa: BLE001  whatever it is, the server must go down and say so
            self._bug("the journal failed", error)

    def _next_items(self) -> list[_Tick | _Taken]:
        """Wait for what is to be written next: ticks together, or one state; nothing once it is closed."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._items or self._closing)
            self._writing = bool(self._items)
            found: list[_Tick | _Taken] = []
            while self._items and not (found and isinstance(self._items[0], _Taken)):
                item = self._items.popleft()
                found.append(item)
                if isinstance(item, _Taken):
                    break
                self._bytes -= item.size
            self._changed.notify_all()
            return found

    def _append(self, ticks: list[_Tick]) -> None:
        segment = self._usable_segment()
        if segment is None:
            return
        if [tick.number for tick in ticks] != list(range(segment.number, segment.number + len(ticks))):
            self._fail("there was no room for some records")
            return
        payloads = [encoded(tick.record, tick.instruments) for tick in ticks]
        try:
            segment.append(payloads)
        except OSError as error:
            self._fail(f"the log cannot be written: {error.strerror or error}")
            return
        ready: list[Answer] = []
        with self._changed:
            if self._broken:
                return
            self._end, self._log_bytes = Position(segment.number - 1, segment.chain), segment.end
            self._syncs += 1
            if self._problem is None and self._witnessed():
                while self._waiting and self._waiting[0][0] <= self._kept:
                    ready += self._waiting.popleft()[1]
        for answer in ready:
            answer(None)

    def _witnessed(self) -> bool:
        """Note that everything up to the end of the log is kept, before anybody is told so."""
        try:
            self._witness.tell(*self._end)
        except OSError as error:
            self._fail(f"the witness cannot be written: {error.strerror or error}")
            return False
        self._kept = self._end.number
        return True

    def _usable_segment(self) -> Segment | None:
        """Return the segment to append to; one that broke is let go of, here where nobody writes to it."""
        with self._changed:
            if self._broken and self._segment is not None:
                self._segment.close()
                self._segment = None
            return self._segment

    def _begin_snapshot(self, taken: _Taken) -> None:
        """Begin a segment behind a state, and have the state written on another thread."""
        before = self._usable_segment()
        position = Position(taken.number, self._end.chain)
        try:
            begun = Segment.begun(self._folder, taken.number + 1, position.chain)
        except OSError as error:
            self._fail(f"the log cannot be written: {error.strerror or error}")
            self._idle()
            return
        with self._changed:
            if before is not None:
                before.close()
            self._segment, self._end, self._broken = begun, position, False
        self._snapshots.submit(self._write_snapshot, taken, position)

    def _write_snapshot(self, taken: _Taken, position: Position) -> None:
        try:
            size = write_snapshot(self._folder, position, taken.captured, self._fingerprint)
            self._written(position, size)
            oldest = remove_older(self._folder, self._config.retain_snapshots)
            remove_before(self._folder, oldest)
        except OSError as error:
            with self._changed:
                self._failures += 1
                self._failed_s = time.monotonic()
            why = error.strerror or error
            _LOG.error(
                "a snapshot cannot be written, or an old one deleted: %s; the log goes on from the last one", why
            )
        except BaseException as error:  # noqa: BLE001  whatever it is, the server must go down and say so
            self._bug("writing a snapshot failed", error)
        finally:
            self._idle()

    def _idle(self) -> None:
        with self._changed:
            self._snapshot_busy = False
            self._changed.notify_all()

    def _written(self, position: Position, size: int) -> None:
        with self._changed:
            self._snapshot, self._snapshot_bytes, self._snapshot_s = position.number, size, time.monotonic()
            if self._problem is not None and not self._broken and self._witnessed():
                _LOG.warning("the journal is whole again, from record %d on", position.number)
                self._problem = None

    def _fail(self, problem: str) -> None:
        """Go on without the disk until a snapshot bridges what is not written, and tell everyone who waits for it."""
        with self._changed:
            if self._problem is None:
                _LOG.error("journal degraded: %s; changes are refused until a new snapshot can be written", problem)
            self._failures += 1
            self._failed_s = time.monotonic()
            self._problem = f"nothing can be kept just now, send it again: {problem}"
            self._broken = True
        self._refuse(self._problem)

    def _refuse(self, problem: str) -> None:
        with self._changed:
            refused = [answer for _, answers in self._waiting for answer in answers]
            self._waiting.clear()
        for answer in refused:
            answer(problem)

    def _bug(self, what: str, error: BaseException) -> None:
        _LOG.error(what, exc_info=error)
        self._fail(f"{what}: {error!r}")
        self._on_failure(error)
