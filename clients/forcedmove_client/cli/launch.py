"""A server as a child process that cannot outlive its parent."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from forcedmove_client.cli.failures import CommandError

#: longer than a server needs to drain
_GRACE_S = 8.0
_POLL_S = 0.05


@contextlib.contextmanager
def launched_server(arguments: Sequence[str], doing: str, timeout_s: float = 180.0) -> Iterator[str]:
    """Run ``forcedmove serve`` with ``arguments`` inside the block; gives its ``host:port`` once it serves.

    Raises CommandError with the server's last words when it ends or stays silent before that.
    """
    with tempfile.TemporaryDirectory(prefix="forcedmove-", ignore_cleanup_errors=True) as folder:
        ready, log = Path(folder, "ready"), Path(folder, "server.log")
        command = [sys.executable, "-m", "forcedmove_client.cli.supervised", "serve", *arguments]
        with log.open("wb") as output:
            # The child has its own process group: Ctrl-C reaches it through its parent, once, and in order.
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield _await_ready(process, ready, log, doing, timeout_s)
        finally:
            _end(process)


def _await_ready(process: subprocess.Popen[bytes], ready: Path, log: Path, doing: str, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    with _progress(doing):
        while not ready.exists():
            if process.poll() is not None:
                raise CommandError(f"the server ended with status {process.returncode}: {_last_words(log)}")
            if time.monotonic() > deadline:
                raise CommandError(f"the server was not ready after {timeout_s:.0f} s: {_last_words(log)}")
            time.sleep(_POLL_S)
    return ready.read_text().strip()


@contextlib.contextmanager
def _progress(doing: str) -> Iterator[None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        console.file.write(f"{doing} ...\n")
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(doing)
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child: politely, then not; an interrupt while waiting does not let it go."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("forcedmove: ") if lines else "it said nothing"
