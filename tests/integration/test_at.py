"""``--at``: a recording or a simulation is played up to a time at once, and goes on from there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from forcedmove_client import Client
from forcedmove_client.cli import main
from forcedmove_server.config import ReplaySourceConfig, SimulateSourceConfig, read_config
from forcedmove_server.errors import InputError
from forcedmove_server.sources.make import make_source
from tests.integration.fake_engine import eventually

START = datetime(2026, 10, 5, tzinfo=UTC)  # of the simulated market
NOON = START + timedelta(hours=12)
FORCEDMOVE = [sys.executable, "-m", "forcedmove_client.cli"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of the simulated market."""
    folder = tmp_path_factory.mktemp("recorded") / "simulated"
    assert main(["record", "--hours", "0.5", "--seed", "3", "--symbols", "BTC", "--output", str(folder)]) == 0
    return folder


def utc(after: timedelta) -> str:
    return (START + after).isoformat()


def test_a_replay_stops_behind_the_time(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = tmp_path / "map.parquet"
    ten = utc(timedelta(minutes=10))
    assert main(["replay", "--input", str(recording), "--at", ten, "--dump", str(dump)]) == 0
    at = pyarrow.parquet.read_table(dump)["at"][0].as_py()
    assert START + timedelta(minutes=9, seconds=50) < at.replace(tzinfo=UTC) <= START + timedelta(minutes=10)
    assert main(["replay", "--input", str(recording), "--at", ten, "--until", ten]) == 2
    assert "give one of them" in capsys.readouterr().err


@contextmanager
def serving(tmp_path: Path, *arguments: str) -> Iterator[str]:
    ready = tmp_path / "ready"
    command = [*FORCEDMOVE, "serve", "--port", "0", "--ready-file", str(ready), "--log-level", "error", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        asyncio.run(eventually(lambda: ready.exists() or process.poll() is not None, 120))
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield ready.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_served_replay_is_at_the_time_when_it_is_ready_and_goes_on_at_speed(recording: Path, tmp_path: Path) -> None:
    arguments = ("--source", "replay", "--input", str(recording), "--at", utc(timedelta(minutes=20)), "--speed", "10")
    at = np.datetime64("2026-10-05T00:20:00")
    began = time.monotonic()
    with serving(tmp_path, *arguments) as target, Client(target) as client:
        first = client.snapshot("BTC")["BTC"].event_time
        assert at - np.timedelta64(5, "s") <= first < at + np.timedelta64(90, "s")
        time.sleep(2)
        later = client.snapshot("BTC")["BTC"].event_time
        assert later - first >= np.timedelta64(8, "s")
        # a busy server may show a moment late and then catch up, but never what was not yet due
        assert (later - at) / np.timedelta64(1, "s") <= 10 * (time.monotonic() - began) + 90


def test_a_time_behind_the_end_of_a_recording_does_not_wait_for_ever(recording: Path, tmp_path: Path) -> None:
    arguments = ("--source", "replay", "--input", str(recording), "--at", utc(timedelta(hours=5)))
    with serving(tmp_path, *arguments) as target, Client(target) as client:
        assert client.snapshot("BTC")["BTC"].event_time > np.datetime64("2026-10-05T00:29:00")


def test_a_simulation_is_played_up_to_the_later_of_warm_up_and_time() -> None:
    made = make_source(SimulateSourceConfig(at=NOON))
    assert made.pace_from_ns == NOON.timestamp() * 1e9
    early = make_source(SimulateSourceConfig(at=START + timedelta(hours=1), warmup_hours=8))
    assert early.pace_from_ns == (START + timedelta(hours=8)).timestamp() * 1e9


def test_a_time_outside_the_replay_is_refused(recording: Path, tmp_path: Path) -> None:
    outside = ReplaySourceConfig("r", "replay", str(recording), start=START, end=NOON, at=NOON)
    with pytest.raises(InputError, match=r"at = .*must lie before until"):
        make_source(outside)
    file = tmp_path / "config.toml"
    file.write_text(
        f'[[sources]]\nname = "r"\nkind = "replay"\npath = "{recording}"\n'
        "from = 2026-10-05T00:10:00Z\nat = 2026-10-05T00:05:00\n"
    )
    _, errors = read_config(file)
    assert [error.field for error in errors] == ["sources[1].at"]
    assert "lies before from" in str(errors[0])


def test_it_goes_with_replays_and_simulations_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--source", "live", "--at", "2026-10-05"]) == 2
    assert "goes with --source replay or simulate" in capsys.readouterr().err
