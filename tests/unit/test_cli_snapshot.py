"""``forcedmove symbols``, ``venues`` and ``snapshot`` in one process: what they print and write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.unit.cli_server import call


@pytest.mark.usefixtures("fake_server")
def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "97,512.4         $3.00B" in call(capsys, "symbols")[1]
    assert json.loads(call(capsys, "symbols", "--json")[1])[0]["symbol"] == "BTC"
    out = call(capsys, "venues")[1]
    assert [line.split()[-1] for line in out.splitlines()] == ["feeds", "fresh", "stale"]
    assert json.loads(call(capsys, "venues", "--json")[1])[1]["venue"] == "okx"


@pytest.mark.usefixtures("fake_server")
def test_snapshot_in_every_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, "snapshot", "BTC")
    assert status == 0
    assert "largest clusters" in out
    (plain,) = json.loads(call(capsys, "snapshot", "BTC", "--format", "json")[1])
    assert plain["event_time"] == "2026-01-05T13:26:31Z"
    assert plain["price_high"][-1] is None
    total = sum(map(sum, plain["grid"]))
    rows = list(csv.DictReader(io.StringIO(call(capsys, "snapshot", "BTC", "--format", "csv")[1])))
    assert list(rows[0]) == ["symbol", "side", "price_low", "price_high", "notional_usd"]
    assert sum(float(row["notional_usd"]) for row in rows) == pytest.approx(total)
    path = tmp_path / "m.parquet"
    keep = ["--by", "leverage", "venue"]
    assert call(capsys, "snapshot", "BTC", *keep, "--format", "parquet", "--output", str(path))[0] == 0
    import pyarrow.parquet as pq

    stored = pq.read_table(path)
    assert stored.column_names == ["symbol", "venue", "side", "leverage", "price_low", "price_high", "notional_usd"]
    assert sum(stored["notional_usd"].to_pylist()) == pytest.approx(total)
    status, _, err = call(capsys, "snapshot", "BTC", "--format", "csv", "--output", str(tmp_path / "no" / "x"))
    assert status == 1
    assert err.endswith("x: No such file or directory\n")


@pytest.mark.usefixtures("fake_server")
def test_snapshot_with_a_band(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (plain,) = json.loads(call(capsys, "snapshot", "BTC", "--band", "90%", "--format", "json")[1])
    assert plain["band"]["level"] == 0.9
    assert json.loads(call(capsys, "snapshot", "BTC", "--format", "json")[1])[0]["band"] is None
    assert call(capsys, "snapshot", "BTC", "--band", "0.9", "--png", str(tmp_path / "m.png"))[0] == 0
