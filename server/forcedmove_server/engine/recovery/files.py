"""Files that are there as a whole or not at all, and a folder that belongs to one server."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from forcedmove_server.errors import ConfigError

_PART = ".part"
_LOCK = "lock"


def create(path: Path, pieces: Iterable[bytes]) -> int:
    """Write a file beside its place, sync it, and put it there, synced too; return its bytes.

    Raises OSError; the unfinished file is gone then.
    """
    part = path.with_name(path.name + _PART)
    size = 0
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return size


def sync_folder(folder: Path) -> None:
    """Wait until what was created, renamed or deleted in a folder is on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path) -> None:
    """Delete what a crash left unfinished. Raises OSError."""
    for path in folder.glob("*" + _PART):
        path.unlink()


class Lock:
    """A folder that nobody else may write to until this is closed, or the process ends."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, for its owner alone. Raises ConfigError where that cannot be, or another server has it."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError("recovery.path", str(folder), f"cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise ConfigError("recovery.path", str(folder), "is used by another server") from None

    def close(self) -> None:
        """Let others have it."""
        os.close(self._file)
