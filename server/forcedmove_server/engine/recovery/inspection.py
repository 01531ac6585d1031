"""What a folder keeps and whether it is sound, read without an engine; and the way back to what of it is sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forcedmove_server.engine.recovery.files import Lock
from forcedmove_server.engine.recovery.log import Broken, Witness, read_segment, read_witness, segments
from forcedmove_server.engine.recovery.record import Record
from forcedmove_server.engine.recovery.replay import Tail, replay
from forcedmove_server.engine.recovery.resume import newest_sound, set_aside
from forcedmove_server.engine.recovery.snapshot import read_snapshot, snapshots
from forcedmove_server.errors import FileFormatError


@dataclass(frozen=True, slots=True)
class Finding:
    """One file: its ``name``, what is in it, and what is wrong with it, empty where nothing is."""

    name: str
    holds: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, file by file, what a server would make of it, and whether it would start."""

    findings: tuple[Finding, ...]
    verdict: str
    starts: bool

    @property
    def is_sound(self) -> bool:
        """Whether every byte is as it was written."""
        return self.starts and not any(finding.problem for finding in self.findings)


def inspect(folder: Path) -> Report:
    """Read everything in a folder. A write that a crash cut short is told, and nothing wrong. Raises OSError."""
    kept = read_witness(folder)
    found = [_snapshot(path) for _, path in reversed(snapshots(folder))]
    found += [_segment(path, kept.number) for _, path in segments(folder)]
    problem = "" if kept.sound == 2 or not found else f"{2 - kept.sound} of its 2 places are not as they were written"
    found.append(Finding("witness", f"record {kept.number} was kept", problem))
    try:
        start = newest_sound(folder)
        if start is None:
            return Report(tuple(found), "nothing is kept yet: a server begins anew", True)
        tail = replay(None, folder, start.position)
    except FileFormatError as error:
        return Report(tuple(found), f"a server refuses to start: {error}", False)
    number, behind = tail.position.number, start.position.number
    verdict = f"a server comes back at record {number}: snapshot {behind} and {tail.records} more"
    if tail.broken is not None:
        verdict += f"; cut short by a crash before anybody was told: {tail.broken}"
    return Report(tuple(found), verdict, True)


def repair(folder: Path) -> str:
    """Go back to the last record that can be reached from a sound snapshot, and say what that gives up.

    What is not used any more is moved to ``set-aside``. Raises ConfigError while a server uses the folder, and OSError.
    """
    lock = Lock(folder)
    try:
        kept = read_witness(folder)
        try:
            start = newest_sound(folder)
        except FileFormatError:
            start = None
        if start is None:
            set_aside(folder, [path for _, path in [*snapshots(folder), *segments(folder)]])
            return f"no snapshot is sound: everything was set aside, up to record {kept.number}; a server begins anew"
        tail = replay(None, folder, start.position, checks=False)
        set_aside(folder, _unreachable(folder, tail, start.position.number))
        witness = Witness(folder)
        witness.reset(*tail.position)
        witness.close()
    finally:
        lock.close()
    lost = kept.number - tail.position.number
    gone = f"records {tail.position.number + 1} to {kept.number} are lost" if lost > 0 else "nothing is lost"
    return f"a server comes back at record {tail.position.number}; {gone}"


def _unreachable(folder: Path, tail: Tail, start: int) -> list[Path]:
    """Snapshots that are damaged, and segments behind the end; what is broken in the last segment a server cuts off."""
    damaged = [path for number, path in snapshots(folder) if number > start or _snapshot(path).problem]
    return damaged + [path for first, path in segments(folder) if first > tail.position.number and path != tail.path]


def _snapshot(path: Path) -> Finding:
    try:
        found = read_snapshot(path)
    except FileFormatError as error:
        return Finding(path.name, f"{path.stat().st_size:,} bytes", error.reason)
    at = np.datetime64(found.event_time_ns, "ns").astype("datetime64[s]")
    holds = f"state behind record {found.position.number}, event time {at}Z, {path.stat().st_size:,} bytes"
    return Finding(path.name, f"{holds}, version {found.fingerprint.get('version')}")


def _segment(path: Path, kept: int) -> Finding:
    first, last, changes, batches = int(path.stem), int(path.stem) - 1, 0, 0
    problem = ""
    try:
        for entry in read_segment(path):
            if entry.payload:
                record = Record.decoded(entry.payload)
                changes += sum(1 for _ in record.changes())
                batches += sum(1 for _ in record.batches())
                last = entry.number
    except Broken as broken:
        cut = broken.number > kept
        problem = "" if cut else broken.reason
    except FileFormatError as error:
        problem = error.reason
    holds = f"records {first} to {last}" if last >= first else "no record yet"
    return Finding(path.name, f"{holds}: {batches} batches, {changes} changes, {path.stat().st_size:,} bytes", problem)
