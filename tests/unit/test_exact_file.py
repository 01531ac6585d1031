"""Positions from a file: what its columns mean, and that it is followed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from forcedmove_server.engine.exact import file
from forcedmove_server.engine.exact.file import FILE_PRODUCER, follow_file, read_positions
from forcedmove_server.errors import FileFormatError, InputError
from forcedmove_server.market.positions import ExactPosition, PositionAck, PositionChange, PositionKey
from tests.live.waiting import eventually, running

KNOWN = """\
ts,address,coin,side,position_value,liq_px
1700000000000,0xa,hyperliquid:BTC,long,1000,90000
1700090000000,0xa,hyperliquid:BTC,Short,-2500.5,120000
1700090600000,0xb,hyperliquid:BTC,LONG,3000,
"""
FULL = """\
market,side,account,quantity,notional_usd,liquidation_price_usd,leverage,entry_price_usd,opened_at
binance:BTCUSDT,long,me,0.5,,90000,20,,2023-11-14T22:00:00Z
binance:BTCUSD_PERP,short,,,30000,120000.5,,101000,
"""


def written(folder: Path, text: str, name: str = "p.csv") -> Path:
    path = folder / name
    path.write_text(text)
    if path.suffix == ".parquet":
        path.with_suffix(".csv").write_text(text)
        words = pyarrow.csv.ConvertOptions(column_types={"address": pa.string()})
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(path.with_suffix(".csv"), convert_options=words), path)
    return path


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_the_newest_snapshot_of_known_positions(tmp_path: Path, name: str) -> None:
    found = read_positions(written(tmp_path, KNOWN, name))
    assert found == (
        ExactPosition(PositionKey("0xa", "hyperliquid:BTC", 1), notional_usd=2500.5, liquidation_price_usd=120000.0),
        ExactPosition(PositionKey("0xb", "hyperliquid:BTC", 0), notional_usd=3000.0),
    )


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_what_else_may_be_known(tmp_path: Path, name: str) -> None:
    first, second = read_positions(written(tmp_path, FULL, name))
    assert first == ExactPosition(
        PositionKey("me", "binance:BTCUSDT", 0),
        quantity=0.5,
        liquidation_price_usd=90000.0,
        leverage=20.0,
        opened_at_ns=1_699_999_200 * 10**9,
    )
    assert (second.key, second.quantity, second.notional_usd) == (
        PositionKey("", "binance:BTCUSD_PERP", 1),
        None,
        30000.0,
    )
    assert (second.leverage, second.entry_price_usd, second.opened_at_ns) == (None, 101000.0, None)


def test_a_file_without_rows_has_no_positions(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pa.table({"market": pa.array([], pa.string())}), path)
    assert read_positions(path) == ()


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        (FULL.replace("long", "buy"), FileFormatError, "side = 'buy': must be long or short"),
        (FULL.replace("binance:BTCUSDT", "BTC"), FileFormatError, "market = 'BTC': must be a market's key"),
        (FULL.replace("market", "mkt"), FileFormatError, "has no column market"),
        (FULL.replace("liquidation_price_usd", "x"), FileFormatError, "has no column liquidation_price_usd"),
        (
            FULL.replace("quantity", "x").replace("notional_usd", "y"),
            FileFormatError,
            "has neither a column quantity nor notional_usd",
        ),
        (FULL.replace(",20,", ",-20,"), InputError, r"p\.csv, row 1\.leverage = -20"),
        (FULL.replace("30000", ""), InputError, r"p\.csv, row 2\.size"),
        (FULL.replace("me,0.5,,", "me,much,,"), FileFormatError, "quantity = .*must be numbers"),
        (FULL.replace("2023-11-14T22:00:00Z", "noon"), FileFormatError, "noon"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        read_positions(written(tmp_path, text))


async def test_a_file_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file, "_LOOK_S", 0.01)
    told: list[PositionChange] = []

    async def tell(change: PositionChange) -> PositionAck:
        told.append(change)
        return PositionAck(True, change.sequence, len(change.positions), 0, 0, 60.0)

    path = tmp_path / "p.csv"
    async with running(follow_file(str(path), tell, max_age_s=1.0)):
        await eventually(lambda: "No such file" in caplog.text, "that it is missing")
        assert not told
        _renew(path, FULL)
        await eventually(lambda: told, "its positions")
        assert (told[0].producer, told[0].replace, told[0].lenient) == (FILE_PRODUCER, True, True)
        assert not told[0].representative
        assert len(told[0].positions) == 2
        await eventually(lambda: len(told) > 1, "that it is still there")
        assert (told[1].positions, told[1].replace) == ((), False)
        count = len(told)
        _renew(path, FULL.replace("long", "buy"))
        await eventually(lambda: "must be long or short" in caplog.text, "what is wrong with it")
        _renew(path, FULL.partition("binance:BTCUSD_PERP")[0])
        await eventually(lambda: any(change.replace for change in told[count:]), "its new positions")
        assert [len(change.positions) for change in told[count:] if change.replace] == [1]
        assert [change.sequence for change in told] == sorted({change.sequence for change in told})


def _renew(path: Path, text: str) -> None:
    new: Any = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
