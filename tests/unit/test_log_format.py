"""Lines of the JSON log, as a collector of logs reads them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime

from forcedmove_server.commands import serve
from forcedmove_server.config import read_config
from forcedmove_server.log_format import JsonFormatter


def _record(message: str, *args: object, exc_info: bool = False) -> logging.LogRecord:
    found = sys.exc_info() if exc_info else None
    return logging.LogRecord("forcedmove_server.app", logging.WARNING, __file__, 1, message, args, found)


def test_a_record_is_one_object_on_one_line() -> None:
    record = _record('symbol %s\nhas "%d" gaps, Ω', "BTC", 3)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told == {
        "time": told["time"],
        "level": "warning",
        "logger": "forcedmove_server.app",
        "message": 'symbol BTC\nhas "3" gaps, Ω',
    }
    assert datetime.fromisoformat(told["time"]) == datetime.fromtimestamp(record.created, UTC)


def test_a_traceback_is_a_field() -> None:
    try:
        raise ValueError("of no use")
    except ValueError:
        line = JsonFormatter().format(_record("it failed", exc_info=True))
    assert "\n" not in line
    assert json.loads(line)["exc"].endswith("ValueError: of no use")


def test_a_server_that_fails_says_so_in_json() -> None:
    """The command itself, in a process of its own: every line of its log is an object."""
    found = subprocess.run(
        [sys.executable, "-c", _FAILING_SERVER], capture_output=True, text=True, timeout=60, check=False
    )
    told = [json.loads(line) for line in found.stderr.splitlines()]
    assert found.returncode == 1
    assert told[-1]["level"] == "error"
    assert told[-1]["logger"] == serve.__name__
    assert "RuntimeError: broken" in told[-1]["exc"]


_FAILING_SERVER = """
import argparse, sys
from forcedmove_server.commands import serve

async def broken(*_):
    raise RuntimeError("broken")

serve.run_server = broken
parser = argparse.ArgumentParser()
serve.add_arguments(parser)
sys.exit(serve.run(parser.parse_args(["--log-format", "json"])))
"""


def test_an_unknown_format_is_named() -> None:
    _, errors = read_config(None, {"server": {"log_format": "xml"}})
    assert [error.field for error in errors] == ["server.log_format"]
