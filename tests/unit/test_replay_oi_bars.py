"""Open-interest bars, and the check that catches an inverse market taken for a linear one."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcedmove_server.errors import FileFormatError, InstrumentError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource
from tests.unit.replay_samples import DAY_MS, gathered, trade, trades_file, write


def bars(rows: list[tuple[float, float]]) -> str:
    lines = [f"{DAY_MS + 300_000 * k},{oi},{usd}" for k, (oi, usd) in enumerate(rows)]
    return "t,oi,oi_usd\n" + "\n".join(lines) + "\n"


def test_open_interest_and_its_price(tmp_path: Path) -> None:
    write(tmp_path / "BTC_oi_5m.csv.gz", bars([(2.5, 250.0), (3.125, 343.75)]))
    write(tmp_path / "BTC_funding.csv.gz", "ts,rate\n1,2\n")
    source, registry = ReplaySource("r", tmp_path), InstrumentRegistry()
    found = gathered(source, registry)
    assert found["open_interest"]["quantity"].tolist() == [2.5, 3.125]
    assert found["mark_prices"]["price"].tolist() == [100.0, 110.0]
    assert registry[0].key == "binance:BTCUSDT"
    assert registry[0].quantity_step == pytest.approx(0.001)
    assert dict(source.defects.counts) == {"file.ignored": 1}  # funding is not read, and that is said


def test_zero_negative_and_nan(tmp_path: Path) -> None:
    path = write(tmp_path / "BTC_oi_5m.csv.gz", bars([(2.0, 200.0), (0.0, 0.0), (-2.0, 200.0), (float("nan"), 1.0)]))
    source = ReplaySource("r", tmp_path)
    found = gathered(source)
    assert found["open_interest"]["quantity"].tolist() == [2.0, 0.0]
    assert found["mark_prices"]["price"].tolist() == [100.0]
    assert dict(source.defects.counts) == {"open_interest.zero": 1, "open_interest.bad_quantity": 2}
    assert source.defects.samples["open_interest.bad_quantity"] == f"{path}:4"


def test_unparsable_line_does_not_take_its_block_with_it(tmp_path: Path) -> None:
    text = bars([(2.0, 200.0)]) + "oops,1,2\n1,2\n" + f"{DAY_MS + 600_000},3,300\n"
    path = write(tmp_path / "BTC_oi_5m.csv.gz", text)
    source = ReplaySource("r", tmp_path)
    assert gathered(source)["open_interest"]["quantity"].tolist() == [2.0, 3.0]
    assert dict(source.defects.counts) == {"open_interest.unparsable": 2}
    assert source.defects.samples["open_interest.unparsable"] == f"{path}:3"


def test_another_header_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "BTC_oi_5m.csv", "time,oi,oi_usd\n1,2,3\n")
    with pytest.raises(FileFormatError, match=r"header = 'time,oi,oi_usd'.*expected t,oi,oi_usd"):
        ReplaySource("r", tmp_path)


def test_value_in_coins_taken_for_dollars_is_refused(tmp_path: Path) -> None:
    trades_file(tmp_path, [trade(k * 1000, 60_000.0) for k in range(400)])
    write(tmp_path / "BTC_oi_5m.csv", bars([(5_000_000.0, 8_000.0), (5_000_001.0, 8_000.0)]))
    with pytest.raises(InstrumentError, match="BTC trades at 60000"):
        gathered(ReplaySource("r", tmp_path))


def test_hole_in_the_cadence_is_announced(tmp_path: Path) -> None:
    lines = [f"{DAY_MS + 300_000 * k},10,1000" for k in (*range(8), *range(20, 24))]
    write(tmp_path / "BTC_oi_5m.csv", "t,oi,oi_usd\n" + "\n".join(lines) + "\n")
    source = ReplaySource("r", tmp_path)
    gaps = gathered(source)["gaps"]
    assert ((gaps["begin_ns"] - DAY_MS * 10**6) // (300 * 10**9)).tolist() == [7, 7]
    assert ((gaps["time_ns"] - DAY_MS * 10**6) // (300 * 10**9)).tolist() == [20, 20]
    assert dict(source.defects.counts) == {"open_interest.gap": 1, "mark_prices.gap": 1}
