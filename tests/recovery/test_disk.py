"""A disk that is full, broken or slow: the map goes on, only what is kept is acknowledged, and it heals by itself."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.recovery import journal as journal_module
from forcedmove_server.engine.recovery import log
from forcedmove_server.engine.recovery.digest import digest, digests
from forcedmove_server.engine.recovery.log import segments
from forcedmove_server.engine.recovery.resume import resume
from forcedmove_server.engine.recovery.snapshot import snapshots
from forcedmove_server.engine.recovery.state import capture
from forcedmove_server.errors import NotReadyError
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey
from tests.recovery.script import Server, config_at, copied, kept_at, script, uninterrupted
from tests.unit.market_feed import minute, two_venue_registry

TICKS = script(33, 16)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried with the next tick."""
    monkeypatch.setattr(journal_module, "_RETRY_S", 0.0)


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``room`` bytes: writes end where the limit is, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def room(folder: Path, more: int) -> int:
    return segments(folder)[-1][1].stat().st_size + more


def test_a_full_disk_degrades_and_a_snapshot_heals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "kept"
    server = Server(folder, snapshot_interval_s=86_400)
    for tick in TICKS[:4]:
        assert server.wait(server.tick(tick)) is None
    last = server.number
    with full_disk(room(folder, 1_000)), caplog.at_level(logging.ERROR):
        problem = server.wait(server.tick(TICKS[4]))
        assert problem is not None
        assert "send it again" in problem
        assert "journal degraded: the log cannot be written" in caplog.text
        for tick in TICKS[5:7]:
            assert server.wait(server.tick(tick)) is not None
            assert server.journal.wants_snapshot(server.core.worked_s)
        server.finish_batch()
        server.journal.snapshot(capture(server.core), server.core.worked_s, 0.0)
        server.journal.settle()
        assert server.journal.problem is not None
    crash = copied(folder, tmp_path / "crash")  # now: only what was not acknowledged is lost
    for tick in TICKS[7:9]:  # there is room again, but what is missing is not bridged yet
        assert server.wait(server.tick(tick)) is not None
    server.finish_batch()
    server.journal.snapshot(capture(server.core), server.core.worked_s, 0.0)
    server.journal.settle()
    assert server.journal.problem is None
    for tick in TICKS[9:]:
        assert server.wait(server.tick(tick)) is None
    server.stop()
    again = Server(folder)
    assert digest(again.core) == digest(server.core)
    again.stop()
    early = Server(crash)
    assert early.number == last
    assert digest(early.core) == digest(uninterrupted(TICKS[:4]))
    early.stop()


def test_no_room_for_a_snapshot_does_not_hurt_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "kept"
    server = Server(folder, snapshot_interval_s=86_400)
    for tick in TICKS[:3]:
        server.wait(server.tick(tick))
    server.finish_batch()
    with full_disk(1 << 20), caplog.at_level(logging.ERROR):  # a snapshot is larger, and a segment of few ticks is not
        server.journal.snapshot(capture(server.core), server.core.worked_s, 0.0)
        server.journal.settle()
        assert "a snapshot cannot be written" in caplog.text
        assert server.wait(server.tick(TICKS[3])) is None
    assert server.journal.problem is None
    assert server.journal.status().failures == 1
    for tick in TICKS[4:]:
        assert server.wait(server.tick(tick)) is None
    server.stop()
    assert [number for number, _ in snapshots(folder)] == [0]
    assert not list(folder.glob("*.part"))
    again = Server(folder)
    assert again.resumed.records == len(TICKS)
    assert digest(again.core) == digest(server.core)
    again.stop()


