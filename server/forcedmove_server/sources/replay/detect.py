"""What a file or folder holds: every file is offered to each format in turn."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from types import ModuleType

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.defects import Defects
from forcedmove_server.sources.replay import binance_archive, jsonl, oi_bars, parquet, tardis
from forcedmove_server.sources.replay.blocks import RecordedFile

#: by the name that ``format`` takes; Tardis last, for it looks into files whose names tell nothing
FORMATS: dict[str, ModuleType] = {
    "parquet": parquet,
    "jsonl": jsonl,
    "oi-bars": oi_bars,
    "binance-archive": binance_archive,
    "tardis": tardis,
}


def find_files(path: Path, format_name: str, defects: Defects) -> dict[str, list[RecordedFile]]:
    """Return the recorded files at ``path`` by format; files that no format knows are counted as ``file.ignored``.

    Raises FileFormatError for a path that is not there or cannot be read, for an empty file, and when nothing is left.
    """
    if format_name != "auto" and format_name not in FORMATS:
        raise FileFormatError("format", format_name, f"known: auto, {', '.join(FORMATS)}")
    formats = FORMATS if format_name == "auto" else {format_name: FORMATS[format_name]}
    found: dict[str, list[RecordedFile]] = {}
    paths = _without_copies(_paths(path), defects)
    for candidate in paths:
        for name, reader in formats.items():
            file = reader.recognise(candidate)
            if file:
                _check_readable(candidate)
                found.setdefault(name, []).append(file)
                break
        else:
            if candidate.name != parquet.INSTRUMENTS_FILE:
                defects.note("file.ignored", 1, str(candidate))
    if not found:
        known = ", ".join(formats)
        reason = f"none of {len(paths)} files is of a known format ({known})" if path.is_dir() else f"not {known}"
        raise FileFormatError("path", str(path), reason)
    return found


def _paths(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            found = [
                Path(folder) / name
                for folder, _, names in os.walk(path, onerror=_refuse, followlinks=True)
                for name in names
            ]
            return sorted(found)
        if path.is_file():
            return [path]
    except OSError as error:
        _refuse(error)
    raise FileFormatError("path", str(path), "no such file or folder")


#: shorter files may well be the same: a header without rows, for two instruments
_LEAST_COPY_BYTES = 256


def _without_copies(paths: list[Path], defects: Defects) -> list[Path]:
    """Leave out files that hold the same bytes as one before them; each is counted as ``file.duplicate``."""
    sizes = Counter(path.stat().st_size for path in paths if path.is_file())
    seen: set[tuple[int, bytes]] = set()
    kept = []
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        if size >= _LEAST_COPY_BYTES and sizes[size] > 1 and os.access(path, os.R_OK):
            with path.open("rb") as content:
                content_id = (size, hashlib.file_digest(content, "sha256").digest())
            if content_id in seen:
                defects.note("file.duplicate", 1, str(path))
                continue
            seen.add(content_id)
        kept.append(path)
    return kept


def _refuse(error: OSError) -> None:
    raise FileFormatError("path", str(error.filename), error.strerror or str(error)) from error


def _check_readable(path: Path) -> None:
    if not os.access(path, os.R_OK):
        raise FileFormatError("file", path.name, "permission denied", str(path.parent))
    if not path.stat().st_size:
        raise FileFormatError("file", path.name, "is empty", str(path.parent))
