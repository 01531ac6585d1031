"""The command line in one process: help, and that bad input or a lost server never ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from forcedmove_client import UnavailableError
from forcedmove_client.cli import extensions, joined
from forcedmove_client.cli.failures import CommandError, status_of, unreachable
from forcedmove_client.cli.launch import launched_server
from tests.unit.cli_server import call


def test_help_lists_all_commands_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    client = ("demo", "watch", "snapshot", "simulate", "symbols", "venues", "score", "positions")
    for name in (*client, "serve", "liqprice", "check-config"):
        assert f"\n    {name} " in out or f"\n    {name}\n" in out
    assert "simulate-scenario" not in out
    assert "forcedmove liqprice --entry 98000" in out
    status, out, _ = call(capsys, "--version")
    assert status == 0
    assert out.startswith("forcedmove ")


@pytest.mark.parametrize(
    "name",
    ["demo", "watch", "snapshot", "simulate", "symbols", "venues", "score", "positions", "liqprice", "check-config"],
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert "example" in out
    assert f"forcedmove {name}" in out.partition("example")[2]


@pytest.mark.parametrize("name", ["serve", "record"])
def test_what_collects_live_says_how_to_choose_the_largest_symbols(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    options = " ".join(out.partition("options:")[2].split())
    assert "with --source live also top:N, the N symbols with the most open interest" in options.partition("--from")[0]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["simulate", "BTC"], "the shock is missing"),
        (["simulate", "--shock", "-2%"], "SYMBOL is missing"),
        (["simulate", "BTC", "--shock", "-2%", "--price", "9"], "not allowed with"),
        (["simulate", "BTC", "--shock", "twice"], "'twice' is not a move of the mark"),
        (
            ["simulate", "BTC", "--shock", "-96%"],
            "'-96%' is not a move of the mark such as -0.02 or -2%, from -95% to 500%",
        ),
        (["simulate", "BTC", "--shock", "5.01"], "from -95% to 500%"),
        (["simulate", "BTC", "--price", "nan"], "'nan' is not a number above zero"),
        (["simulate", "BTC", "--scenario", "x.toml"], "SYMBOL = 'BTC': a scenario names its own symbol"),
        (["simulate", "BTC", "--shock", "-2%", "--paths", "20001"], "not a whole number from 0 to 20000"),
        (["simulate", "BTC", "--shock", "-2%", "--coupling", "61"], "'61' is not a number of seconds from 0 to 60"),
        (["simulate", "--scenario", "x.toml", "--paths", "9"], "a scenario is followed exactly, once"),
        (["simulate", "--scenario", "x.toml", "--duration", "9m"], "a scenario is followed exactly, once"),
        (["simulate", "BTC", "--shock", "-2%", "--duration", "0m"], "is not a time above zero"),
        (["simulate", "--scenario", "none.toml"], "none.toml: file = 'none.toml': No such file"),
        (["symbols", "--server", "localhost"], "'localhost' is not HOST:PORT"),
        (["symbols", "--server", "localhost:99999"], "is not HOST:PORT"),
        (["watch", "--duration", "soon"], "'soon' is not a time"),
        (["watch", "--range", "50%"], "'50%' is not a fraction"),
        (["watch", "--png-history", "/nonexistent/h.png"], "no such folder"),
        (["demo", "--seed", "-1"], "'-1' is not a whole number"),
        (["snapshot", "BTC", "--format", "parquet"], "--output is missing"),
        (["snapshot", "BTC", "--band", "0.9"], "--band is for --png and for --format json, csv or parquet"),
        (["snapshot", "BTC", "--band", "0.9", "--by", "venue", "--png", "x.png"], "leave out --by"),
        (["snapshot", "BTC", "--band", "1.2", "--format", "csv"], "'1.2' is not a fraction such as 0.05 or 5%"),
        (["snapshot", "DOGE"], "unknown symbol 'DOGE'; known: BTC"),
        (["snapshot"], "required: SYMBOL"),
        (["unheard-of"], "invalid choice: 'unheard-of'"),
        ([], "required: COMMAND"),
        (["liqprice", "--entry", "98000", "--leverage", "50", "--side", "long"], "mmr = None"),
        (["liqprice", "--entry", "nan", "--leverage", "50", "--side", "long", "--mmr", "0"], "entry = nan"),
        (["liqprice", "--entry", "1", "--leverage", "0.5", "--side", "long", "--mmr", "0"], "leverage = 0.5"),
        (["liqprice", "--entry", "1", "--leverage", "5", "--side", "long", "--mmr", "2"], "mmr = 2.0"),
        (
            ["liqprice", "--entry", "1", "--leverage", "5", "--side", "long", "--venue", "mtgox"],
            "unknown venue 'mtgox'",
        ),
        (["check-config", "none.toml"], "none.toml"),
    ],
)
@pytest.mark.usefixtures("fake_server")
def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], argv: list[str], told: str) -> None:
    status, out, err = call(capsys, *argv)
    assert status == 2
    assert out == ""
    assert told in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.usefixtures("fake_server")
def test_refused_connection_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["symbols"], ["watch"], ["snapshot", "BTC"], ["simulate", "BTC", "--shock=1%"]):
        status, out, err = call(capsys, *command, "--server", "127.0.0.1:1")
        assert (status, out) == (1, "")
        assert err.startswith("forcedmove: 127.0.0.1:1: connection refused; is a server running there?")
        assert len(err.splitlines()) == 1


def test_refused_connection_without_a_fake(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "symbols", "--server", "127.0.0.1:1")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--side", "long", "--mmr", "0"], "96040"),
        (["--side", "short", "--mmr", "0"], "99960"),
        (["--side", "long", "--mmr", "0.4%"], "96425.70281"),
        (["--side", "long", "--mmr", "0.004"], "96425.70281"),
        (["--side", "long", "--mmr", "0", "--contract", "inverse"], "96078.43137"),
        (["--side", "long", "--mmr", "0.01", "--maint-amount", "100", "--quantity", "1"], "96909.09091"),
        (["--side", "long", "--mmr", "0.004", "--fee", "0.05%"], "96474.1336"),
    ],
)
def test_liqprice_prints_the_shortest_form(
    capsys: pytest.CaptureFixture[str], options: list[str], printed: str
) -> None:
    status, out, err = call(capsys, "liqprice", "--entry", "98000", "--leverage", "50", *options)
    assert (status, out, err) == (0, printed + "\n", "")


def test_joined_attaches_negative_moves_only() -> None:
    assert joined(["simulate", "BTC", "--shock", "-2%"]) == ["simulate", "BTC", "--shock=-2%"]
    assert joined(["--shock", "-.5", "--shock", "--json"]) == ["--shock=-.5", "--shock", "--json"]


def test_missing_requirements_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> object:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(EntryPoint, "load", fail)
    for argv in (["serve", "--port", "0"], ["liqprice", "-x"], ["demo"], ["simulate", "--scenario", "x"]):
        status, out, err = call(capsys, *argv)
        assert (status, out) == (2, "")
        assert err.endswith("needs numba: pip install 'forcedmove[server]'\n")
        assert len(err.splitlines()) == 1
    assert "pip install 'forcedmove[server]'" in " ".join(call(capsys, "--help")[1].split())
    late = SimpleNamespace(run=fail)
    with pytest.raises(CommandError, match=r"serve needs numba: pip install 'forcedmove\[server\]'"):
        extensions.run(late, "serve", None)  # type: ignore[arg-type]


def test_errors_of_task_groups_are_told_and_bugs_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    wrapped = ExceptionGroup("tasks", [UnavailableError("h:1: Deadline Exceeded")])
    assert status_of(wrapped) == 1
    assert capsys.readouterr().err == "forcedmove: h:1: no answer in time\n"
    assert status_of(RuntimeError("a bug")) is None
    assert unreachable("h:1: something else") == "h:1: something else"


def test_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(CommandError, match=r"ended with status 2: .*port"),
        launched_server(["--port", "-5"], "starting"),
    ):
        pass


def test_output_that_nobody_reads_any_more() -> None:
    command = [sys.executable, "-m", "forcedmove_client.cli", "--help"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, check=False)
    assert b"Traceback" not in done.stderr
