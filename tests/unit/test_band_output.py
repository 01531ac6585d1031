"""Bands in files and pictures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client import Band, MapFrame
from forcedmove_client.cli.export import write_csv, write_json, write_parquet
from tests.unit.terminal_sample import sample_frame


def banded(*keep: str, factor: float = 3.0) -> MapFrame:
    frame = sample_frame((*keep, "side", "price"))  # type: ignore[arg-type]
    return replace(frame, band=Band(0.9, frame.grid / 2, frame.grid * np.float32(factor)))


def test_every_cell_has_its_bounds(tmp_path: Path) -> None:
    frame, output = banded("venue"), io.StringIO()
    write_csv([frame], output)
    rows = list(csv.DictReader(io.StringIO(output.getvalue())))
    assert list(rows[0])[-3:] == ["notional_usd", "notional_low_usd", "notional_high_usd"]
    usd, low, high = (np.array([float(row[name]) for row in rows]) for name in list(rows[0])[-3:])
    assert low == pytest.approx(usd / 2, rel=1e-6)
    assert high == pytest.approx(usd * 3, rel=1e-6)
    table = frame.to_pandas()
    assert np.array_equal(table["notional_low_usd"], frame.grid.reshape(-1) / 2)
    pq = pytest.importorskip("pyarrow.parquet")
    write_parquet([frame], tmp_path / "m.parquet")
    assert np.array_equal(pq.read_table(tmp_path / "m.parquet")["notional_high_usd"], table["notional_high_usd"])
    written = io.StringIO()
    write_json([frame], written)
    (plain,) = json.loads(written.getvalue())
    assert plain["band"]["level"] == 0.9
    assert np.array(plain["band"]["low"]) == pytest.approx(np.array(plain["grid"]) / 2)


def test_the_outline_of_a_band_is_part_of_the_picture(tmp_path: Path) -> None:
    picture = pytest.importorskip("forcedmove_client.picture")
    path = tmp_path / "m.png"
    drawn = set()
    for frame in (sample_frame(("side", "price")), banded(factor=2.0), banded(factor=3.0)):
        picture.render_png(frame, path)
        drawn.add(path.read_bytes())
    assert len(drawn) == 3
    with pytest.raises(ValueError, match="not that of its parts"):
        picture.render_png(banded("venue"), path)
