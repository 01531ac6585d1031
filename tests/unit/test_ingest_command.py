"""``forcedmove ingest``: what lines ask for, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forcedmove_client import Position, PositionDelta, PositionKey
from forcedmove_client.cli import main
from forcedmove_client.cli.failures import CommandError
from forcedmove_client.cli.ingest import change_of
from forcedmove_server.engine.engine import Engine
from forcedmove_server.rpc.server import RpcServer
from tests.integration.ingest_streams import CONFIG
from tests.integration.real_engine import fed_engine, served

DELTA = {"venue": "binance", "symbol": "BTCUSDT", "side": "long", "quantity": 2, "entry_price": 95_000, "leverage": 20}


def test_a_line_is_one_change() -> None:
    line = {"sequence": 7, "representative": True, "deltas": [DELTA, DELTA | {"time": "2026-11-26T12:00:00Z"}]}
    found = change_of(json.dumps(line).encode(), "f: line 1")
    first = PositionDelta("binance", "BTCUSDT", "long", 2, 95_000, 20)
    second = PositionDelta("binance", "BTCUSDT", "long", 2, 95_000, 20, np.datetime64("2026-11-26T12:00:00", "ns"))
    assert found == {"sequence": 7, "representative": True, "deltas": [first, second], "positions": [], "removed": []}
    key = {"venue": "okx", "symbol": "BTC-USDT-SWAP", "side": "short", "account": "a"}
    line = {"positions": [key | {"quantity": 1, "opened_at": "2026-11-26"}], "removed": [key], "replace": True}
    found = change_of(json.dumps(line).encode(), "f: line 1")
    own = PositionKey("okx", "BTC-USDT-SWAP", "short", "a")
    assert found["positions"] == [Position(own, quantity=1, opened_at=np.datetime64("2026-11-26", "ns"))]
    assert (found["removed"], found["replace"]) == ([own], True)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "line 3: Expecting property name"),
        ("[]", "line 3: [] is no JSON object"),
        ('{"delta": []}', "'delta' is unknown; known: sequence, deltas"),
        ('{"deltas": [{"price": 1}]}', "'price' is unknown; known: venue"),
        ('{"deltas": [{"venue": "x"}]}', "missing 5 required"),
        ('{"deltas": 5}', "not iterable"),
        ('{"sequence": "5"}', "sequence is no int"),
        ('{"replace": 1}', "replace is no bool"),
        (json.dumps({"deltas": [DELTA | {"time": "yesterday"}]}), "Error parsing datetime string"),
    ],
)
def test_a_line_that_cannot_be_read_says_where(line: str, text: str) -> None:
    with pytest.raises(CommandError) as caught:
        change_of(line.encode(), "f: line 3")
    assert caught.value.status == 2
    assert text in str(caught.value)
    assert str(caught.value).startswith("f: line 3: ")


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with fed_engine(CONFIG) as started:
        yield started


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[RpcServer]:
    async with served(engine) as running:
        yield running


async def test_a_file_is_told_and_told_again_counts_once(engine: Engine, server: RpcServer, tmp_path: Path) -> None:
    path = tmp_path / "changes.jsonl"
    lines: list[dict[str, Any]] = [{"sequence": k, "deltas": [DELTA]} for k in (1, 2)]
    lines += [{"sequence": 3, "deltas": [DELTA | {"quantity": -9}]}, {"sequence": 4, "deltas": [DELTA]}]
    path.write_text("\n\n".join(map(json.dumps, lines)))

    async def call(name: str, *more: str, given: bytes = b"") -> tuple[int | None, str, str]:
        command = (sys.executable, "-m", "forcedmove_client.cli", "ingest", name, "--producer", "desk", *more)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, "--server", f"127.0.0.1:{server.port}", stdin=pipe, stdout=pipe, stderr=pipe
        )
        out, err = await process.communicate(given)
        return process.returncode, out.decode(), err.decode()

    status, out, err = await call(str(path))
    assert (status, out) == (1, "3 applied, 0 had been applied before, 1 refused\n")
    assert "line 5: deltas[0].quantity = -9.0: is more than the 4 that are held" in err
    status, out, _ = await call("-", "--json", given=path.read_bytes())
    assert status == 1
    assert json.loads(out) == {
        "sent": 4, "applied": 0, "repeated": 3, "refused": 1, "postponed": 0, "reconnects": 0
    }  # fmt: skip
    (held,) = engine.positions("desk").result(10).positions
    assert held.quantity == 6
    status, _, err = await call("-", given=json.dumps({"deltas": [DELTA]}).encode() + b"\n{")
    assert status == 2
    assert "-: line 2: Expecting property name" in err
    (held,) = engine.positions("desk").result(10).positions
    assert held.quantity == 8, "a line that cannot be read loses none before it"


def test_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["ingest", str(tmp_path / "none"), "--producer", "desk"]) == 2
    assert "No such file" in capsys.readouterr().err
