"""Positions from a file: what its columns mean, and that it is followed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
@pytest.mark.parametrize("text", [KNOWN, FULL])
def test_a_file_with_only_a_header_says_that_there_are_none(tmp_path: Path, text: str, name: str) -> None:
    path = written(tmp_path, text, "p.csv")
    if name.endswith(".parquet"):
        table = pyarrow.csv.read_csv(path).slice(0, 0)
        pyarrow.parquet.write_table(table, path.with_suffix(".parquet"))
        path = path.with_suffix(".parquet")
    else:
        path.write_text(text.splitlines(keepends=True)[0])
    assert read_positions(path) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty, without even a header"),
        ("\n", "is empty, without even a header"),
        ("market,side,liquid", r"line = 1: does not end in .*p\.csv"),
        ("market,side\n", "has no column liquidation_price_usd"),
        ("market,side,liquidation_price_usd\n", "has neither a column quantity nor notional_usd"),
        (FULL[:-20], "line = 3: does not end in"),
        (FULL[:-1], "line = 3: does not end in"),
        (FULL.rstrip("\n") + ",\n", "line = 3: has 10 fields in .*, and its header 9"),
        (FULL.replace("me,0.5,,90000,20,,2023-11-14T22:00:00Z", "me,0."), "line = 2: has 4 fields in"),
        ("x\x00y\n\x00", "line = 2: does not end"),
        ("\ufeff" + FULL, ""),
        (FULL.replace("\n", "\r\n"), ""),
        (FULL + "\n", ""),
    ],
)
def test_a_half_written_file_is_told_from_a_whole_one(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode())
    if not reason:
        assert len(read_positions(path)) == 2
        return
    with pytest.raises(FileFormatError, match=reason):
        read_positions(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(FULL) - 1))
def test_no_cut_file_tells_other_positions_than_whole_rows_of_it(tmp_path: Path, length: int) -> None:
    whole = read_positions(written(tmp_path, FULL))
    try:
        found = read_positions(written(tmp_path, FULL[:length], "cut.csv"))
    except FileFormatError:
        assert FULL[:length][-1:] != "\n"
    else:
        assert FULL[length - 1] == "\n"
        assert found == whole[: len(found)]


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, FULL, "p.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_positions(path)


def test_a_row_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.csv, row 3\.liquidation_price_usd = -1"):
        read_positions(written(tmp_path, KNOWN.replace("LONG,3000,", "LONG,3000,-1")))


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


MOMENTS = """\
time,market,side,quantity,liquidation_price_usd
{},binance:BTCUSDT,long,1,90000
,binance:BTCUSDT,short,1,110000
"""


@pytest.mark.parametrize(("first", "row"), [("2026-01-01T00:00:00Z", 2), ("1767225600000", 2), ("", 1)])
def test_a_missing_time_withdraws_nothing(tmp_path: Path, first: str, row: int) -> None:
    with pytest.raises(FileFormatError, match=rf"row = {row}: has no time in .*p\.csv"):
        read_positions(written(tmp_path, MOMENTS.format(first)))


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


class Followed:
    """A file that is followed every hundredth of a second, and what was told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[PositionChange] = []

    async def tell(self, change: PositionChange) -> PositionAck:
        self.told.append(change)
        return PositionAck(True, change.sequence, len(change.positions), 0, 0, 60.0)

    def sets(self) -> list[int]:
        return [len(change.positions) for change in self.told if change.replace]


async def test_the_last_good_set_stays_while_a_file_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file, "_LOOK_S", 0.01)
    followed = Followed(written(tmp_path, FULL))
    path = followed.path
    async with running(follow_file(str(path), followed.tell, max_age_s=0.2)):
        await eventually(lambda: followed.sets() == [2], "its positions")
        path.write_text(FULL[:-20])
        await eventually(lambda: "still cannot be used" in caplog.text, "that it is said again")
        (first, *_) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert "line = 3: does not end in" in first.message
        assert first.message.endswith("; what the file held before stays until it is too old")
        count = len(followed.told)
        await asyncio.sleep(0.15)
        assert len(followed.told) == count, "what nobody can read any more is not renewed"
        assert followed.sets() == [2]
        path.write_text(FULL.splitlines(keepends=True)[0])
        await eventually(lambda: followed.sets() == [2, 0], "that there are none")


async def test_a_file_that_is_being_written_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_LOOK_S", 0.02)
    monkeypatch.setattr(file, "_age_s", lambda stamp: 0.0)
    header, first, _ = FULL.splitlines(keepends=True)
    looks = iter([header, header + first, FULL])
    stamp, followed = file._stamp, Followed(written(tmp_path, header))

    def grows(path: Path) -> Any:
        if (text := next(looks, None)) is not None:
            path.write_text(text)
        return stamp(path)

    monkeypatch.setattr(file, "_stamp", grows)
    async with running(follow_file(str(followed.path), followed.tell, max_age_s=60)):
        await eventually(lambda: followed.told, "its positions")
        assert followed.sets() == [2]


async def test_a_file_that_never_rests_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_LOOK_S", 0.01)
    monkeypatch.setattr(file, "_age_s", lambda stamp: 0.0)
    stamp, followed = file._stamp, Followed(written(tmp_path, FULL))
    looks, is_read = 0, False

    def changes(path: Path) -> Any:  # whenever it is looked at, but not while it is read
        nonlocal looks, is_read
        looks, is_read = looks + (not is_read), False
        return *stamp(path), looks

    def reads(path: Path) -> Any:
        nonlocal is_read
        is_read = True
        return read_positions(path)

    monkeypatch.setattr(file, "_stamp", changes)
    monkeypatch.setattr(file, "read_positions", reads)
    async with running(follow_file(str(followed.path), followed.tell, max_age_s=60)):
        await eventually(lambda: followed.told, "its positions")
    assert looks > file._MOST_LOOKS


def _renew(path: Path, text: str) -> None:
    new: Any = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
