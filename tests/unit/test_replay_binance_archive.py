"""Binance's public archive: aggTrades, metrics, mark price bars; USD-M and COIN-M."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcedmove_server.errors import FileFormatError, InstrumentError
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource
from tests.unit.replay_samples import AGG_HEADER, DAY_MS, METRICS_HEADER, gathered, write

DAY = "2026-06-13"


def agg(identity: int, offset_ms: int, price: float = 100.0, quantity: float = 1.0, maker: str = "false") -> str:
    return f"{identity},{price},{quantity},1,1,{DAY_MS + offset_ms},{maker}\n"


def metric(minute: int, symbol: str, quantity: float, value: float) -> str:
    return f'{DAY} 00:{minute:02d}:00,{symbol},{quantity:.8f},{value:.8f},"","","",1.5\n'


def kline(minute: int, *bar: float) -> str:
    opened = DAY_MS + 60_000 * minute
    return f"{opened},{','.join(map(str, bar))},0,{opened + 59_999},0,60,0,0,0\n"


@pytest.mark.parametrize("ending", ["zip", "csv", "csv.gz"])
@pytest.mark.parametrize("header", ["", AGG_HEADER + "\n"])
def test_trades_with_and_without_header(tmp_path: Path, ending: str, header: str) -> None:
    text = header + agg(1, 0, 100.5, 0.25, "true") + agg(2, 7, 100.25, 2.0, "False")
    write(tmp_path / f"BTCUSDT-aggTrades-{DAY}.{ending}", text)
    source, registry = ReplaySource("r", tmp_path), InstrumentRegistry()
    rows = gathered(source, registry)["trades"]
    assert rows["time_ns"].tolist() == [DAY_MS * 10**6, (DAY_MS + 7) * 10**6]
    assert rows["price"].tolist() == [100.5, 100.25]
    assert rows["aggressor"].tolist() == [-1, 1]  # a buyer who was the maker: the taker sold
    assert registry[0].quantity_step == pytest.approx(0.01)
    assert registry[0].max_leverage == 125.0
    assert not source.defects.counts


def test_coin_margined_contracts_become_dollars(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSD_PERP-aggTrades-{DAY}.zip", agg(1, 0, 50_000.0, 3))
    write(tmp_path / f"BTCUSD_PERP-metrics-{DAY}.zip", METRICS_HEADER + "\n" + metric(5, "BTCUSD_PERP", 1000, 2.0))
    write(tmp_path / f"ETHUSD_PERP-aggTrades-{DAY}.zip", agg(1, 0, 2_000.0, 3))
    registry = InstrumentRegistry()
    found = gathered(ReplaySource("r", tmp_path), registry)
    assert found["trades"]["quantity"].tolist() == [300.0, 30.0]
    assert found["open_interest"]["quantity"].tolist() == [100_000.0]
    assert found["mark_prices"]["price"].tolist() == [50_000.0]
    assert registry[0].contract_type is ContractType.INVERSE
    assert (registry[0].contract_size, registry[0].unified) == (100.0, "BTC/USD:BTC")


def test_ids_tell_duplicates_and_gaps(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSDT-aggTrades-{DAY}.csv", agg(1, 0) + agg(2, 10) + agg(2, 10) + agg(6, 50) + agg(7, 60))
    write(tmp_path / "BTCUSDT-aggTrades-2026-06-14.csv", agg(6, 50) + agg(7, 60) + agg(8, 70) + agg(20, 90))
    source = ReplaySource("r", tmp_path)
    found = gathered(source)
    assert ((found["trades"]["time_ns"] // 10**6) - DAY_MS).tolist() == [0, 10, 50, 60, 70, 90]
    assert ((found["gaps"]["begin_ns"] // 10**6) - DAY_MS).tolist() == [10, 70]
    assert ((found["gaps"]["time_ns"] // 10**6) - DAY_MS).tolist() == [50, 90]
    assert dict(source.defects.counts) == {"trades.duplicate": 3, "trades.gap": 2}


def test_silence_is_no_gap_where_ids_are_complete(tmp_path: Path) -> None:
    lines = [agg(k, 1000 * k) for k in range(1, 100)] + [agg(100, 3_000_000)]
    write(tmp_path / f"BTCUSDT-aggTrades-{DAY}.csv", "".join(lines))
    source = ReplaySource("r", tmp_path)
    assert not len(gathered(source)["gaps"])
    assert not source.defects.counts


def test_bars_give_a_path_through_their_extremes(tmp_path: Path) -> None:
    folder = tmp_path / "markPriceKlines" / "BTCUSDT" / "1m"
    write(folder / f"BTCUSDT-1m-{DAY}.zip", kline(0, 10, 15, 9, 12) + kline(1, 12, 13, 8, 9) + kline(1, 12, 13, 8, 9))
    source = ReplaySource("r", tmp_path)
    rows = gathered(source)["mark_prices"]
    assert rows["price"].tolist() == [10, 9, 15, 12, 12, 13, 8, 9]  # a rise through the low, a fall through the high
    assert ((rows["time_ns"] // 10**6) - DAY_MS).tolist()[:4] == [0, 19_999, 39_999, 59_999]
    assert dict(source.defects.counts) == {"mark_prices.duplicate": 1}


def test_bar_that_cannot_be(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSDT-markPriceKlines-1m-{DAY}.csv", kline(0, 10, 9, 15, 12) + kline(1, 10, 11, 9, 10))
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["mark_prices"]) == 4
    assert dict(source.defects.counts) == {"mark_prices.bad_bar": 1}


def test_candles_of_last_prices_are_not_mark_prices(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSDT-1m-{DAY}.zip", kline(0, 10, 15, 9, 12))
    with pytest.raises(FileFormatError, match="none of 1 files"):
        ReplaySource("r", tmp_path)


def test_metrics_price_gives_way_to_mark_bars(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSDT-metrics-{DAY}.csv", METRICS_HEADER + "\n" + metric(0, "BTCUSDT", 2.5, 250.0))
    assert gathered(ReplaySource("r", tmp_path))["mark_prices"]["price"].tolist() == [100.0]
    write(tmp_path / f"BTCUSDT-markPriceKlines-1m-{DAY}.csv", kline(0, 101, 101, 101, 101))
    assert gathered(ReplaySource("r", tmp_path))["mark_prices"]["price"].tolist() == [101.0] * 4


def test_metrics_defects(tmp_path: Path) -> None:
    text = (
        METRICS_HEADER
        + "\n"
        + metric(0, "BTCUSDT", 2.5, 250.0)
        + metric(0, "BTCUSDT", 2.5, 250.0)
        + metric(5, "ETHUSDT", 2.5, 250.0)
        + metric(10, "BTCUSDT", 0, 0)
        + metric(15, "BTCUSDT", -1, 5)
        + "yesterday,BTCUSDT,1,1,,,,\n"
    )
    write(tmp_path / f"BTCUSDT-metrics-{DAY}.zip", text)
    source = ReplaySource("r", tmp_path)
    assert gathered(source)["open_interest"]["quantity"].tolist() == [2.5, 0.0]
    assert dict(source.defects.counts) == {
        "open_interest.duplicate": 1,
        "open_interest.other_symbol": 1,
        "open_interest.zero": 1,
        "open_interest.bad_quantity": 1,
        "open_interest.bad_time": 1,
    }


def test_coin_margined_numbers_under_a_linear_name(tmp_path: Path) -> None:
    write(tmp_path / f"BTCUSDT-aggTrades-{DAY}.zip", "".join(agg(k, 1000 * k, 50_000.0) for k in range(1, 400)))
    write(tmp_path / f"BTCUSDT-metrics-{DAY}.zip", METRICS_HEADER + "\n" + metric(5, "BTCUSDT", 1_000_000, 2000.0))
    with pytest.raises(InstrumentError, match=r"linear or inverse\?"):
        gathered(ReplaySource("r", tmp_path))


def test_zip_cut_in_the_middle(tmp_path: Path) -> None:
    rows = [agg(k, 10 * k, 100 + k % 13, (k * 7919 % 10007) / 1000 + 0.001) for k in range(1, 20_000)]
    path = write(tmp_path / f"BTCUSDT-aggTrades-{DAY}.zip", "".join(rows))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    source = ReplaySource("r", tmp_path)
    found = gathered(source)
    assert 5_000 < len(found["trades"]) < 15_000
    assert source.defects.counts["file.truncated"] == 1
    assert not len(found["gaps"])


def test_half_a_last_line_of_a_plain_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / f"BTCUSDT-aggTrades-{DAY}.csv"
    path.write_text(agg(1, 0) + agg(2, 1).rstrip("\n"))
    source = ReplaySource("r", tmp_path)
    assert len(gathered(source)["trades"]) == 1
    assert dict(source.defects.counts) == {"trades.half_line": 1}
    assert source.defects.samples["trades.half_line"] == f"{path}:2"


def test_refused_files(tmp_path: Path) -> None:
    path = tmp_path / f"BTCUSDT-aggTrades-{DAY}.csv"
    path.write_text("1,100.0,1,1,1,1781308800000,true,true\n")
    with pytest.raises(FileFormatError, match=r"columns = 8: aggTrades has 7 \(a spot file"):
        ReplaySource("r", path)
    write(tmp_path / "x" / f"ETHBTC-aggTrades-{DAY}.csv", agg(1, 0))
    with pytest.raises(InstrumentError, match="quote"):
        ReplaySource("r", tmp_path / "x")
