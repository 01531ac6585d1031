"""Bytes that are not as they were written are found wherever they are, told of, and never used."""

from __future__ import annotations

import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forcedmove_server.engine.recovery import log
from forcedmove_server.engine.recovery.digest import digest
from forcedmove_server.engine.recovery.log import read_segment, read_witness, segments
from forcedmove_server.engine.recovery.snapshot import read_snapshot, snapshots
from forcedmove_server.errors import ConfigError, FileFormatError
from tests.recovery.script import Server, copied, kept_at, places, play, script, uninterrupted

TICKS = script(21, 9)
#: places of the classes of bytes of a snapshot: (name, place in the file)
SNAPSHOT_PREFIX = (("magic", 0), ("version", 7), ("length of the head", 8), ("checksum of the head", 20))
HEAD_BYTES, RECORD_BYTES = log._HEAD.size + 32, log._RECORD.size


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What nine ticks leave: snapshots behind the third and the sixth or later, a log, a witness."""
    folder = tmp_path_factory.mktemp("kept") / "kept"
    kept_at(folder, TICKS, snapshots=(2, 3, 5, 6), retain_snapshots=3)
    assert len(snapshots(folder)) == 3
    return folder


@pytest.fixture(scope="module")
def expected() -> str:
    return digest(uninterrupted(TICKS))


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    return copied(kept, tmp_path / "copy")


def flip(path: Path, place: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def is_refused(folder: Path) -> FileFormatError:
    with pytest.raises(FileFormatError) as refused:
        Server(folder)
    assert "forcedmove recovery" in str(refused.value)
    return refused.value


def same(folder: Path, expected: str) -> Server:
    """Nothing of what was damaged is needed: the state is that of a run without interruption."""
    server = Server(folder)
    assert server.number == len(TICKS)
    assert digest(server.core) == expected
    server.stop()
    return server


def snapshot_places(path: Path) -> Iterator[tuple[str, int]]:
    """One place, and the last one, of every class of bytes of a snapshot."""
    yield from SNAPSHOT_PREFIX
    found = read_snapshot(path)
    begin = 48
    yield "head", begin
    yield "last of the head", begin + found.sizes["head"] - 1
    begin += found.sizes["head"]
    for number, section in enumerate(found.sections):
        if section:
            yield f"section {number}", begin + len(section) // 2
        begin += len(section)
    assert begin == path.stat().st_size
    yield "last byte", begin - 1


def test_a_bit_of_any_class_of_bytes_of_a_snapshot(kept: Path, tmp_path: Path) -> None:
    _, original = snapshots(kept)[0]
    path = tmp_path / original.name
    shutil.copy(original, path)
    places = list(snapshot_places(path))
    assert len(places) > 100
    for number, (name, place) in enumerate(places):
        flip(path, place, number % 8)
        assert is_unreadable(path), f"a flipped bit of the {name} is not found"
        flip(path, place, number % 8)
    read_snapshot(path)


def is_unreadable(path: Path) -> bool:
    try:
        read_snapshot(path)
    except FileFormatError:
        return True
    return False


def test_a_snapshot_of_any_other_length(kept: Path, tmp_path: Path) -> None:
    _, original = snapshots(kept)[0]
    raw = original.read_bytes()
    path = tmp_path / original.name
    for length in (0, 1, 47, 48, 60, len(raw) // 3, len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(FileFormatError):
            read_snapshot(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(FileFormatError, match="longer"):
        read_snapshot(path)


def test_without_the_newest_snapshot_the_one_before_and_its_log_do(
    folder: Path, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    (newest, path), (older, _), _ = snapshots(folder)
    flip(path, path.stat().st_size // 2)
    with caplog.at_level(logging.ERROR):
        server = same(folder, expected)
    assert server.resumed.snapshot == older < newest
    assert "damaged, and not used" in caplog.text
    assert path.name in caplog.text


def test_a_snapshot_under_another_name_is_none(folder: Path, expected: str) -> None:
    (newest, path), *_ = snapshots(folder)
    path.replace(path.with_name(f"{newest + 1:020d}.snapshot"))
    same(folder, expected)


def test_without_any_sound_snapshot_it_does_not_begin_anew(folder: Path) -> None:
    for _, path in snapshots(folder):
        flip(path, 100)
    is_refused(folder)
    for _, path in snapshots(folder):
        path.unlink()
    assert "there is none, but a log" in str(is_refused(folder))


def record_places(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, place and record of every class of bytes of a segment."""
    first = int(path.stem)
    for name, place in (("magic", 0), ("version", 7), ("first", 8), ("chain", 20), ("checksum", log._HEAD.size)):
        yield f"{name} of the segment", place, first
    begin = HEAD_BYTES
    for entry in list(read_segment(path))[1:]:
        for name, place in (("magic", 0), ("length", 4), ("number", 8), ("chain", 16)):
            yield f"{name} of a record", begin + place, entry.number
        yield "record", begin + RECORD_BYTES + len(entry.payload) // 2, entry.number
        yield "last of a record", entry.end - 1, entry.number
        begin = entry.end


def test_a_bit_of_any_class_of_bytes_of_the_log(kept: Path, tmp_path: Path) -> None:
    """What was kept and is damaged is never passed over: the server says so instead of serving something else."""
    _, path = segments(kept)[-1]
    places = list(record_places(path))
    assert len(places) > 10
    for number, (name, place, record) in enumerate(places):
        copy = copied(kept, tmp_path / str(number))
        flip(copy / path.name, place, number % 8)
        error = is_refused(copy)
        assert f"{record}" in str(error), name
        shutil.rmtree(copy)


def test_damage_before_the_newest_snapshot_is_not_needed(folder: Path, expected: str) -> None:
    _, path = segments(folder)[0]
    flip(path, path.stat().st_size - 1)
    same(folder, expected)


