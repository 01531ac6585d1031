"""``forcedmove events`` against a real server: pages, a followed stream, tables and JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE

from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, eventually
from tests.unit.event_samples import OUTCOME, event


def log(engine: FakeEngine, kind: EventKind = EventKind.ARMED, **other: object) -> None:
    seq = engine.events.next_seq
    engine.events.append(event(seq, engine.epoch, kind, **other))  # type: ignore[arg-type]


async def run(server: RpcServer, *arguments: str) -> tuple[int, str, str]:
    """The command as a process of its own: status, output, errors."""
    command = ["-m", "forcedmove_client.cli", "events", "--server", f"127.0.0.1:{server.port}", *arguments]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_table_of_what_is_kept(engine: FakeEngine, server: RpcServer) -> None:
    log(engine)
    log(engine, EventKind.TRIGGERED, touch=(), reason="the mark reached its near edge")
    log(engine, EventKind.RESOLVED, touch=(), outcome=OUTCOME, reason="a cascade followed")
    status, out, _ = await run(server)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:6] == ["seq", "time", "type", "symbol", "side", "cluster"]
    assert len(lines) == 4
    for part in ("armed", "BTC", "long", "17", "96,850", "−1.97%", "$63.0M", "$110M", "95,600", "0%", "conditions met"):
        assert part in lines[1]
    assert "a cascade followed: 4 levels, $60.0M, to 95,400, 60 s ahead" in lines[3]
    _, out, _ = await run(server, "--type", "triggered", "--from", "2")
    assert [line.split()[0] for line in out.splitlines()] == ["seq", "2"]


async def test_json_lines_have_the_names_of_the_values(engine: FakeEngine, server: RpcServer) -> None:
    log(engine)
    log(engine, EventKind.RESOLVED, outcome=OUTCOME)
    status, out, _ = await run(server, "--json", "--symbol", "binance:BTCUSDT")
    assert status == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["event_id"], first["type"], first["time"]) == ("1-1", "armed", "2023-11-14T22:13:21.000Z")
    assert first["leverages"] == {"25": 12e6, "50": 6e6}
    assert first["chain"]["terminal_price"] == 95_600.0
    assert first["outcome"] is None
    assert second["outcome"]["lead_time_s"] == 60.0


async def test_following_goes_on_without_a_gap(engine: FakeEngine, server: RpcServer) -> None:
    log(engine)
    following = asyncio.create_task(run(server, "--follow", "--json", "--duration", "4s"))
    await eventually(lambda: engine.events._listeners)
    log(engine, EventKind.ESCALATED)
    status, out, _ = await following
    assert status == 0
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2]


async def test_what_cannot_be_is_said_in_one_line(engine: FakeEngine, server: RpcServer) -> None:
    log(engine)
    status, _, err = await run(server, "--from", "9")
    assert (status, err) == (1, "forcedmove: from_seq = 9: events 1 to 1 are kept\n")
    status, _, err = await run(server, "--symbol", "DOGE")
    assert (status, err.count("\n")) == (2, 1)
