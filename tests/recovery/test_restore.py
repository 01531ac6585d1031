"""A core that was brought back is the core that never stopped: its state has the same digest, whatever came between."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_server.engine.recovery.digest import digest, digests
from forcedmove_server.engine.recovery.log import segments
from forcedmove_server.engine.recovery.snapshot import snapshots
from forcedmove_server.engine.recovery.state import capture, restore
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from tests.recovery.script import (
    Server,
    copied,
    crashed,
    kept_at,
    new_core,
    play,
    script,
    uninterrupted,
    without_scores,
)
from tests.unit.market_feed import minute


def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.data())
def test_a_crash_at_any_tick_changes_nothing(seed: int, crash: int, data: st.DataObject) -> None:
    """What was not written down then is played again, as sources and clients send it again."""
    ticks = script(seed, 14)
    snapshots_at = data.draw(st.sets(st.integers(0, crash - 1), max_size=3))
    with folder() as place:
        server = Server(Path(place) / "first")
        for at, tick in enumerate(ticks[:crash]):
            number = server.tick(tick, snapshot=at in snapshots_at)
            if data.draw(st.booleans()):
                server.wait(number)
        server.journal.settle()
        assert server.number == crash
        left = copied(Path(place) / "first", Path(place) / "second")
        server.stop()
        kept = crashed(left, data.draw(st.randoms(use_true_random=False)))
        again = Server(left)
        assert kept <= again.number <= crash
        for tick in ticks[again.number :]:
            again.tick(tick)
        expected = digests(uninterrupted(ticks))
        found = digests(again.core)
        assert {name for name in expected if found[name] != expected[name]} == set()
        again.stop()


def test_many_crashes_in_a_row_change_nothing(tmp_path: Path) -> None:
    ticks = script(11, 24)
    done = 0
    for round_, until in enumerate((3, 4, 9, 15, 16, 24)):
        server = Server(tmp_path / str(round_), retain_snapshots=1)
        assert server.number == done
        for tick in ticks[done:until]:
            number = server.tick(tick, snapshot=until % 2 == 1)
        assert server.wait(number) is None
        server.journal.settle()
        done = until
        copied(tmp_path / str(round_), tmp_path / str(round_ + 1))
        server.stop()
    assert digest(server.core) == digest(uninterrupted(ticks))


def test_without_a_scorecard_too(tmp_path: Path) -> None:
    ticks = script(5, 8)
    before = uninterrupted(ticks[:5], without_scores())
    while not before.between_batches:
        before.step()
    after = new_core(without_scores(), InstrumentRegistry())
    restore(after, capture(before))
    for core in (before, after):
        for tick in ticks[5:]:
            play(core, tick)
            core.publish()
    assert digest(before) == digest(after)


def test_what_is_captured_is_not_changed_by_what_comes_after(tmp_path: Path) -> None:
    """The engine goes on while a snapshot is written."""
    ticks = script(8, 12)
    core = uninterrupted(ticks[:6])
    while not core.between_batches:
        core.step()
    then, expected = capture(core), digest(core)
    for tick in ticks[6:]:
        play(core, tick)
        core.publish()
    assert digest(core) != expected
    after = new_core(registry=InstrumentRegistry())
    restore(after, then)
    assert digest(after) == expected


def test_inside_a_batch_there_is_nothing_to_capture() -> None:
    core = uninterrupted(script(1, 1))
    core.begin("feed", minute(50))
    with pytest.raises(ValueError, match="inside a batch"):
        capture(core)


def test_old_snapshots_and_the_log_before_them_are_deleted(tmp_path: Path) -> None:
    kept_at(tmp_path, script(2, 12), snapshots=range(12), retain_snapshots=2)
    newest, older = (number for number, _ in snapshots(tmp_path))
    assert newest > older > 0
    assert segments(tmp_path)[0][0] <= older + 1
    assert all(first > older for first, _ in segments(tmp_path)[1:])
    assert Server(tmp_path).resumed.snapshot == newest


def test_numbers_of_events_go_on_and_the_epoch_is_new(tmp_path: Path) -> None:
    ticks = script(4, 30)
    kept_at(tmp_path, ticks, snapshots=[20])
    server = Server(tmp_path)
    log = server.core.clusters.log
    events, next_seq = uninterrupted(ticks).clusters.log.kept()
    assert log.next_seq == next_seq
    assert [event.seq for event in log.kept()[0]] == [event.seq for event in events]
    assert {event.epoch for event in log.kept()[0]} <= {2}
    server.stop()


def test_instruments_that_only_a_snapshot_knew_are_in_the_log_after_a_restart(tmp_path: Path) -> None:
    """Without that snapshot markets would be numbered otherwise than the batches behind it."""
    ticks = script(6, 6)
    server = Server(tmp_path / "kept", retain_snapshots=5)
    for tick in ticks[:3]:
        number = server.tick(tick)
    server.wait(number)
    server.finish_batch()
    late = Instrument("okx", "SOL-USDT-SWAP", "SOL", "USDT")
    server.core.registry.add(late)
    server.journal.snapshot(capture(server.core), 0.0, 0.0)
    server.journal.settle()
    server.stop()
    again = Server(tmp_path / "kept", retain_snapshots=5)
    for tick in ticks[3:]:
        number = again.tick(tick)
    again.wait(number)
    again.stop()
    snapshots(tmp_path / "kept")[0][1].unlink()
    older = Server(tmp_path / "kept")
    assert older.core.registry.find(late.key) == 4
    assert digest(older.core) == digest(again.core)
    older.stop()
