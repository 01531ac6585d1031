"""Tardis CSV: columns, units per exchange, sides, grouped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from forcedmove_server.errors import FileFormatError, InstrumentError, UnknownNameError
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.sources.replay import ReplaySource
from tests.unit.replay_samples import DAY_MS, TARDIS, gathered, write

DAY_US = DAY_MS * 1000
TRADES = f"{TARDIS},id,side,price,amount"
TICKER = (
    f"{TARDIS},funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
)


def stamped(exchange: str, symbol: str, offset_us: int, rest: str) -> str:
    return f"{exchange},{symbol},{DAY_US + offset_us},{DAY_US + offset_us + 250},{rest}\n"


def trades(folder: Path, exchange: str, symbol: str, *rests: str, kind: str = "trades") -> Path:
    text = TRADES + "\n" + "".join(stamped(exchange, symbol, 10 * k, rest) for k, rest in enumerate(rests))
    return write(folder / f"{exchange}_{kind}_2026-06-13_{symbol}.csv.gz", text)


def replayed(folder: Path, **arguments: Any) -> tuple[dict[str, npt.NDArray[Any]], InstrumentRegistry, ReplaySource]:
    source, registry = ReplaySource("r", folder, **arguments), InstrumentRegistry()
    return gathered(source, registry), registry, source


def test_trades(tmp_path: Path) -> None:
    trades(tmp_path, "binance-futures", "BTCUSDT", "1,buy,100.5,0.25", "2,sell,100.4,1", "3,unknown,100.4,1")
    found, registry, source = replayed(tmp_path)
    rows = found["trades"]
    assert rows["time_ns"].tolist() == [(DAY_US + 10 * k) * 1000 for k in range(3)]
    assert (rows["received_ns"] - rows["time_ns"]).tolist() == [250_000] * 3
    assert rows["aggressor"].tolist() == [1, -1, 0]
    assert rows["quantity"].tolist() == [0.25, 1.0, 1.0]
    assert registry[0].unified == "BTC/USDT:USDT"
    assert dict(source.defects.counts) == {"trades.unknown_side": 1}  # delivered: the venue does not say


@pytest.mark.parametrize(
    ("exchange", "symbol", "key", "unified", "amount", "quantity"),
    [
        ("binance-futures", "ETHUSDC", "binance:ETHUSDC", "ETH/USDC:USDC", 2, 2.0),
        ("binance-delivery", "BTCUSD_PERP", "binance:BTCUSD_PERP", "BTC/USD:BTC", 3, 300.0),
        ("binance-delivery", "ETHUSD_260925", "binance:ETHUSD_260925", "ETH/USD:ETH", 3, 30.0),
        ("bybit", "BTCUSDT", "bybit:BTCUSDT", "BTC/USDT:USDT", 2, 2.0),
        ("bybit", "BTCUSD", "bybit:BTCUSD", "BTC/USD:BTC", 500, 500.0),
        ("okex-swap", "BTC-USDT-SWAP", "okx:BTC-USDT-SWAP", "BTC/USDT:USDT", 200, 2.0),
        ("okex-swap", "BTC-USD-SWAP", "okx:BTC-USD-SWAP", "BTC/USD:BTC", 5, 500.0),
        ("okex-futures", "ETH-USD-260925", "okx:ETH-USD-260925", "ETH/USD:ETH", 5, 50.0),
        ("deribit", "BTC-PERPETUAL", "deribit:BTC-PERPETUAL", "BTC/USD:BTC", 1000, 1000.0),
        ("deribit", "SOL_USDC-PERPETUAL", "deribit:SOL_USDC-PERPETUAL", "SOL/USDC:USDC", 10, 10.0),
        ("bitfinex-derivatives", "BTCF0:USTF0", "bitfinex:BTCF0:USTF0", "BTC/UST:UST", 1, 1.0),
        ("cryptofacilities", "PF_XBTUSD", "krakenfutures:PF_XBTUSD", "BTC/USD:USD", 1, 1.0),
        ("cryptofacilities", "PI_XBTUSD", "krakenfutures:PI_XBTUSD", "BTC/USD:BTC", 700, 700.0),
        ("huobi-dm-linear-swap", "BTC-USDT", "htx:BTC-USDT", "BTC/USDT:USDT", 1000, 0.5),
        ("huobi-dm-swap", "BTC-USD", "htx:BTC-USD", "BTC/USD:BTC", 4, 200.0),
        ("gate-io-futures", "BTC_USDT", "gate:BTC_USDT", "BTC/USDT:USDT", 10_000, 1.0),
        ("gate-io-futures", "BTC_USD", "gate:BTC_USD", "BTC/USD:BTC", 70, 70.0),
        ("bitget-futures", "BTCUSDT", "bitget:BTCUSDT", "BTC/USDT:USDT", 1, 1.0),
        ("hyperliquid", "SOL", "hyperliquid:SOL", "SOL/USDC:USDC", 1, 1.0),
        ("phemex", "BTCUSDT", "phemex:BTCUSDT", "BTC/USDT:USDT", 1, 1.0),
        ("dydx-v4", "BTC-USD", "dydx:BTC-USD", "BTC/USD:USD", 1, 1.0),
        ("kucoin-futures", "XBTUSDTM", "kucoinfutures:XBTUSDTM", "BTC/USDT:USDT", 1000, 1.0),
    ],
)
def test_units_of_each_exchange(
    tmp_path: Path, exchange: str, symbol: str, key: str, unified: str, amount: float, quantity: float
) -> None:
    trades(tmp_path, exchange, symbol, f"1,buy,100,{amount}")
    found, registry, _ = replayed(tmp_path)
    assert found["trades"]["quantity"].tolist() == [pytest.approx(quantity)]
    assert (registry[0].key, registry[0].unified) == (key, unified)
    assert (registry[0].contract_type is ContractType.INVERSE) == unified.endswith(f":{registry[0].base}")


def test_liquidation_side_is_that_of_the_closing_order(tmp_path: Path) -> None:
    trades(tmp_path, "bybit", "BTCUSDT", ",buy,100,2", ",sell,100,3", ",unknown,100,4", kind="liquidations")
    found, _, source = replayed(tmp_path)
    assert found["liquidations"]["side"].tolist() == [1, 0]  # a forced buy closes a short
    assert found["liquidations"]["quantity"].tolist() == [2.0, 3.0]
    assert dict(source.defects.counts) == {"liquidations.unknown_side": 1}


def test_htx_counts_both_sides_of_trades_and_open_interest_but_not_of_liquidations(tmp_path: Path) -> None:
    trades(tmp_path, "huobi-dm-linear-swap", "BTC-USDT", ",sell,100,7", kind="liquidations")
    assert replayed(tmp_path)[0]["liquidations"]["quantity"].tolist() == [pytest.approx(0.007)]
    text = TICKER + "\n" + stamped("huobi-dm-linear-swap", "BTC-USDT", 0, ",0.0001,,5000,100,100,100.5")
    (tmp_path / "ticker").mkdir()
    write(tmp_path / "ticker" / "huobi-dm-linear-swap_derivative_ticker_2026-06-13_BTC-USDT.csv", text)
    assert replayed(tmp_path / "ticker")[0]["open_interest"]["quantity"].tolist() == [2.5]


def test_bitget_liquidations_are_in_quote_value(tmp_path: Path) -> None:
    trades(tmp_path, "bitget-futures", "BTCUSDT", ",buy,100,250", kind="liquidations")
    assert replayed(tmp_path)[0]["liquidations"]["quantity"].tolist() == [2.5]


def test_derivative_ticker(tmp_path: Path) -> None:
    text = (
        TICKER
        + "\n"
        + stamped("okex-swap", "BTC-USDT-SWAP", 0, ",0.0001,,5000,100,100,100.5")
        + stamped("okex-swap", "BTC-USDT-SWAP", 10, ",0.0001,,,100,100,100.6")
        + stamped("okex-swap", "BTC-USDT-SWAP", 20, ",0.0001,,-4,100,100,-1")
    )
    write(tmp_path / "okex-swap_derivative_ticker_2026-06-13_BTC-USDT-SWAP.csv", text)
    found, _, source = replayed(tmp_path)
    assert found["open_interest"]["quantity"].tolist() == [50.0]
    assert found["mark_prices"]["price"].tolist() == [100.5, 100.6]
    assert dict(source.defects.counts) == {"open_interest.bad_quantity": 1, "mark_prices.bad_price": 1}


def test_book_snapshot(tmp_path: Path) -> None:
    levels = ",".join(
        f"{side}[{k}].{what}" for k in range(2) for side in ("asks", "bids") for what in ("price", "amount")
    )
    text = f"{TARDIS},{levels}\n" + stamped("binance-delivery", "BTCUSD_PERP", 0, "101,1,100,2,102,3,,")
    write(tmp_path / "binance-delivery" / "book_snapshot_5" / "2026" / "06" / "13" / "BTCUSD_PERP.csv.gz", text)
    rows = replayed(tmp_path)[0]["depth"]
    assert rows["side"].tolist() == [0, 1, 1]
    assert rows["price"].tolist() == [100.0, 101.0, 102.0]
    assert rows["quantity"].tolist() == [200.0, 100.0, 300.0]


def test_repeated_ids_are_dropped(tmp_path: Path) -> None:
    trades(tmp_path, "bybit", "BTCUSDT", "a,buy,100,1", "b,buy,100,1", "a,buy,100,1", ",buy,100,1", ",buy,100,1")
    found, _, source = replayed(tmp_path)
    assert len(found["trades"]) == 4  # without an id, identical rows are separate trades
    assert dict(source.defects.counts) == {"trades.duplicate": 1}


@pytest.mark.parametrize(
    ("rest", "defect"),
    [
        ("2,up,100,1", "trades.bad_side"),
        ("2,buy,nan,1", "trades.bad_price"),
        ("2,buy,100,-1", "trades.bad_quantity"),
        ("2,buy,100", "trades.unparsable"),
        ("2,buy,1e,1", "trades.unparsable"),
    ],
)
def test_unusable_row(tmp_path: Path, rest: str, defect: str) -> None:
    path = trades(tmp_path, "bybit", "BTCUSDT", "1,buy,100,1", rest, "3,buy,100,1")
    found, _, source = replayed(tmp_path)
    assert len(found["trades"]) == 2
    assert dict(source.defects.counts) == {defect: 1}
    assert source.defects.samples[defect] == f"{path}:3"


def test_grouped_file_and_names_below_its_first_lines(tmp_path: Path) -> None:
    lines = [stamped("binance-futures", "BTCUSDT", k, f"{k + 1},buy,100,1") for k in range(3000)]
    lines.append(stamped("binance-futures", "ETHUSDT", 3000, "1,buy,10,5"))
    lines.append(stamped("binance-futures", "BTCUSDT_261225-C", 3000, "9,buy,10,5"))
    write(tmp_path / "binance-futures_trades_2026-06-13_PERPETUALS.csv.gz", TRADES + "\n" + "".join(lines))
    found, registry, source = replayed(tmp_path)
    assert [instrument.key for instrument in registry] == ["binance:BTCUSDT", "binance:ETHUSDT"]
    assert found["trades"]["market"].tolist() == [0] * 3000 + [1]
    assert dict(source.defects.counts) == {"trades.not_a_dollar_future": 1}
    found, registry, _ = replayed(tmp_path, symbols=["ETH"])
    assert [instrument.key for instrument in registry] == ["binance:ETHUSDT"]
    assert found["trades"]["quantity"].tolist() == [5.0]
    with pytest.raises(UnknownNameError, match=r"unknown symbol 'XRP'; known: BTC, ETH"):
        replayed(tmp_path, symbols=["XRP"])


def test_contract_size_that_is_not_known_must_be_given(tmp_path: Path) -> None:
    trades(tmp_path, "okex-swap", "NEW-USDT-SWAP", "1,buy,100,20")
    with pytest.raises(InstrumentError, match=r"okx:NEW-USDT-SWAP: contract_size = None"):
        ReplaySource("r", tmp_path)
    found = replayed(tmp_path, contract_sizes={"okx:NEW-USDT-SWAP": 10.0})[0]
    assert found["trades"]["quantity"].tolist() == [200.0]


def test_day_without_liquidations(tmp_path: Path) -> None:
    trades(tmp_path, "bybit", "BTCUSDT", "1,buy,100,1")
    trades(tmp_path, "bybit", "BTCUSDT", kind="liquidations")
    write(tmp_path / "deribit" / "liquidations" / "2026" / "06" / "13" / "PERPETUALS.csv.gz", TRADES + "\n")
    found, _, source = replayed(tmp_path)
    assert len(found["trades"]) == 1
    assert dict(source.defects.counts) == {"file.no_rows": 2}


def test_refused_files(tmp_path: Path) -> None:
    trades(tmp_path / "a", "nowhere", "BTCUSDT", "1,buy,100,1")
    with pytest.raises(FileFormatError, match="exchange = 'nowhere': not mapped"):
        ReplaySource("r", tmp_path / "a")
    write(tmp_path / "b" / "bybit_trades_2026-06-13_BTCUSDT.csv", f"{TARDIS},price\nbybit,BTCUSDT,1,1,1\n")
    with pytest.raises(FileFormatError, match="missing id, side, amount"):
        ReplaySource("r", tmp_path / "b")
    write(tmp_path / "c" / "some.csv", TRADES + "\n" + stamped("bybit", "BTCUSDT", 0, "1,buy,100,1"))
    with pytest.raises(FileFormatError, match="trades and liquidations have the same columns"):
        ReplaySource("r", tmp_path / "c")
