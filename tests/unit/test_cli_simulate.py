"""``forcedmove simulate`` in one process: scenarios, and what a server says of a shock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli_server import call

ROOT = Path(__file__).parents[2]


def test_scenario_goes_through_the_entry_point(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "examples" / "acceptance.toml")
    status, out, _ = call(capsys, "simulate", "--scenario", path, "--json")
    assert status == 0
    assert json.loads(out)["terminal_price"] == 95_600.0
    status, out, _ = call(capsys, "simulate", "--scenario", path, "--shock", "-1%")
    assert status == 0
    assert "shock to 96,525 (-1.00%)" in out


@pytest.mark.usefixtures("fake_server")
def test_simulate_on_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "simulate", "BTC", "--shock", "-2%")
    assert status == 0
    assert "2 levels, $60.0M of longs on 3 venues; the mark ends at 93,000" in out
    answer = json.loads(call(capsys, "simulate", "BTC", "--price", "96050", "--json")[1])
    assert answer["levels"][0]["trigger_price"] == 96_000.0
    offline = json.loads(call(capsys, "simulate", "--scenario", str(ROOT / "examples/acceptance.toml"), "--json")[1])
    assert set(answer) - set(offline) == {"paths", "tipping_points", "by_venue", "curve", "books", "assumptions"}
    assert set(offline) < set(answer)
    assert answer["paths"] is None
    assert set(answer["levels"][0]) == set(offline["levels"][0])


@pytest.mark.usefixtures("fake_server")
def test_simulate_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(
        capsys, "simulate", "BTC", "--shock=-2%", "--paths", "2000", "--seed", "9", "--coupling", "5s"
    )
    assert status == 0
    assert "2,000 paths, seed 9" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "96,000", "93%"] in [line[:3] for line in lines]
    assert [line[:2] for line in lines if line and line[0] in ("5%", "50%", "95%")] == [
        ["5%", "93,000"],
        ["50%", "92,000"],
        ["95%", "91,000"],
    ]
    assert "venue by venue, coupled in 5 s: meets at 93,000 after 43 s" in out
    assert ["okx", "92,000", "$30.0M"] in lines
    assert "smallest shock of longs that tips: −1.55% to 96,000, ends at 93,000" in out
    argv = ["simulate", "BTC", "--shock=-2%", "--paths", "20", "--curve", "3", "--duration", "10m", "--json"]
    answer = json.loads(call(capsys, *argv)[1])
    assert answer["paths"]["quantiles"][2] == {"probability": 0.95, "terminal_price": 91_000.0, "total_usd": 150e6}
    assert len(answer["curve"]) == 3
    assert answer["by_venue"] is None
    assert answer["assumptions"][0]["value"] == 600.0
    assert answer["tipping_points"][1]["distance"] is None
