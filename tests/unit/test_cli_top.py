"""``forcedmove top`` and ``forcedmove health``: what is shown, and the exit status."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from forcedmove_client import Feed, GatewayStatus, Health, QuestionCounts, ServerStatus, StageTime
from forcedmove_client.cli.top import Look, view
from tests.unit.cli_server import FakeClient, call

STATUS = ServerStatus(
    version="0.1.0", backend="cuda", uptime_s=3_700.0, ticks=100, missed_ticks=2,
    event_time=np.datetime64("2026-06-01T12:00:00", "ns"), symbols=20,
    stages=(StageTime("map", 0.002, 0.4, 100), StageTime("encode", 0.0, 0.0, 0)), streams=3, subscribers=2, views=40,
    sent_bytes=1_000, sent_frames=50, conflated_frames=0, questions=(QuestionCounts("scan", 1, 0, 5),),
    resident_bytes=400_000_000, device_used_bytes=2_000_000_000, device_total_bytes=80_000_000_000,
)  # fmt: skip
FEED = Feed("trades", 4, 3, 100, 12.0, 5.0, 9.0, 1, 2, 3, 0, 0, 0, 0, "[red]odd[/] words")


def _shown(before: Look, now: Look) -> list[str]:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    console.print(view("host:7878", before, now))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_rates_are_those_between_two_looks() -> None:
    before = Look(10.0, Health.SERVING, STATUS, {})
    later = dataclasses.replace(
        STATUS, ticks=108, sent_bytes=5_001_000, sent_frames=90, conflated_frames=6,
        stages=(StageTime("map", 0.003, 0.424, 108), StageTime("encode", 0.0, 0.0, 0)),
    )  # fmt: skip
    lines = _shown(before, Look(12.0, Health.NOT_SERVING, later, {"binance": (FEED,)}))
    assert lines[0].startswith("host:7878 NOT_SERVING 0.1.0, cuda")
    assert lines[1].startswith("ticks 108 (4.0/s), 2 missed, 20 symbols")
    assert lines[2] == "streams 3 open, 2 subscribed, 40 views; 2.5 MB/s, 20.0 maps/s, 3.0 conflated/s"
    assert lines[3] == "memory 400.0 MB host, 2.00 GB of 80.00 GB on the GPU"
    assert "map 3.00 ms 3.93 ms 3.00 ms 108" in lines  # last, mean of all, mean of the eight between the looks
    assert "encode – – – 0" in lines
    assert "scan 1 0 5" in lines
    assert any(line.startswith("binance 3/4") and line.endswith("[red]odd[/] words") for line in lines)


def test_gateways_have_a_row_each_with_their_own_rate() -> None:
    first, second = GatewayStatus(1, 3, 2, 40, 1_000, 50, 0, 120_000_000), GatewayStatus(2, 1, 1, 4, 7_000, 9, 1, 0)
    before = Look(10.0, Health.SERVING, dataclasses.replace(STATUS, gateways=(first,)), {})
    grown = dataclasses.replace(first, sent_bytes=3_001_000)
    lines = _shown(before, Look(12.0, Health.SERVING, dataclasses.replace(STATUS, gateways=(grown, second)), {}))
    assert "1 3 2 40 1.5 MB/s 120.0 MB" in lines
    assert "2 1 1 4 0 B/s 0 B" in lines  # it was not there before: no rate yet


def test_a_server_that_began_anew_has_no_negative_rates() -> None:
    before = Look(10.0, Health.SERVING, STATUS, {})
    anew = dataclasses.replace(STATUS, ticks=1, sent_bytes=0, sent_frames=0, event_time=np.datetime64("NaT", "ns"))
    lines = _shown(before, Look(11.0, Health.SERVING, anew, {}))
    assert lines[1].startswith("ticks 1 (0.0/s)")
    assert "0 B/s" in lines[2]


@pytest.mark.usefixtures("fake_server")
@pytest.mark.parametrize("health", list(Health))
def test_only_serving_is_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], health: Health
) -> None:
    asked: list[tuple[str, float]] = []

    async def answer(_: FakeClient, service: str, *, timeout_s: float) -> Health:
        asked.append((service, timeout_s))
        return health

    monkeypatch.setattr(FakeClient, "health", answer, raising=False)
    status, out, _ = call(capsys, "health", "--service", "forcedmove.v1.ScanService", "--timeout", "500ms")
    assert (status, out) == (0 if health is Health.SERVING else 1, f"{health.name}\n")
    assert asked == [("forcedmove.v1.ScanService", 0.5)]


def test_no_server_is_one_line_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "health", "--server", "127.0.0.1:1")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
