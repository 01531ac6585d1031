"""A snapshot: one file that holds the state of a core between two ticks, and says which records come after it.

``FMSNAP`` and a version, bytes and SHA-256 of a JSON head, the head, and its sections one behind the other. The head
has bytes and SHA-256 of every section, so that no byte of the file is without a checksum.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from forcedmove_server.engine.recovery.files import create
from forcedmove_server.engine.recovery.pickling import unpacked
from forcedmove_server.engine.recovery.state import Captured
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import Instrument

_PREFIX, _MAGIC = struct.Struct("<8sQ32s"), b"FMSNAP\x00\x01"
_SUFFIX = ".snapshot"
_LONGEST_HEAD = 1 << 26


class Position(NamedTuple):
    """A place in the log: behind record ``number``, whose chain is ``chain``."""

    number: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read and whose checksums are right. ``fingerprint`` says what it was made with."""

    path: Path
    position: Position
    fingerprint: dict[str, str]
    event_time_ns: int
    sizes: dict[str, int]
    sections: tuple[bytes, ...]
    instruments: tuple[Instrument, ...]
    next_event: int
    buffers: int

    def captured(self) -> Captured:
        """Return the state. Raises FileFormatError for one that is not this program's."""
        pieces = [unpacked(raw) for raw in self.sections[1 + self.buffers :]]
        maps = [piece for piece in pieces if len(piece) == 3 and isinstance(piece[0], str)]
        events = [event for piece in pieces if not (len(piece) == 3 and isinstance(piece[0], str)) for event in piece]
        return Captured(
            instruments=self.instruments,
            event_time_ns=self.event_time_ns,
            working=self.sections[0],
            buffers=self.sections[1 : 1 + self.buffers],
            events=tuple(events),
            next_event=self.next_event,
            maps={symbol: found for symbol, found, _ in maps},
            states={symbol: state for symbol, _, state in maps},
        )


def write_snapshot(folder: Path, position: Position, captured: Captured, fingerprint: dict[str, str]) -> int:
    """Write a snapshot, all of it or nothing; return its bytes. Raises OSError."""
    sections = [captured.working, *captured.buffers, *captured.published()]
    head = json.dumps(
        {
            "number": position.number,
            "chain": position.chain.hex(),
            "fingerprint": fingerprint,
            "event_time_ns": captured.event_time_ns,
            "instruments": msgspec.to_builtins(captured.instruments),
            "next_event": captured.next_event,
            "buffers": len(captured.buffers),
            "sections": [[len(raw), hashlib.sha256(raw).hexdigest()] for raw in sections],
        }
    ).encode()
    prefix = _PREFIX.pack(_MAGIC, len(head), hashlib.sha256(head).digest())
    return create(folder / f"{position.number:020d}{_SUFFIX}", [prefix, head, *sections])


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """Return number and path of every snapshot, the newest first."""
    found = [(int(path.stem), path) for path in folder.glob("*" + _SUFFIX) if path.stem.isdigit()]
    return sorted(found, reverse=True)


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot whole. Raises FileFormatError where a byte is not as it was written, and OSError."""
    with path.open("rb") as file:
        raw = file.read(_PREFIX.size)
        if len(raw) < _PREFIX.size:
            raise FileFormatError("snapshot", len(raw), "ends inside its first bytes", str(path))
        magic, length, checksum = _PREFIX.unpack(raw)
        if magic != _MAGIC:
            raise FileFormatError("snapshot", magic.hex(), "is no snapshot of this version", str(path))
        text = file.read(length) if length < _LONGEST_HEAD else b""
        if hashlib.sha256(text).digest() != checksum:
            raise FileFormatError("snapshot", length, "its head is not as it was written", str(path))
        head: dict[str, Any] = json.loads(text)
        sections = tuple(_sections(file.read, head["sections"], path))
        if file.read(1):
            raise FileFormatError("snapshot", path.stat().st_size, "is longer than it was written", str(path))
    number = int(head["number"])
    if number != int(path.stem):
        raise FileFormatError("snapshot", number, "is another one's file", str(path))
    return Snapshot(
        path=path,
        position=Position(number, bytes.fromhex(head["chain"])),
        fingerprint=head["fingerprint"],
        event_time_ns=head["event_time_ns"],
        sizes={"head": len(text), "state": sum(map(len, sections))},
        sections=sections,
        instruments=tuple(msgspec.convert(one, Instrument) for one in head["instruments"]),
        next_event=head["next_event"],
        buffers=head["buffers"],
    )


def remove_older(folder: Path, keep: int) -> int:
    """Delete all but the newest ``keep`` snapshots; return the number of the oldest that is left. Raises OSError."""
    found = snapshots(folder)
    for _, path in found[keep:]:
        path.unlink()
    return found[:keep][-1][0] if found else 0


def _sections(read: Any, told: list[list[Any]], path: Path) -> Iterator[bytes]:
    for place, (length, checksum) in enumerate(told):
        raw = read(length)
        if len(raw) < length:
            raise FileFormatError("snapshot", place, "ends inside a section", str(path))
        if hashlib.sha256(raw).hexdigest() != checksum:
            raise FileFormatError(
                "snapshot", place, "a section is not as it was written: its checksum differs", str(path)
            )
        yield raw
