"""``forcedmove events`` against a real server: pages, a followed stream, tables and JSON lines."""

from __future__ import annotations

import asyncio
import json

import pytest

from forcedmove_client.cli import main
from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually
from tests.unit.event_samples import OUTCOME, event


def log(engine: FakeEngine, kind: EventKind = EventKind.ARMED, **other: object) -> None:
    seq = engine.events.next_seq
    engine.events.append(event(seq, engine.epoch, kind, **other))  # type: ignore[arg-type]


async def run(server: RpcServer, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["events", "--server", f"127.0.0.1:{server.port}", *arguments])


async def test_a_table_of_what_is_kept(
    engine: FakeEngine, server: RpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log(engine)
    log(engine, EventKind.TRIGGERED, touch=(), reason="the mark reached its near edge")
    log(engine, EventKind.RESOLVED, touch=(), outcome=OUTCOME, reason="a cascade followed")
    assert await run(server) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["seq", "time", "type", "symbol", "side", "cluster"]
    assert len(lines) == 4
    for part in ("armed", "BTC", "long", "17", "96,850", "−1.97%", "$63.0M", "$110M", "95,600", "0%", "conditions met"):
        assert part in lines[1]
    assert "a cascade followed: 4 levels, $60.0M, to 95,400, 60 s ahead" in lines[3]
    assert await run(server, "--type", "triggered", "--from", "2") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["seq", "2"]


async def test_json_lines_have_the_names_of_the_values(
    engine: FakeEngine, server: RpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log(engine)
    log(engine, EventKind.RESOLVED, outcome=OUTCOME)
    assert await run(server, "--json", "--symbol", "binance:BTCUSDT") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event_id"], first["type"], first["time"]) == ("1-1", "armed", "2023-11-14T22:13:21.000Z")
    assert first["leverages"] == {"25": 12e6, "50": 6e6}
    assert first["chain"]["terminal_price"] == 95_600.0
    assert first["outcome"] is None
    assert second["outcome"]["lead_time_s"] == 60.0


async def test_following_goes_on_without_a_gap(
    engine: FakeEngine, server: RpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log(engine)
    following = asyncio.create_task(run(server, "--follow", "--json", "--duration", "3s"))
    await eventually(lambda: engine.events._listeners)
    log(engine, EventKind.ESCALATED)
    assert await following == 0
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


async def test_what_cannot_be_is_said_in_one_line(
    engine: FakeEngine, server: RpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log(engine)
    assert await run(server, "--from", "9") == 1
    assert capsys.readouterr().err == "forcedmove: from_seq = 9: events 1 to 1 are kept\n"
    assert await run(server, "--symbol", "DOGE") == 2