def test_any_bit_of_any_file_changes_nothing_or_is_refused(kept: Path, tmp_path: Path, expected: str) -> None:
    """There is no third way: a state that is not the one that was kept."""
    refused = served = 0
    for file, original in enumerate(sorted(kept.iterdir())):
        for number, place in enumerate(places(original, file, 5) if original.stat().st_size else ()):
            copy = copied(kept, tmp_path / f"{file}-{number}")
            flip(copy / original.name, place, number)
            try:
                same(copy, expected)
                served += 1
            except FileFormatError:
                refused += 1
            shutil.rmtree(copy)
    assert refused >= 4
    assert served >= 15


@pytest.mark.parametrize("cut", [1, RECORD_BYTES, 100])
def test_a_log_that_is_shorter_than_what_was_kept(folder: Path, cut: int) -> None:
    _, path = segments(folder)[-1]
    os.truncate(path, path.stat().st_size - cut)
    assert "up to record 9 was kept" in str(is_refused(folder))


def test_a_log_that_is_shorter_by_a_whole_record(folder: Path) -> None:
    """Nothing about such a file is wrong; only the witness knows that there was more."""
    _, path = segments(folder)[-1]
    entries = list(read_segment(path))
    os.truncate(path, entries[-2].end)
    error = is_refused(folder)
    assert "ends there, but up to record 9 was kept" in str(error)
    path.unlink()
    is_refused(folder)


def test_a_missing_segment(folder: Path) -> None:
    (_, _), (_, oldest), *_ = snapshots(folder)[::-1]
    for _, path in snapshots(folder):
        if path != oldest:
            path.unlink()
    (_, _), *between, (_, _) = segments(folder)
    for _, path in between:
        path.unlink()
    assert "are missing" in str(is_refused(folder))


def test_records_in_another_order(folder: Path) -> None:
    _, path = segments(folder)[-1]
    head, one, two = [entry.end for entry in read_segment(path)][:3]
    raw = path.read_bytes()
    path.write_bytes(raw[:head] + raw[one:two] + raw[head:one] + raw[two:])
    is_refused(folder)


def test_a_log_of_another_history(folder: Path, tmp_path: Path) -> None:
    """Every record of it is as it was written, and its numbers are right."""
    kept_at(tmp_path / "other", script(22, 9), snapshots=(2, 3, 5, 6), retain_snapshots=3)
    mine, other = segments(folder)[-1][1], segments(tmp_path / "other")[-1][1]
    mine.unlink()
    shutil.copy(other, folder / other.name)
    is_refused(folder)


def test_what_a_crash_cut_short_is_cut_off_and_told(
    kept: Path, tmp_path: Path, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At every byte of a last record that nobody was told of."""
    whole = copied(kept, tmp_path / "whole")
    server = Server(whole)
    before = {path.name: path.stat().st_size for _, path in segments(whole)}
    witness = (whole / log.WITNESS).read_bytes()
    more = script(21, 10)[9]
    server.wait(server.tick(more))
    server.stop()
    _, path = segments(whole)[-1]
    (whole / log.WITNESS).write_bytes(witness)
    size, after = before[path.name], path.stat().st_size
    for number, end in enumerate(
        [size + 1, size + RECORD_BYTES - 1, size + RECORD_BYTES, (size + after) // 2, after - 1]
    ):
        copy = copied(whole, tmp_path / str(number))
        os.truncate(copy / path.name, end)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            same(copy, expected)
        assert "cut short by a crash" in caplog.text
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            same(copy, expected)
        assert "cut short" not in caplog.text
    done = Server(whole)
    assert done.number == len(TICKS) + 1
    reference = uninterrupted(TICKS)
    play(reference, more)
    reference.publish()
    assert digest(done.core) == digest(reference)
    done.stop()


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("place", [0, 5, 14, 40, 47])
def test_one_place_of_the_witness_may_be_damaged(folder: Path, expected: str, slot: int, place: int) -> None:
    flip(folder / log.WITNESS, slot * log._SLOT_STRIDE + place)
    assert read_witness(folder).sound == 1
    same(folder, expected)


def _both(path: Path) -> None:
    flip(path, 10)
    flip(path, log._SLOT_STRIDE + 10)


@pytest.mark.parametrize("damage", [_both, Path.unlink, lambda path: os.truncate(path, 20)])
def test_without_a_witness_nobody_knows_whether_the_log_is_whole(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder / log.WITNESS)
    assert "witness" in str(is_refused(folder))


def test_a_snapshot_cannot_run_anything(folder: Path, tmp_path: Path) -> None:
    """Not even with right checksums: classes are those of a state."""
    from forcedmove_server.engine.recovery.pickling import unpacked

    target = tmp_path / "made"
    command = f"touch {target}".encode()
    raw = b"cos\nsystem\n(V" + command + b"\ntR."
    with pytest.raises(FileFormatError, match="is not one of the classes"):
        unpacked(raw)
    for module, name in (("forcedmove_server.config", "os.environ"), ("builtins", "eval"), ("functools", "partial")):
        with pytest.raises(FileFormatError):
            unpacked(b"c" + module.encode() + b"\n" + name.encode() + b"\n.")
    assert not target.exists()


def test_two_servers_cannot_share_a_folder(folder: Path) -> None:
    first = Server(folder)
    with pytest.raises(ConfigError, match="used by another server"):
        Server(folder)
    first.stop()
    Server(folder).stop()


def test_the_layout_of_files_is_what_the_documentation_says() -> None:
    assert (log._HEAD.size, log._RECORD.size, struct.calcsize("<8sQ32s")) == (48, 48, 48)
