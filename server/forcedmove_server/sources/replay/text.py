"""The loop that all text formats share: files of a feed, their blocks of lines, one decoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from forcedmove_server.errors import FileFormatError
from forcedmove_server.sources.replay.blocks import (
    DAY_NS,
    EARLIEST_NS,
    LATEST_NS,
    SECOND_NS,
    Block,
    Note,
    RecordedFile,
    TimeOrder,
)
from forcedmove_server.sources.replay.compressed import LineBlock, line_blocks

#: fills a block from lines and returns how many rows it could read
Decode = Callable[[RecordedFile, LineBlock, Block], int]

_DATE = re.compile(r"(20\d\d)-?([01]\d)(?:-?([0-3]\d))?(?!\d)")


def read_text(
    files: Sequence[RecordedFile], what: str, order: TimeOrder, decode: Decode, block_bytes: int, self_delimiting: bool
) -> Iterator[Block]:
    """Yield the decoded blocks of the files, one after another.

    Raises FileFormatError for a file that has lines and not one that can be read.
    """
    for file in files:
        rows, unreadable = 0, 0
        for lines in line_blocks(file.path, what, block_bytes, self_delimiting):
            block = Block(notes=lines.notes, bytes_read=lines.bytes_read)
            rows += decode(file, lines, block)
            unreadable += sum(note.rows for note in block.notes if note.kind == f"{what}.unparsable")
            block.watermark_ns = order.watermark_ns
            yield block
        if not rows and unreadable:
            reason = f"not one of {unreadable} lines can be read as {what}"
            raise FileFormatError("file", file.path.name, reason, str(file.path.parent))
        if not rows:
            yield Block(notes=[Note("file.no_rows", 1, str(file.path))], watermark_ns=order.watermark_ns)


def without_header(lines: LineBlock) -> LineBlock:
    """Drop the first line if it is the file's first."""
    if lines.first_line != 1:
        return lines
    cut = lines.data.find(b"\n") + 1
    return LineBlock(lines.data[cut:] if cut else b"", 2, lines.bytes_read, lines.notes)


def span_of_name(path: Path) -> tuple[int, int]:
    """Return the day (or month) that a file's name states, as [begin, end) in ns; all time if it states none."""
    found = _DATE.search(path.name)
    if not found:
        return EARLIEST_NS, LATEST_NS
    year, month, day = int(found[1]), int(found[2]), int(found[3] or 1)
    try:
        begin = int(datetime(year, month, day, tzinfo=UTC).timestamp()) * SECOND_NS
    except ValueError:
        return EARLIEST_NS, LATEST_NS
    return begin, begin + (DAY_NS if found[3] else 31 * DAY_NS)


def in_order(files: Sequence[RecordedFile]) -> list[RecordedFile]:
    """Sort files by the time in their names, then by path."""
    return sorted(files, key=lambda f: (f.begins_ns, str(f.path)))
