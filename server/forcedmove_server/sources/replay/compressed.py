"""Recorded text files as blocks of whole lines: plain, gzip or zip, as far as they go.

Real recordings end in the middle: a gzip stream without its trailer, a zip without its directory, half a line. What
can be inflated is yielded, what is missing is noted.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from forcedmove_server.errors import FileFormatError
from forcedmove_server.sources.replay.blocks import Note

_READ_BYTES = 1 << 18
_CAREFUL_BYTES = 64
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_HEADER = struct.Struct("<4s5H3I2H")

if TYPE_CHECKING:
    Inflate = zlib._Decompress


@dataclass(slots=True)
class LineBlock:
    """Whole lines of a file. ``bytes_read`` counts compressed bytes since the block before."""

    data: bytes
    first_line: int
    bytes_read: int
    notes: list[Note] = field(default_factory=list)


def line_blocks(path: Path, what: str, block_bytes: int, self_delimiting: bool) -> Iterator[LineBlock]:
    """Yield the file's lines in blocks of about ``block_bytes``.

    An unterminated last line is kept if a row that is cut cannot be mistaken for a whole one (``self_delimiting``) or
    if the compressed stream ended as it should; else it is dropped and noted as ``<what>.half_line``. Raises
    FileFormatError for a file that cannot be read.
    """
    notes: list[Note] = []
    pending: list[bytes] = []
    held, line, consumed, fresh = 0, 1, 0, True
    for piece, read in inflated(path, notes):
        consumed += read
        if fresh and piece:
            piece, fresh = piece.removeprefix(b"\xef\xbb\xbf"), False
        pending.append(piece)
        held += len(piece)
        if held < block_bytes:
            continue
        joined = b"".join(pending)
        cut = joined.rfind(b"\n") + 1
        if cut:
            yield LineBlock(joined[:cut], line, consumed)
            line += joined.count(b"\n", 0, cut)
            consumed = 0
        pending, held = [joined[cut:]], len(joined) - cut
    rest = b"".join(pending)
    cut = rest.rfind(b"\n") + 1
    if cut < len(rest):
        cut_short = any(note.kind in ("file.truncated", "file.corrupt") for note in notes)
        whole_stream = path.suffix in (".gz", ".zip")
        if cut_short or not (self_delimiting or whole_stream):
            last = line + rest.count(b"\n")
            notes.append(Note(f"{what}.half_line", 1, f"{path}:{last}"))
            rest = rest[:cut]
    yield LineBlock(rest, line, consumed, notes)


def head(path: Path, most: int = 1 << 16) -> bytes:
    """Return the file's first decompressed bytes, whole lines where there are any.

    Raises FileFormatError for a file that is empty, unreadable or not of the compression its name says.
    """
    found = b""
    for piece, _ in inflated(path, []):
        found += piece
        if len(found) >= most:
            break
    if not found.strip():
        raise FileFormatError("file", path.name, "holds no data", str(path.parent))
    return found[: found.rfind(b"\n") + 1] or found


def inflated(path: Path, notes: list[Note]) -> Iterator[tuple[bytes, int]]:
    """Yield (decompressed bytes, compressed bytes consumed); a stream cut short or damaged is noted and ends there."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if not start:
                raise FileFormatError("file", path.name, "is empty", str(path.parent))
            if start[:2] == _GZIP_MAGIC:
                yield from _gunzip(file, path, notes)
            elif start == _ZIP_MAGIC:
                yield from _unzip(file, path, notes)
            elif path.suffix in (".gz", ".zip"):
                reason = f"does not begin like a {path.suffix} file"
                raise FileFormatError("file", path.name, reason, str(path.parent))
            else:
                while piece := file.read(_READ_BYTES):
                    yield piece, len(piece)
    except OSError as error:
        raise FileFormatError("file", path.name, error.strerror or str(error), str(path.parent)) from error


def _gunzip(file: BinaryIO, path: Path, notes: list[Note]) -> Iterator[tuple[bytes, int]]:
    inflate = zlib.decompressobj(wbits=31)
    rest = b""
    while piece := rest or file.read(_READ_BYTES):
        read = 0 if rest else len(piece)
        if inflate.eof:  # another member may follow; zero padding is legal
            piece = piece.lstrip(b"\0")
            inflate = zlib.decompressobj(wbits=31) if piece else inflate
        inflate, found, error = _decompress(inflate, piece)
        yield found, read
        if error:
            notes.append(Note("file.corrupt", 1, f"{path}: {error}"))
            return
        rest = inflate.unused_data if inflate.eof and piece else b""
    if not inflate.eof:
        notes.append(Note("file.truncated", 1, str(path)))


def _unzip(file: BinaryIO, path: Path, notes: list[Note]) -> Iterator[tuple[bytes, int]]:
    try:
        with zipfile.ZipFile(file) as archive:
            offsets = [member.header_offset for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile:  # the directory is at the end: what was cut off first
        offsets = [0]
        notes.append(Note("file.truncated", 1, str(path)))
    for offset in offsets:
        file.seek(offset)
        header = file.read(_ZIP_HEADER.size)
        if len(header) < _ZIP_HEADER.size or header[:4] != _ZIP_MAGIC:
            notes.append(Note("file.corrupt", 1, f"{path}: member at {offset}"))
            return
        _, _, _, method, _, _, _, stored, _, name, extra = _ZIP_HEADER.unpack(header)
        file.seek(name + extra, 1)
        if method == zipfile.ZIP_DEFLATED:
            yield from _inflate_member(file, path, notes)
        elif method == zipfile.ZIP_STORED:
            while stored > 0 and (piece := file.read(min(_READ_BYTES, stored))):
                stored -= len(piece)
                yield piece, len(piece)
        else:
            reason = f"zip compression method {method} is not supported"
            raise FileFormatError("file", path.name, reason, str(path.parent))


def _inflate_member(file: BinaryIO, path: Path, notes: list[Note]) -> Iterator[tuple[bytes, int]]:
    inflate = zlib.decompressobj(wbits=-15)
    while not inflate.eof and (piece := file.read(_READ_BYTES)):
        inflate, found, error = _decompress(inflate, piece)
        yield found, len(piece)
        if error:
            notes.append(Note("file.corrupt", 1, f"{path}: {error}"))
            return
    if not inflate.eof and not any(note.kind == "file.truncated" for note in notes):
        notes.append(Note("file.truncated", 1, str(path)))


def _decompress(inflate: Inflate, piece: bytes) -> tuple[Inflate, bytes, str]:
    """Return what a piece holds, and an error: what comes before the damage in it is not lost."""
    before = inflate.copy()
    try:
        return inflate, inflate.decompress(piece), ""
    except zlib.error as error:
        found = b""
        for start in range(0, len(piece), _CAREFUL_BYTES):
            try:
                found += before.decompress(piece[start : start + _CAREFUL_BYTES])
            except zlib.error:
                break
        return before, found, str(error)