def test_a_sync_that_fails_is_never_trusted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the kernel may have dropped the pages: nothing is appended to that file any more."""
    folder = tmp_path / "kept"
    server = Server(folder, snapshot_interval_s=86_400)
    server.wait(server.tick(TICKS[0]))
    _, broken = segments(folder)[-1]

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(log.os, "fdatasync", fails)
        assert "Input/output error" in str(server.wait(server.tick(TICKS[1])))
    size = broken.stat().st_size
    assert server.wait(server.tick(TICKS[2])) is not None
    server.finish_batch()
    server.journal.snapshot(capture(server.core), server.core.worked_s, 0.0)
    server.journal.settle()
    assert server.wait(server.tick(TICKS[3])) is None
    assert broken.stat().st_size == size
    assert segments(folder)[-1][1] != broken
    server.stop()
    again = Server(folder)
    assert digest(again.core) == digest(server.core)
    again.stop()


def test_a_disk_that_does_not_answer_holds_a_tick_up_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_STALL_S", 0.05)
    stuck, sync = threading.Event(), os.fdatasync
    server = Server(tmp_path / "kept", snapshot_interval_s=86_400, max_waiting_mb=1)
    with monkeypatch.context() as patched:
        patched.setattr(log.os, "fdatasync", lambda file: (stuck.wait(20), sync(file)))
        numbers = [server.tick(tick) for tick in TICKS * 3]  # far more than a megabyte
        assert server.journal.problem is not None
        assert "slower than what comes in" in str(server.wait(numbers[-1]))
        stuck.set()
        server.journal.settle()
    server.finish_batch()
    server.journal.snapshot(capture(server.core), server.core.worked_s, 0.0)
    server.journal.settle()
    assert server.journal.problem is None
    server.stop()
    again = Server(tmp_path / "kept")
    assert digest(again.core) == digest(server.core)
    again.stop()


CHANGE = PositionChange(
    "desk", 1, (ExactPosition(PositionKey("", "binance:BTCUSDT", 0), quantity=5.0, liquidation_price_usd=90_000.0),)
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A running engine with a journal, and a map."""
    started = Engine(config_at(tmp_path / "kept"), two_venue_registry())
    journal, _ = resume(config_at(tmp_path / "kept"), started.core, started.fail)
    started.keep(journal)
    shown = threading.Event()
    started.on_tick(lambda tick: shown.set() if "BTC" in tick.maps else None)
    started.start()
    for number in range(3):
        started.put(minute(number), "feed")
    assert shown.wait(60)
    yield started
    started.stop()
    assert started.failure is None


def test_a_change_is_answered_only_when_it_is_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    written, sync = threading.Event(), os.fdatasync
    published = threading.Event()

    def see(_: object) -> None:
        if engine.core.exact.held("desk").positions:
            published.set()

    engine.on_tick(see)
    with monkeypatch.context() as patched:
        patched.setattr(log.os, "fdatasync", lambda file: (written.wait(20), sync(file)))
        answer = engine.set_positions(CHANGE)
        assert published.wait(20)
        assert not answer.done()
        written.set()
        assert answer.result(20).applied


def test_a_change_that_cannot_be_kept_is_refused_and_counts_once_when_it_is_sent_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    healed = threading.Event()

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def see(_: object) -> None:
        if engine._journal is not None and engine._journal.problem is None:
            healed.set()

    with monkeypatch.context() as patched:
        patched.setattr(log.os, "pwrite", fails)
        patched.setattr(log, "create", fails)
        with pytest.raises(NotReadyError, match="send it again"):
            engine.set_positions(CHANGE).result(20)
        with pytest.raises(NotReadyError, match="No space left"):
            engine.set_positions(CHANGE).result(20)
        assert engine.latest().maps
    engine.on_tick(see)
    assert healed.wait(20)
    again = engine.set_positions(CHANGE).result(20)
    assert (again.applied, again.sequence, again.live) == (False, 1, 1)


def test_an_engine_that_stops_leaves_nothing_to_repeat(tmp_path: Path, engine: Engine) -> None:
    assert engine.set_positions(CHANGE).result(20).applied
    engine.stop()
    assert engine.failure is None
    again = Server(tmp_path / "kept")
    assert again.resumed.records == 0
    expected, found = digests(engine.core), digests(again.core)
    assert {name for name in expected if found[name] != expected[name]} <= {"scores"}  # when its file was written
    again.stop()


def test_a_bug_of_the_journal_ends_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(journal_module, "encoded", broken)
    with pytest.raises(NotReadyError):
        engine.set_positions(CHANGE).result(20)
    engine._thread.join(20)
    assert isinstance(engine.failure, RuntimeError)
    engine.failure = None


def test_a_server_that_was_stopped_in_between_is_the_same(tmp_path: Path) -> None:
    kept_at(tmp_path / "kept", TICKS)
    again = Server(tmp_path / "kept")
    assert digest(again.core) == digest(uninterrupted(TICKS))
    again.stop()
