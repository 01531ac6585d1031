"""One step of ``gpu-check``: a process with a time limit, and what became of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = ("kernels", "server", "clients", "proto", ".")
TAIL = 4000  # characters of a failed step's output that the report keeps


class Step(NamedTuple):
    """A step of the report."""

    name: str
    outcome: str  # passed, failed, timed out, skipped
    seconds: float
    detail: str  # one line
    output: str = ""  # the end of what it printed, where it did not pass

    @property
    def bad(self) -> bool:
        return self.outcome in ("failed", "timed out")


def run_step(name: str, command: Sequence[str], limit_s: float) -> Step:
    """Run a command from the repository's root for at most ``limit_s`` seconds. Its last line becomes the detail."""
    paths = [str(ROOT / folder) for folder in FOLDERS]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    begin = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that a tool's children end with it
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
        outcome = "failed" if process.returncode else "passed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        outcome = "timed out"
    lines = output.strip().splitlines() or ["(no output)"]
    kept = "" if outcome == "passed" else output[-TAIL:]
    return Step(name, outcome, time.monotonic() - begin, lines[-1].strip()[:200], kept)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
