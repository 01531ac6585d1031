"""Files of known positions: our own columns and those of exchanges' dumps, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.known import PositionSnapshots

BTC = Instrument("hyperliquid", "BTC", "BTC", "USD")
HOUR_NS = 3600 * 10**9
OURS = """time,account,market,side,notional_usd,liquidation_price_usd
2026-03-01T00:00:00Z,a,hyperliquid:BTC,long,1000,50000
2026-03-01T00:05:00Z,b,BTC,short,-500,90000
2026-03-01T00:05:00Z,b,BTC,short,700,
2026-03-01T00:05:00Z,c,ETH,long,700,2000
2026-03-02T00:00:00Z,a,BTC,long,2000,51000
"""
FIRST_NS = 1772323200 * 10**9


def test_the_newest_snapshot_counts_for_a_day_and_an_hour(tmp_path: Path) -> None:
    file = tmp_path / "positions.csv"
    file.write_text(OURS)
    known = PositionSnapshots.read(file)
    assert known.at(FIRST_NS - 1, BTC) is None
    first = known.at(FIRST_NS + HOUR_NS, BTC)
    assert first is not None
    assert (first.side.tolist(), first.level_usd.tolist()) == ([0, 1], [50_000.0, 90_000.0])
    assert first.notional_usd.tolist() == [1000.0, 500.0]
    assert len(set(first.account.tolist())) == 2
    second = known.at(FIRST_NS + 24 * HOUR_NS, BTC)
    assert second is not None
    assert second.level_usd.tolist() == [51_000.0]
    assert known.at(FIRST_NS + 24 * HOUR_NS, BTC) is not None
    assert known.at(FIRST_NS + 50 * HOUR_NS, BTC) is None
    assert known.at(FIRST_NS, Instrument("binance", "SOLUSDT", "SOL", "USDT")) is None


def test_a_dump_of_an_exchange_is_read_as_it_is(tmp_path: Path) -> None:
    columns = {
        "ts": pa.array([FIRST_NS // 10**6], pa.timestamp("ms", "UTC")),
        "address": ["0xabc"],
        "coin": ["BTC"],
        "direction": ["Short"],
        "position_value": [123.0],
        "liq_px": [99_000.0],
        "leverage": [20],
    }
    file = tmp_path / "dump.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    found = PositionSnapshots.read(file).at(FIRST_NS, BTC)
    assert found is not None
    assert (found.side.tolist(), found.notional_usd.tolist()) == ([1], [123.0])


def test_only_rows_that_count_need_a_time(tmp_path: Path) -> None:
    file = tmp_path / "positions.csv"
    file.write_text(OURS.replace("2026-03-01T00:05:00Z,b,BTC,short,700,", ",b,BTC,short,700,"))
    assert len(PositionSnapshots.read(file).time_ns) == 4
    file.write_text(file.read_text().replace("2026-03-01T00:05:00Z,c", ",c"))
    with pytest.raises(FileFormatError, match="row = 4: has no time"):
        PositionSnapshots.read(file)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("positions.txt", "", "must end in .parquet or .csv"),
        ("positions.csv", "time,account,market,side,notional_usd\n", "has no column liquidation_price_usd"),
        ("positions.csv", OURS.replace("short", "sideways"), "must be long or short"),
        ("positions.parquet", "not parquet", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(FileFormatError, match=said):
        PositionSnapshots.read(file)
