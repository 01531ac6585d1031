"""The log after a place, record by record: what of it can be used, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.log import Broken, Entry, Kept, read_segment, read_witness, segments
from forcedmove_server.engine.recovery.record import Record
from forcedmove_server.engine.recovery.snapshot import Position
from forcedmove_server.errors import FileFormatError, ForcedMoveError


@dataclass(slots=True)
class Tail:
    """How far a log was read: ``path`` and ``end`` are the segment it ended in, and the place behind the last record.

    ``broken`` is what ended it before its time, ``refused`` are changes that could not be made again.
    """

    position: Position
    path: Path | None = None
    end: int = 0
    records: int = 0
    broken: Broken | None = None
    refused: list[ForcedMoveError] = field(default_factory=list)

    def check(self, folder: Path, kept: Kept, chain_at_kept: bytes | None) -> None:
        """Raise FileFormatError where something is missing that somebody was told is kept."""
        if not kept.sound:
            raise FileFormatError(
                "witness", str(folder), "is missing or not as it was written: whether the log is whole cannot be told"
            )
        number = self.position.number
        if number < kept.number:
            why = f": {self.broken}" if self.broken is not None else ""
            raise FileFormatError(
                "log", number, f"ends there, but up to record {kept.number} was kept and may have been told{why}"
            )
        if chain_at_kept is not None and chain_at_kept != kept.chain:
            raise FileFormatError("log", kept.number, "is the record of another history than the witness knows")


def after(folder: Path, position: Position) -> Iterator[tuple[Path, Entry]]:
    """Yield every record behind a place, with its segment; first of each segment an entry without bytes.

    Raises Broken at the first one that is not as it was written, or missing, and OSError.
    """
    found = segments(folder)
    first = max((k for k, (number, _) in enumerate(found) if number <= position.number + 1), default=0)
    number, chain = position
    for place, (begins, path) in enumerate(found[first:]):
        if begins > number + 1:
            raise Broken(path, 0, number + 1, f"records {number + 1} to {begins - 1} are missing")
        for entry in read_segment(path):
            if entry.number == number and entry.chain != chain:
                raise Broken(path, entry.end, number + 1, f"record {number} is of another history than what follows")
            if entry.number > number:
                number, chain = entry.number, entry.chain
                yield path, entry
            elif entry.number == number:
                yield path, entry._replace(payload=b"")
        if place == 0 and number < position.number:
            raise Broken(path, 0, number + 1, f"records {number + 1} to {position.number} are missing")


def replay(core: EngineCore | None, folder: Path, position: Position, checks: bool = True) -> Tail:
    """Repeat every record behind a place on a core; None only reads. ``checks`` that the log is whole.

    Raises FileFormatError where what was kept is missing or damaged. What was cut short by a crash, and nobody was told
    of, is in ``broken``.
    """
    kept = read_witness(folder)
    tail = Tail(position)
    chain_at_kept = position.chain if kept.number == position.number else None
    try:
        for path, entry in after(folder, position):
            if entry.payload:
                record = Record.decoded(entry.payload)
                if core is not None:
                    tail.refused += record.repeat(core)
                tail.records += 1
            tail.position, tail.path, tail.end = Position(entry.number, entry.chain), path, entry.end
            if entry.number == kept.number:
                chain_at_kept = entry.chain
    except Broken as broken:
        tail.broken = broken
    if checks:
        tail.check(folder, kept, chain_at_kept)
    return tail
