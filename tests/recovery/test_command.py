"""``forcedmove recovery``: what is kept and whether it is sound; what does not fit is set aside."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from forcedmove_server.commands import recovery
from forcedmove_server.config import Config, ModelConfig
from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery import log
from forcedmove_server.engine.recovery.digest import digest
from forcedmove_server.engine.recovery.inspection import inspect
from forcedmove_server.engine.recovery.log import read_segment, segments
from forcedmove_server.engine.recovery.resume import Resumed, resume
from forcedmove_server.engine.recovery.snapshot import snapshots
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.recovery.script import Server, config_at, copied, kept_at, script, uninterrupted
from tests.recovery.test_damage import flip

TICKS = script(44, 8)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "kept"
    kept_at(folder, TICKS, snapshots=(3, 4), retain_snapshots=3)
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    return copied(kept, tmp_path / "copy")


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    recovery.add_arguments(parser)
    return recovery.run(parser.parse_args(words))


def test_verify_tells_what_there_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("verify", str(folder)) == 0
    out = capsys.readouterr().out
    assert "DAMAGED" not in out
    assert out.splitlines()[-1].startswith("a server comes back at record 8: snapshot ")
    changes = sum(len(tick.changes) for tick in TICKS)
    assert 0 < sum(finding.holds.count("changes") for finding in inspect(folder).findings) <= changes + 3
    Server(folder).stop()
    assert command("verify", str(folder)) == 0


def test_verify_while_a_server_runs(folder: Path) -> None:
    server = Server(folder)
    assert command("verify", str(folder)) == 0
    server.stop()


@pytest.mark.parametrize("which", ["newest snapshot", "oldest snapshot", "newest log", "oldest log", "witness"])
def test_verify_names_the_damaged_file(folder: Path, which: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {
        "newest snapshot": snapshots(folder)[0][1],
        "oldest snapshot": snapshots(folder)[-1][1],
        "newest log": segments(folder)[-1][1],
        "oldest log": segments(folder)[0][1],
        "witness": folder / log.WITNESS,
    }
    flip(paths[which], 20 if which == "witness" else paths[which].stat().st_size - 1)
    assert command("verify", str(folder)) == 1
    (damaged,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DAMAGED")]
    assert paths[which].name in damaged


def test_a_write_cut_short_is_told_and_is_no_damage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = segments(folder)[-1]
    with path.open("ab") as file:
        file.write(b"FMRE" + bytes(10))
    assert command("verify", str(folder)) == 0
    assert "cut short by a crash" in capsys.readouterr().out


def test_repair_gives_up_what_is_damaged_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = segments(folder)[-1]
    entries = list(read_segment(path))
    flip(path, entries[-2].end + log._RECORD.size + 3)  # the last record
    with pytest.raises(FileFormatError):
        Server(folder)
    assert command("repair", str(folder)) == 0
    assert "comes back at record 7; records 8 to 8 are lost" in capsys.readouterr().out
    server = Server(folder)
    assert server.number == 7
    assert digest(server.core) == digest(uninterrupted(TICKS[:7]))
    server.tick(TICKS[7])
    assert digest(server.core) == digest(uninterrupted(TICKS))
    server.stop()
    assert command("verify", str(folder)) == 0


def test_repair_of_damaged_snapshots(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(snapshots(folder)[0][1], 99)
    assert command("repair", str(folder)) == 0
    assert "nothing is lost" in capsys.readouterr().out
    assert command("verify", str(folder)) == 0
    for _, path in snapshots(folder):
        flip(path, 99)
    with pytest.raises(FileFormatError):
        Server(folder)
    assert command("repair", str(folder)) == 0
    assert "begins anew" in capsys.readouterr().out
    server = Server(folder)
    assert server.resumed.snapshot is None
    server.stop()


def test_repair_leaves_a_server_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(folder)
    assert command("repair", str(folder)) == 2
    assert "used by another server" in capsys.readouterr().err
    server.stop()


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("verify", str(tmp_path / "nowhere")) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert command("verify") == 2
    assert "recovery.path" in capsys.readouterr().err


def started(config: Config) -> tuple[EngineCore, Resumed]:
    core = EngineCore(config, InstrumentRegistry(), epoch=3)
    journal, resumed = resume(config, core, lambda _: None)
    journal.close()
    return core, resumed


def test_another_configuration_sets_the_state_aside_and_says_what_differs(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(config_at(folder), model=ModelConfig(freshness_half_life_hours=12.0))
    with caplog.at_level(logging.WARNING):
        _, resumed = started(config)
    assert resumed.snapshot is None
    assert "does not fit and is set aside" in caplog.text
    assert "[model]" in caplog.text
    assert len(snapshots(folder / "set-aside")) == 3
    assert started(config)[1].snapshot == 0


def test_another_program_sets_it_aside_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from forcedmove_server.engine.recovery import fingerprint

    monkeypatch.setattr(fingerprint, "version", lambda _: "9.9")
    with caplog.at_level(logging.WARNING):
        assert started(config_at(folder))[1].snapshot is None
    assert "version" in caplog.text


def test_how_fast_and_on_what_it_runs_makes_no_difference(folder: Path) -> None:
    config = config_at(folder, retain_snapshots=7)
    config = replace(config, engine=replace(config.engine, backend="reference", tick_interval_ms=1_000))
    core, _ = started(config)
    assert digest(core) == digest(uninterrupted(TICKS))


def test_a_tighter_limit_is_told_and_not_fatal(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, path in snapshots(folder)[:-1]:
        assert number
        path.unlink()
    config = config_at(folder)
    with caplog.at_level(logging.WARNING):
        started(replace(config, exact=replace(config.exact, max_positions=1)))
    assert "cannot be made under this configuration" in caplog.text


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    kept_at(tmp_path / "new", TICKS[:1])
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "new").iterdir())
    assert os.listdir(tmp_path) == ["new"]
