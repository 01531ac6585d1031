"""A server process with a simulated market, for what measures it from outside."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

CONFIG = """
[server]
port = 0
metrics_port = {metrics_port}
[[sources]]
name = "simulated"
kind = "simulate"
seed = 1
warmup_hours = 2
symbols = ["BTC", "ETH", "SOL"]
"""


class Served(NamedTuple):
    """A server that has a map. ``complaints`` are errors and tracebacks of its log, once it has ended."""

    port: int
    process: psutil.Process
    complaints: list[str]


@asynccontextmanager
async def server_process(metrics_port: int = 0) -> AsyncIterator[Served]:
    """Start one on a free port; it is told to stop at the end, and has stopped then."""
    with tempfile.TemporaryDirectory() as folder:
        config, ready, log = (Path(folder) / name for name in ("c.toml", "ready", "log"))
        config.write_text(CONFIG.format(metrics_port=metrics_port))
        command = ("-m", "forcedmove_client.cli", "serve", "--config", str(config), "--ready-file", str(ready))
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=stderr)
        complaints: list[str] = []
        try:
            while not ready.exists():
                if process.returncode is not None:
                    raise RuntimeError(log.read_text())
                await asyncio.sleep(0.05)
            yield Served(int(ready.read_text().rpartition(":")[2]), psutil.Process(process.pid), complaints)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            lines = log.read_text().splitlines()
            complaints += [line for line in lines if "Traceback" in line or " ERROR " in line or " CRITICAL " in line]
            if process.returncode:
                complaints.append(f"exit status {process.returncode}")
