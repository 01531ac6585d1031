"""Compiled kernels on disk must not outlive the source they were compiled from.

numba's cache looks at the time stamp of the file that holds a function, but what a kernel inlines lives in other files.
"""

from __future__ import annotations

from pathlib import Path


def drop_stale_kernels(package: Path) -> None:
    """Remove compiled kernels in ``package/cpu`` that are older than the newest source file they may have inlined."""
    sources = [*package.glob("*.py"), *(package / "cpu").glob("*.py")]
    newest = max(source.stat().st_mtime for source in sources)
    for index in (package / "cpu" / "__pycache__").glob("*.nbi"):
        try:
            if index.stat().st_mtime < newest:
                index.unlink()
        except OSError:
            # Another process was faster, or the folder is read-only: an installed package, whose files never change
            # one at a time.
            continue
