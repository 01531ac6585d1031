"""``forcedmove demo`` and ``serve`` as processes: a real server, a real client, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from forcedmove_client import Client, LimitExceededError

FORCEDMOVE = [sys.executable, "-m", "forcedmove_client.cli"]
PATIENCE_S = 90  # a first start compiles the kernels

T = TypeVar("T")


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not alive


def eventually(check: object, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not check():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_demo_ends_by_itself_and_shows_three_symbols() -> None:
    ran = subprocess.run(
        [*FORCEDMOVE, "demo", "--duration", "2"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for symbol in ("BTC", "ETH", "SOL"):
        assert f"{symbol}  mark" in ran.stdout
    assert "next cascade down" in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_demo_and_its_server(number: signal.Signals, status: int) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell without job control has its background jobs, and theirs, ignore interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(
        [*FORCEDMOVE, "demo", "--symbols", "BTC"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    first = demo.stdout.readline()
    while first and "mark" not in first:
        first = demo.stdout.readline()
    servers = children(demo)
    assert servers
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=20)
    assert demo.returncode == status
    assert "Traceback" not in errors
    assert gone(servers)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    ready = tmp_path / "ready"
    arguments = ["serve", "--source", "simulate", "--port", "0", "--warmup-hours", "1", "--ready-file", str(ready)]
    process = subprocess.Popen([*FORCEDMOVE, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: ready.exists() or process.poll() is not None, "the server is not ready")
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield process, ready.read_text()
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()


def patient(ask: Callable[[], T]) -> T:
    """Ask again while a server on a busy machine says that it is overloaded."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except LimitExceededError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def test_a_client_sees_what_is_alive(server: tuple[subprocess.Popen[str], str]) -> None:
    process, target = server
    with Client(target) as client:
        assert [symbol.symbol for symbol in client.symbols()] == ["BTC", "ETH", "SOL"]
        frame = client.snapshot(["ETH"], price_range=0.0)["ETH"]
        assert frame.grid.shape == (2, 2050)
        assert frame.coverage == 1.0
        chain = patient(lambda: client.simulate("BTC", move=-0.02))
        assert chain.shock_price == pytest.approx(0.98 * chain.start_price, rel=1e-9)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_taken_port_is_said_in_one_line(server: tuple[subprocess.Popen[str], str]) -> None:
    _, target = server
    port = target.rpartition(":")[2]
    ran = subprocess.run(
        [*FORCEDMOVE, "serve", "--port", port, "--log-level", "error"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    # gRPC may log a line of its own before
    assert ran.stderr.splitlines()[-1].startswith("forcedmove: ")
    assert port in ran.stderr.splitlines()[-1]
