"""Writing a report: the file's name says which kind."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.study.result import StudyResult

_KINDS = (".html", ".htm", ".png", ".json")


def check_report(path: Path) -> None:
    """Find out before hours of work whether a report could be written to ``path``.

    Raises InputError for a name that does not end in ``.html``, ``.htm``, ``.png`` or ``.json``, a folder that is
    missing or cannot be written to, a path that is a folder, and without matplotlib, which all but JSON need.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise InputError("report", str(path), f"must end in one of {', '.join(_KINDS)}")
    check_writable("report", path)
    if kind != ".json" and importlib.util.find_spec("matplotlib") is None:
        raise InputError("report", str(path), "charts need matplotlib: pip install 'forcedmove[plot]'")


def check_writable(field: str, path: Path) -> None:
    """Raise InputError naming ``field`` where no file could be written to ``path``."""
    folder = path.parent
    try:
        is_folder, has_folder = path.is_dir(), folder.is_dir()
    except OSError as error:
        raise InputError(field, str(path), f"cannot be written: {error.strerror}") from error
    if is_folder:
        raise InputError(field, str(path), "is a folder")
    if not has_folder:
        raise InputError(field, str(path), f"there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise InputError(field, str(path), f"the folder {folder} cannot be written to")


def write_report(result: BacktestResult | StudyResult, path: Path) -> None:
    """Write a report to ``path``, all or nothing; equal results give equal bytes.

    ``.html`` is the whole report, ``.png`` one page with the main charts, ``.json`` every number. Raises InputError as
    :func:`check_report` does, and where writing fails.
    """
    check_report(path)
    write_whole("report", path, _content(result, path.suffix.lower()))


def write_whole(field: str, path: Path, content: bytes) -> None:
    """Write a file, all or nothing. Raises InputError naming ``field`` where that fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(field, str(path), f"cannot be written: {error.strerror}") from error


def _content(result: BacktestResult | StudyResult, kind: str) -> bytes:
    if kind == ".json":
        return result.to_json().encode()
    if isinstance(result, StudyResult):
        if kind == ".png":
            from forcedmove_server.scorecard.report.study_picture import study_picture

            return study_picture(result)
        from forcedmove_server.scorecard.report.study_page import study_page

        return study_page(result).encode()
    if kind == ".png":
        from forcedmove_server.scorecard.report.picture import picture

        return picture(result)
    from forcedmove_server.scorecard.report.html import page

    return page(result).encode()
