"""The configuration is read strictly, every error is told, and docs/CONFIG.md says what the code does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from forcedmove_kernels.backend import BACKENDS
from forcedmove_server.commands import check_config
from forcedmove_server.commands.check_config import as_toml
from forcedmove_server.config import (
    CONFIG_VARIABLE,
    SECTIONS,
    SOURCE_KINDS,
    BackendName,
    Config,
    ReplaySourceConfig,
    SimulateSourceConfig,
    load_config,
    read_config,
)
from forcedmove_server.errors import ConfigError
from forcedmove_server.typed_toml import KeyInfo, keys_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def errors_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "c.toml"
    path.write_text(text)
    errors = read_config(path)[1]
    assert all(error.place == str(path) for error in errors)
    return [f"{error.field}: {error.reason}" for error in errors]


def test_defaults_need_no_file() -> None:
    config = load_config()
    assert config == Config()
    assert config.server.port == 7878
    assert [source.kind for source in config.sources] == ["simulate"]
    with pytest.raises(FrozenInstanceError):
        config.server.port = 1  # type: ignore[misc]


def test_example_is_valid_and_its_values_are_in_effect() -> None:
    config = load_config(ROOT / "examples" / "forcedmove.toml")
    assert config.sources[0].name == "simulated market"
    assert config.sources[0].symbols == ("BTC", "ETH", "SOL")
    assert config.model.freshness_half_life_hours == 24.0


def test_replay_source_reads_times_and_renamed_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[[sources]]\nname = "june"\nkind = "replay"\npath = "x"\nspeed = 60\n'
        'from = 2026-06-11T20:30:00\nuntil = "2026-06-12"\n'
    )
    (source,) = load_config(path).sources
    assert isinstance(source, ReplaySourceConfig)
    assert source.start == datetime(2026, 6, 11, 20, 30, tzinfo=UTC)
    assert source.end == datetime(2026, 6, 12, tzinfo=UTC)
    assert source.speed == 60.0
    assert isinstance(source.speed, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprt = 1", "server.prt: unknown key; did you mean 'port'?"),
        ("[server]\nport = 70000", "server.port: must be a whole number from 0 to 65,535"),
        ("[server]\nport = true", "server.port: must be a whole number"),
        ("[server]\nport = 78.5", "server.port: must be a whole number"),
        ('[server]\nhost = ""', "server.host: must be a text that is not empty"),
        ("[engine]\ntick_interval_ms = -1", "engine.tick_interval_ms: must be a whole number (ms) from 10 to 60,000"),
        (f"[engine]\nthreads = {10**400}", "engine.threads: must be a whole number (threads) from 0 to 1,024"),
        ('[engine]\nbackend = "gpu"', "engine.backend: must be one of 'auto', 'cuda', 'cpu', 'reference'"),
        ("[model]\nturnover = nan", "model.turnover: must be a number (share) from 0 to 0.5"),
        ("[model]\nimpact_y = inf", "model.impact_y: must be a number above 0, at most 100"),
        ("[model]\nimpact_y = 0", "model.impact_y: must be a number above 0, at most 100"),
        ('[model]\nturnover = "20%"', "model.turnover: must be a number (share)"),
        ("[scorecard]\nenabled = 1", "scorecard.enabled: must be true or false"),
        ("model = 3", "model: must be a table"),
        ("[modell]", "modell: unknown key; did you mean 'model'?"),
        ("sources = []", "sources: must be at least one [[sources]] table"),
        ('[[sources]]\nkind = "files"', "sources[1].kind: must be one of 'simulate', 'replay', 'live'"),
        ('[[sources]]\nkind = "simulate"\nsymbols = "BTC"', "sources[1].symbols: must be a list of texts"),
        ('[[sources]]\nkind = "simulate"\nfolder = "x"', "sources[1].folder: unknown key; known: "),
        ('[[sources]]\nkind = "replay"\nname = "a"', "sources[1].path: is missing: file or folder"),
        ('[[sources]]\nkind = "simulate"\n[[sources]]\nkind = "simulate"', "sources[2].name: another source has this"),
        (
            '[[sources]]\nkind="replay"\nname="a"\npath="x"\nfrom=2026-01-02\nuntil=2026-01-01',
            "sources[1].until: must be later than from",
        ),
        ('[[sources]]\nkind="replay"\nname="a"\npath="x"\nfrom="noon"', "sources[1].from: must be a time such as"),
        ("[server\n", "file: is not TOML: "),
    ],
)
def test_each_error_names_the_key_and_says_what_it_must_be(tmp_path: Path, text: str, expected: str) -> None:
    found = errors_of(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_all_errors_are_found_and_load_tells_the_first(tmp_path: Path) -> None:
    text = '[server]\nport = 70000\nhosst = "x"\n[engine]\nbins = 1.5\n[[sources]]\nkind = "x"\n'
    assert len(errors_of(tmp_path, text)) == 4
    with pytest.raises(ConfigError, match=r"c\.toml: server\.port = 70000: .*3 more; see forcedmove check-config"):
        load_config(tmp_path / "c.toml")


def test_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="byte 0: file"):
        load_config(tmp_path / "b.toml")


def test_environment_names_the_file_and_overrides_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[server]\nport = 1234\nheartbeat_ms = 700\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    assert load_config().server.port == 1234
    config = load_config(overrides={"server": {"port": 0}})
    assert (config.server.port, config.server.heartbeat_ms) == (0, 700)
    with pytest.raises(ConfigError, match=r"command line: server\.port = -1"):
        load_config(overrides={"server": {"port": -1}})


def test_printed_config_reads_back_the_same(tmp_path: Path) -> None:
    replay = ReplaySourceConfig("a", "replay", 'x "y"', start=datetime(2026, 1, 1, tzinfo=UTC))
    config = Config(sources=(SimulateSourceConfig(symbols=("BTC",)), replay))
    path = tmp_path / "c.toml"
    path.write_text(as_toml(config))
    assert load_config(path) == config


def test_check_config_lists_every_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from argparse import Namespace

    path = tmp_path / "c.toml"
    path.write_text("[server]\nport = -1\n[model]\nx = 1\n")
    assert check_config.run(Namespace(file=path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(" = ")[0] for line in captured.err.splitlines()] == [
        f"forcedmove: {path}: server.port",
        f"forcedmove: {path}: model.x",
    ]
    assert check_config.run(Namespace(file=None)) == 0
    assert tomllib.loads(capsys.readouterr().out)["engine"]["bins"] == 2048


def test_backends_are_those_of_the_kernels() -> None:
    assert get_args(BackendName) == BACKENDS


def documented(text: str) -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", text, re.M)
    return {name: (unit.strip(), default.strip(), meaning.strip()) for name, unit, default, meaning in rows}


def as_documented(info: KeyInfo) -> tuple[str, str, str]:
    from forcedmove_server.commands.check_config import _literal

    default = (
        "required" if info.default is MISSING else "none" if info.default is None else f"`{_literal(info.default)}`"
    )
    meaning = info.key.text
    if get_origin(info.type) is Literal and len(get_args(info.type)) > 1:
        meaning += ": " + ", ".join(f"`{choice}`" for choice in get_args(info.type))
    return info.key.unit, default, meaning + (f" ({info.key.range})" if info.key.range else "")


def test_the_documentation_lists_each_key_with_unit_default_and_meaning() -> None:
    text = (ROOT / "docs" / "CONFIG.md").read_text()
    parts = dict(zip(SECTIONS, re.split(r"^## ", text, flags=re.M)[1 : len(SECTIONS) + 1], strict=True))
    parts |= dict(zip(SOURCE_KINDS, re.split(r"^### ", text, flags=re.M)[1:], strict=True))
    for name, table in {**SECTIONS, **SOURCE_KINDS}.items():
        expected = {key: as_documented(info) for key, info in keys_of(table).items()}
        assert documented(parts[name]) == expected, f"docs/CONFIG.md, {name}"
