"""The log: records in files that are only ever appended to, each bound to all before it by a chain of SHA-256.

A *segment* begins with :data:`_HEAD` (magic, number of its first record, chain before it) and a digest of that;
records follow as :data:`_RECORD` (magic, bytes, number, chain) and their bytes. The chain of a record is the digest of
the chain before it, its number and length, and its bytes: whatever changes, goes missing or changes places breaks it.

What breaks it at the very end may be a write that a crash cut short, which nobody was told of, or the loss of what
somebody was told of. The *witness* tells them apart: number and chain of the last record that was kept, written in turn
into one of two places after the record is on the disk and before anybody is told.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from forcedmove_server.engine.recovery.files import create, sync_folder
from forcedmove_server.errors import FileFormatError

#: chain before the first record of all
GENESIS = bytes(32)
_HEAD, _HEAD_MAGIC = struct.Struct("<8sQ32s"), b"FMLOG\x00\x00\x01"
_RECORD, _RECORD_MAGIC = struct.Struct("<4sIQ32s"), b"FMRE"
_SLOT, _SLOT_MAGIC = struct.Struct("<4sQ32sI"), b"FMWI"
_SLOT_STRIDE = 512
_SUFFIX = ".log"
WITNESS = "witness"
#: bytes of a record's inputs at most: a longer length is not one
_LONGEST = 1 << 31


class Entry(NamedTuple):
    """A record as it lies in a segment; ``end`` is the place behind it."""

    number: int
    chain: bytes
    payload: bytes
    end: int


class Broken(FileFormatError):
    """A segment that cannot be read on from a place: ``number`` is that of the record it should have there."""

    def __init__(self, path: Path, at: int, number: int, reason: str) -> None:
        self.path, self.at, self.number = path, at, number
        super().__init__("record", number, f"at byte {at}: {reason}", str(path))


def chained(before: bytes, number: int, payload: bytes) -> bytes:
    """Return the chain behind a record."""
    state = hashlib.sha256(before + struct.pack("<QQ", number, len(payload)))
    state.update(payload)
    return state.digest()


class Segment:
    """A segment that is being written. ``first`` is the number of its first record, ``chain`` that before the next."""

    def __init__(self, path: Path, number: int, chain: bytes, end: int) -> None:
        """Go on with a segment behind ``end``, where record ``number`` comes next; what lies there is cut off."""
        self.path, self.number, self.chain, self.end = path, number, chain, end
        self._file = os.open(path, os.O_WRONLY)
        os.ftruncate(self._file, end)
        os.fsync(self._file)

    @classmethod
    def begun(cls, folder: Path, number: int, chain: bytes) -> Segment:
        """Begin a segment whose first record is ``number``. Raises OSError."""
        head = _HEAD.pack(_HEAD_MAGIC, number, chain)
        head += hashlib.sha256(head).digest()
        path = folder / f"{number:020d}{_SUFFIX}"
        create(path, [head])
        return cls(path, number, chain, len(head))

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write records and wait until they are on the disk. Raises OSError; part of it may be written then."""
        pieces, chain, number = [], self.chain, self.number
        for payload in payloads:
            chain = chained(chain, number, payload)
            pieces += [_RECORD.pack(_RECORD_MAGIC, len(payload), number, chain), payload]
            number += 1
        raw = memoryview(b"".join(pieces))
        written = 0
        while written < len(raw):
            written += os.pwrite(self._file, raw[written:], self.end + written)
        os.fdatasync(self._file)
        self.number, self.chain, self.end = number, chain, self.end + len(raw)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return first record and path of every segment, ascending."""
    found = [(int(path.stem), path) for path in folder.glob("*" + _SUFFIX) if path.stem.isdigit()]
    return sorted(found)


def read_segment(path: Path) -> Iterator[Entry]:
    """Yield the records of a segment. Raises Broken where one is not as it was written, and OSError.

    A first entry of no bytes tells what comes before the first record.
    """
    with path.open("rb") as file:
        raw = file.read(_HEAD.size + 32)
        head = raw[: _HEAD.size]
        named = int(path.stem)
        if len(raw) < _HEAD.size + 32 or hashlib.sha256(head).digest() != raw[_HEAD.size :]:
            raise Broken(path, 0, named, "the head of the segment is not as it was written")
        magic, number, chain = _HEAD.unpack(head)
        if magic != _HEAD_MAGIC:
            raise Broken(path, 0, named, "is a segment of another version")
        if number != named:
            raise Broken(path, 0, named, f"is the segment that begins with record {number}")
        end = len(raw)
        yield Entry(number - 1, chain, b"", end)
        while raw := file.read(_RECORD.size):
            if len(raw) < _RECORD.size:
                raise Broken(path, end, number, "ends inside the head of a record")
            magic, length, told, claimed = _RECORD.unpack(raw)
            if magic != _RECORD_MAGIC or told != number or length >= _LONGEST:
                raise Broken(path, end, number, "is not the head of the next record")
            payload = file.read(length)
            if len(payload) < length:
                raise Broken(path, end, number, "ends inside a record")
            chain = chained(chain, number, payload)
            if chain != claimed:
                raise Broken(path, end, number, "is not as it was written: its checksum differs")
            end += len(raw) + length
            yield Entry(number, chain, payload, end)
            number += 1


class Kept(NamedTuple):
    """The last record that somebody may have been told is kept; ``sound`` of the two places are as they should be."""

    number: int
    chain: bytes
    sound: int


class Witness:
    """Tells what was kept last. Not synced: it outlasts the process, and after a loss of power it may be behind."""

    def __init__(self, folder: Path) -> None:
        """Open or create it. Raises OSError."""
        path = folder / WITNESS
        if not path.exists():
            create(path, [bytes(2 * _SLOT_STRIDE)])
        self._file = os.open(path, os.O_WRONLY)
        self._turn = 0

    def tell(self, number: int, chain: bytes) -> None:
        """Note that everything up to this record is kept. Raises OSError."""
        fields = _SLOT.pack(_SLOT_MAGIC, number, chain, 0)[:-4]
        os.pwrite(self._file, fields + struct.pack("<I", zlib.crc32(fields)), self._turn * _SLOT_STRIDE)
        self._turn = 1 - self._turn

    def reset(self, number: int, chain: bytes) -> None:
        """Forget what was kept before: from now on it is this record. Raises OSError."""
        self.tell(number, chain)
        self.tell(number, chain)
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def read_witness(folder: Path) -> Kept:
    """Return what the witness tells; nothing is sound in one that is missing. Raises OSError."""
    path = folder / WITNESS
    raw = path.read_bytes() if path.exists() else b""
    found = []
    for slot in range(2):
        place = raw[slot * _SLOT_STRIDE :][: _SLOT.size]
        if len(place) == _SLOT.size:
            magic, number, chain, checksum = _SLOT.unpack(place)
            if magic == _SLOT_MAGIC and zlib.crc32(place[:-4]) == checksum:
                found.append((number, chain))
    number, chain = max(found, default=(0, GENESIS))
    return Kept(number, chain, len(found))


def remove_before(folder: Path, number: int) -> None:
    """Delete segments that hold nothing but records up to ``number``. Raises OSError."""
    found = segments(folder)
    for (_, path), (next_first, _) in pairwise(found):
        if next_first - 1 <= number:
            path.unlink()
    sync_folder(folder)
