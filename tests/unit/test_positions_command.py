"""``forcedmove positions``: what it asks of a server and how it shows the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from forcedmove_client import HeldPosition, HeldPositions, InvalidArgumentError, Position, PositionKey, PositionsAnswer
from forcedmove_client.cli import main, running
from forcedmove_client.cli import positions as command
from forcedmove_client.positions import set_requests

FILE = """\
market,side,account,quantity,liquidation_price_usd,leverage,opened_at
binance:BTCUSDT,long,me [1],0.5,90000,20,2023-11-14T22:00:00Z
okx:BTC-USD-SWAP,short,,30000,,,
"""
LONG = Position(
    PositionKey("binance", "BTCUSDT", "long", "me [1]"),
    quantity=0.5,
    liquidation_price=90000.0,
    leverage=20.0,
    opened_at=np.datetime64("2023-11-14T22:00:00", "ns"),
)
SHORT = Position(PositionKey("okx", "BTC-USD-SWAP", "short"), quantity=30000.0)


class FakeClient:
    """Remembers what it was asked."""

    calls: list[tuple[str, Any]]
    answer = PositionsAnswer(True, 5, 2, 1, 3600.0)

    def __init__(self, target: str, **_: Any) -> None:
        self.target = target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def set_positions(self, positions: Any, **options: Any) -> PositionsAnswer:
        self.calls.append(("set", (tuple(positions), options)))
        return self.answer

    async def clear_positions(self, producer: str) -> PositionsAnswer:
        self.calls.append(("clear", producer))
        return self.answer

    async def positions(self, producer: str) -> HeldPositions:
        self.calls.append(("list", producer))
        if producer == "nobody":
            return HeldPositions(0, 0.0, ())
        return HeldPositions(
            7, 3_599.0, (HeldPosition(LONG, "live", 0.5, 20.0), HeldPosition(SHORT, "waiting", None, None))
        )


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []
    monkeypatch.setattr(FakeClient, "calls", made, raising=False)
    monkeypatch.setattr(running, "AsyncClient", FakeClient)
    return made


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(["positions", *argv])
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_file_is_told(capsys: pytest.CaptureFixture[str], calls: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(FILE)
    status, out, _ = call(capsys, "set", str(path), "--producer", "desk")
    assert (status, out) == (0, "2 positions in the map, 1 wait for a price of their market\n")
    assert calls.pop() == ("set", ((LONG, SHORT), {"producer": "desk", "replace": True, "representative": False}))
    status, out, _ = call(capsys, "set", str(path), "--producer", "d", "--add", "--representative", "--json")
    assert json.loads(out) == {"applied": True, "sequence": 5, "live": 2, "waiting": 1, "expires_in_s": 3600.0}
    assert calls.pop()[1][1] == {"producer": "d", "replace": False, "representative": True}


def test_positions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "list", "--producer", "desk")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["me", "[1]", "binance:BTCUSDT", "long", "0.5", "90,000", "20x", "live"]
    assert lines[2] == ["–", "okx:BTC-USD-SWAP", "short", "–", "never", "–", "waiting"]
    assert lines[3][:2] == ["gone", "in"]
    listed = json.loads(call(capsys, "list", "--producer", "desk", "--json")[1])
    assert listed["positions"][0]["position"]["opened_at"] == "2023-11-14T22:00:00Z"
    assert listed["positions"][1]["position"]["liquidation_price"] is None
    assert "nothing is known" in call(capsys, "list", "--producer", "nobody")[1]


def test_positions_are_cleared(
    capsys: pytest.CaptureFixture[str], calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(capsys, "clear", "--producer", "desk")[0] == 0
    assert calls == [("clear", "desk")]
    monkeypatch.setattr(FakeClient, "answer", PositionsAnswer(False, 9, 0, 0, 0.0))
    assert "nothing changed" in call(capsys, "clear", "--producer", "desk")[1]


def test_bad_input_ends_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(FILE.replace("long", "buy"))
    status, _, err = call(capsys, "set", str(path), "--producer", "desk")
    assert status == 2
    assert err.startswith("forcedmove: side = 'buy': must be long or short")
    assert err.count("\n") == 1
    assert call(capsys, "set", str(tmp_path / "none.csv"), "--producer", "desk")[0] == 2
    assert call(capsys, "list")[0] == 2
    assert call(capsys)[0] == 2


def test_a_row_without_its_time_sends_nothing(
    capsys: pytest.CaptureFixture[str], calls: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "time,market,side,quantity,liquidation_price_usd\n"
        "2026-01-01T00:00:00Z,binance:BTCUSDT,long,1,90000\n,binance:BTCUSDT,short,1,110000\n"
    )
    status, _, err = call(capsys, "set", str(path), "--producer", "desk")
    assert (status, calls) == (2, [])
    assert err.startswith("forcedmove: row = 2: has no time in")


def test_a_client_without_the_server_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "forcedmove_server.engine.exact.file", None)
    status, _, err = call(capsys, "set", str(tmp_path / "p.csv"), "--producer", "desk")
    assert status == 2
    assert "pip install 'forcedmove[server]'" in err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert "forcedmove positions set mine.csv --producer" in out.partition("example")[2]
    assert command.HELP


def test_requests_of_a_large_change() -> None:
    many = [Position(PositionKey("v", "s", "long", str(k)), quantity=1) for k in range(2_500)]
    requests = list(set_requests("d", many, [many[0].key], True, False, 10))
    assert [len(one.positions) for one in requests] == [1_000, 1_000, 500]
    assert [(one.sequence, one.replace, len(one.removed)) for one in requests] == [
        (10, True, 1),
        (11, False, 0),
        (12, False, 0),
    ]
    assert len(list(set_requests("d", [], [], False, False, None))) == 1
    for bad in (Position(LONG.key), Position(LONG.key, quantity=1, notional_usd=1)):
        with pytest.raises(InvalidArgumentError, match="give exactly one of them"):
            list(set_requests("d", [bad], [], True, False, 1))
    with pytest.raises(InvalidArgumentError, match=r"side = 'up'"):
        list(set_requests("d", [Position(PositionKey("v", "s", "up"), quantity=1)], [], True, False, 1))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="sequence = 0"):
        list(set_requests("d", [], [], True, False, 0))
