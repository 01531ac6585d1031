"""Instruments, the registry that numbers them, and the width of a bin."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.errors import InstrumentError, UnknownNameError
from forcedmove_server.market.instruments import (
    ContractType,
    Instrument,
    InstrumentRegistry,
    bin_width_usd,
)


def linear(venue: str = "binance", native_id: str = "BTCUSDT", base: str = "BTC", quote: str = "USDT") -> Instrument:
    return Instrument(venue, native_id, base, quote)


def inverse(venue: str = "binance", native_id: str = "BTCUSD_PERP") -> Instrument:
    return Instrument(venue, native_id, "BTC", "USD", ContractType.INVERSE, contract_size=100.0, quantity_step=100.0)


@pytest.fixture
def registry() -> InstrumentRegistry:
    return InstrumentRegistry(
        [
            linear(),
            linear("bybit"),
            inverse(),
            linear("hyperliquid", "ETH", "ETH", "USDC"),
            linear("hyperliquid", "kPEPE", "kPEPE", "USDC"),
        ]
    )


@pytest.mark.parametrize(
    ("typed", "markets"),
    [
        ("BTC", [0, 1, 2]),
        ("btc", [0, 1, 2]),
        ("  Btc ", [0, 1, 2]),
        ("binance:BTCUSDT", [0]),
        ("BINANCE:btcusdt", [0]),
        ("btcusdt ", [0, 1]),
        ("BTC/USDT:USDT", [0, 1]),
        ("BTC/USD:BTC", [2]),
        ("eth/usdc:usdc", [3]),
        ("kpepe", [4]),
    ],
)
def test_names_that_people_type(registry: InstrumentRegistry, typed: str, markets: list[int]) -> None:
    assert registry.resolve(typed) == markets


@pytest.mark.parametrize("typed", ["", "BTCUSD ", "DOGE", "binance", "BTC/USDT"])
def test_names_that_mean_nothing_say_what_is_known(registry: InstrumentRegistry, typed: str) -> None:
    with pytest.raises(UnknownNameError, match="BTC, ETH, kPEPE"):
        registry.resolve(typed)


def test_an_index_never_changes(registry: InstrumentRegistry) -> None:
    assert registry.add(linear()) == 0
    assert registry.add(linear("okx", "BTC-USDT-SWAP")) == 5
    assert registry.index_of("okx:BTC-USDT-SWAP") == 5
    assert registry[5].venue == "okx"
    assert len(registry) == 6
    assert [i.venue for i in registry][:2] == ["binance", "bybit"]
    assert registry.symbols() == ["BTC", "ETH", "kPEPE"]
    assert registry.venues() == ["binance", "bybit", "hyperliquid", "okx"]
    assert registry.markets_of("BTC") == [0, 1, 2, 5]
    with pytest.raises(UnknownNameError, match="unknown market"):
        registry.index_of("okx:BTC")


def test_the_same_key_described_differently_is_refused(registry: InstrumentRegistry) -> None:
    with pytest.raises(InstrumentError, match="registered twice, differently"):
        registry.add(Instrument("binance", "BTCUSDT", "BTC", "USDT", max_leverage=20))


def test_threads_may_add_at_once() -> None:
    registry = InstrumentRegistry()
    described = [linear(native_id=f"C{k}USDT", base=f"C{k}") for k in range(200)]

    def add_all() -> None:
        for instrument in described:
            registry.add(instrument)

    threads = [threading.Thread(target=add_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry) == 200
    assert all(registry[registry.index_of(i.key)] == i for i in described)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("venue", ""),
        ("native_id", ""),
        ("base", ""),
        ("quote", ""),
        ("quote", "EUR"),
        ("contract_size", 0.0),
        ("contract_size", -1.0),
        ("quantity_step", math.nan),
        ("quantity_step", math.inf),
        ("price_step", 0.0),
        ("max_leverage", 0.5),
        ("max_leverage", math.nan),
    ],
)
def test_values_that_cannot_be(field: str, value: object) -> None:
    good = {"venue": "binance", "native_id": "BTCUSDT", "base": "BTC", "quote": "USDT"}
    with pytest.raises(InstrumentError) as caught:
        Instrument(**(good | {field: value}))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.value is value


@pytest.mark.parametrize(
    ("venue", "native_id"),
    [
        ("binance", "BTCUSD_PERP"),
        ("binance", "ETHUSD_260327"),
        ("bybit", "BTCUSD"),
        ("bybit", "BTCUSDH26"),
        ("okx", "BTC-USD-SWAP"),
        ("okx", "BTC-USD-260327"),
        ("deribit", "BTC-PERPETUAL"),
        ("deribit", "ETH-27MAR26"),
        ("krakenfutures", "PI_XBTUSD"),
        ("krakenfutures", "fi_xbtusd_260327"),
    ],
)
def test_an_inverse_contract_described_as_linear_is_refused(venue: str, native_id: str) -> None:
    with pytest.raises(InstrumentError, match="is an inverse contract"):
        linear(venue, native_id, quote="USD")
    assert inverse(venue, native_id).contract_type is ContractType.INVERSE


@pytest.mark.parametrize(
    ("venue", "native_id"),
    [
        ("binance", "BTCUSDT"),
        ("binance", "BTCUSDC"),
        ("bybit", "BTCUSDT"),
        ("bybit", "BTCPERP"),
        ("okx", "BTC-USDT-SWAP"),
        ("deribit", "BTC_USDC-PERPETUAL"),
        ("krakenfutures", "PF_XBTUSD"),
    ],
)
def test_linear_contracts_with_similar_names_are_accepted(venue: str, native_id: str) -> None:
    assert linear(venue, native_id).contract_type is ContractType.LINEAR


def test_notional() -> None:
    assert linear().notional_usd(2.0, 97_500.0) == 195_000.0
    assert inverse().notional_usd(2_000.0, 97_500.0) == 2_000.0


@pytest.mark.parametrize(
    ("symbol", "price", "width"),
    [
        ("BTC", 97_500.0, 50.0),
        ("BTC", 20_000.0, 50.0),
        ("ETH", 3_400.0, 2.0),
        ("SOL", 190.0, 0.1),
        ("XRP", 2.4, 0.001),
        ("DOGE", 0.35, 0.0002),
        ("PEPE", 1e-5, 5e-9),
        ("GOLD", 2_000.0, 1.0),
    ],
)
def test_bin_widths(symbol: str, price: float, width: float) -> None:
    assert bin_width_usd(symbol, price) == pytest.approx(width, rel=1e-12)


@given(st.floats(1e-8, 1e7))
def test_a_bin_is_the_nearest_1_2_5_step_to_5_bp(price: float) -> None:
    width = bin_width_usd("ANY", price)
    assert 5 / 1.6 < width / price * 1e4 < 5 * 1.6
    mantissa = float(f"{width:e}".split("e")[0])
    assert mantissa in (1.0, 2.0, 5.0)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_a_bin_needs_a_price(price: float) -> None:
    with pytest.raises(InstrumentError, match="price"):
        bin_width_usd("BTC", price)
