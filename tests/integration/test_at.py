"""``--at``: a recording or a simulation is played up to a time at once, and goes on from there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
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
from forcedmove_client.cli.failures import CommandError
from forcedmove_server.config import ReplaySourceConfig, SimulateSourceConfig, read_config
from forcedmove_server.errors import InputError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.make import make_source
from forcedmove_server.sources.pump import Pump
from forcedmove_server.sources.simulate import SimulatedSource
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
    told = capsys.readouterr().err
    assert "give one of them" in told
    assert "before --at" not in told
    assert main(["replay", "--input", str(recording), "--at", utc(timedelta(minutes=31))]) == 0
    assert re.search(r"the recording ends at 2026-10-05T00:(29:5|30:0)\S+Z, before --at 2026", capsys.readouterr().err)


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


def test_a_simulation_is_played_up_to_the_time_and_its_warm_up_ends_there_at_the_latest() -> None:
    made = make_source(SimulateSourceConfig(at=NOON))
    assert isinstance(made.source, SimulatedSource)
    assert made.pace_from_ns == NOON.timestamp() * 1e9
    assert made.source.warm_until_ns == (START + timedelta(hours=8)).timestamp() * 1e9
    early = make_source(SimulateSourceConfig(at=START + timedelta(minutes=30, milliseconds=1), warmup_hours=8))
    assert isinstance(early.source, SimulatedSource)
    assert early.pace_from_ns == early.source.warm_until_ns + 10**6
    assert early.source.warm_until_ns == (START + timedelta(minutes=30)).timestamp() * 1e9
    assert make_source(SimulateSourceConfig(at=START)).pace_from_ns == START.timestamp() * 1e9


def test_a_simulation_before_its_market_is_refused() -> None:
    with pytest.raises(InputError, match=r"at = '2026-10-04 23:59:59\+00:00': .* market begins, 2026-10-05T00:00:00Z"):
        make_source(SimulateSourceConfig(at=START - timedelta(seconds=1)))


def test_a_served_simulation_is_at_a_time_within_the_warm_up(tmp_path: Path) -> None:
    arguments = ("--source", "simulate", "--symbols", "BTC", "--at", utc(timedelta(minutes=30)), "--speed", "1")
    with serving(tmp_path, *arguments) as target, Client(target) as client:
        late = client.snapshot("BTC")["BTC"].event_time - np.datetime64("2026-10-05T00:30:00")
        assert np.timedelta64(-5, "s") <= late < np.timedelta64(60, "s")


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


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (-2, r"source r begins at 2026-10-05T00:00:\S+Z, after .*, 2026-10-04T23:58:00.000Z"),
        (40, r"source r ends at 2026-10-05T00:(29:5|30:0)\S+Z, before .*, 2026-10-05T00:40:00.000Z"),
        (10, ""),
    ],
)
def test_a_time_outside_the_recording_is_said(
    recording: Path, caplog: pytest.LogCaptureFixture, minutes: int, words: str
) -> None:
    at = START + timedelta(minutes=minutes)
    made = make_source(ReplaySourceConfig("r", "replay", str(recording), at=at))
    ended = threading.Event()
    pump = Pump(made.source, InstrumentRegistry(), lambda _: True, made.speed, ended.set, made.pace_from_ns)
    pump.start()
    assert ended.wait(60)
    pump.join()
    assert pump.failure is None
    assert bool(caplog.messages) == bool(words)
    assert not words or re.search(words, caplog.text)


def test_a_time_before_what_the_names_of_the_files_tell_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "BTCUSDT-aggTrades-2026-08-01.csv").write_text("1,60000.0,0.5,1,1,1785542400123,true\n")
    made = make_source(ReplaySourceConfig("r", "replay", str(folder), at=datetime(2026, 8, 1, tzinfo=UTC)))
    assert made.pace_from_ns == datetime(2026, 8, 1, tzinfo=UTC).timestamp() * 1e9
    with pytest.raises(
        InputError, match=r"at = '2026-07-31 .*: lies before the recording begins, 2026-08-01T00:00:00Z"
    ):
        make_source(ReplaySourceConfig("r", "replay", str(folder), at=datetime(2026, 7, 31, 23, tzinfo=UTC)))


def test_it_goes_with_replays_and_simulations_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--source", "live", "--at", "2026-10-05"]) == 2
    assert "goes with --source replay or simulate" in capsys.readouterr().err


def test_demo_says_that_a_late_time_takes_long_and_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[str], str, float]] = []

    def launched(arguments: list[str], doing: str, timeout_s: float) -> None:
        asked.append((arguments, doing, timeout_s))
        raise CommandError("not started")

    monkeypatch.setattr("forcedmove_client.cli.demo.launched_server", launched)
    assert main(["demo"]) == main(["demo", "--at", "2026-10-06T12:00"]) == 1
    (_, plain, patience_s), (arguments, doing, longer_s) = asked
    assert plain == "starting a server on a simulated market"
    assert arguments[-2:] == ["--at", "2026-10-06T12:00"]
    assert "played up to 2026-10-06T12:00 (after its first 8 hours, 15 s or more for each hour)" in doing
    assert longer_s > 20 * patience_s
    assert "not started" in capsys.readouterr().err
