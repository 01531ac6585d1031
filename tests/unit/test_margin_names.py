"""What people mean by a symbol on a venue, and which kind of contract."""

from __future__ import annotations

from typing import Any

import pytest

from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.ladder_book import shipped_book
from forcedmove_server.margin.names import market_named
from forcedmove_server.margin.venues import VENUES, venue_named
from forcedmove_server.market.instruments import ContractType, Instrument
from tests.unit.margin_markets import every_market
from tests.unit.margin_questions import ask, price_of


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"venue": "mtgox"}, "unknown venue 'mtgox'; known: binance"),
        (
            {"venue": "binance", "symbol": "NOSUCHCOIN"},
            "unknown linear symbol of binance 'NOSUCHCOIN'.*state the maint",
        ),
        ({"venue": "okx", "symbol": "SOL"}, "unknown linear symbol of okx 'SOL'.*tiers update --venue okx"),
        ({"venue": "binance", "formula": "L9"}, "unknown formula 'L9'"),
    ],
)
def test_unknown_names(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UnknownNameError, match=told):
        ask(**fields)


def test_an_inverse_contract_given_as_linear() -> None:
    linear, inverse = ContractType.LINEAR, ContractType.INVERSE
    for fields in (
        {"venue": "bybit", "symbol": "BTCUSD", "contract": linear},
        {"venue": "gate", "symbol": "BTC_USD", "contract": linear},
        {"venue": "okx", "symbol": "BTC-USD-SWAP", "contract": linear},
        {"venue": "okx", "symbol": "BTC-USD", "contract": linear},
        {"venue": "kucoinfutures", "symbol": "XBTUSDM", "contract": linear},
        {"venue": "deribit", "symbol": "BTC-PERPETUAL", "contract": linear},
        {"venue": "krakenfutures", "symbol": "PI_XBTUSD", "contract": linear},
        {"venue": "krakenfutures", "symbol": "PF_XBTUSD", "contract": inverse},
        {"venue": "hyperliquid", "contract": inverse},
        {"venue": "binance", "symbol": "BTC/USD:BTC", "contract": linear},
        {"venue": "binance", "symbol": "BTC/USDT:USDT", "contract": inverse},
        {"venue": "binance", "symbol": "BTCUSDT", "contract": inverse},
        {"venue": "hyperliquid", "contract": inverse, "mmr": 0.01},
    ):
        with pytest.raises(InputError, match="contract"):
            ask(**fields)


@pytest.mark.parametrize("venue", [venue.name for venue in VENUES if venue.inverse])
def test_a_stated_rate_does_not_change_what_a_symbol_means(venue: str) -> None:
    """Plain dollars are the coin-margined contract; stating the rate of its own tier gives the same price."""
    symbol = "PI_XBTUSD" if venue == "krakenfutures" else "BTCUSD"
    own = ask(venue=venue, symbol=symbol, quantity=1_000.0, leverage=5.0)
    assert own.formula.startswith("I")
    again = ask(venue=venue, symbol=symbol, quantity=1_000.0, leverage=5.0, mmr=own.liquidation.maintenance_rate)
    assert again.liquidation.liquidation_price == pytest.approx(own.liquidation.liquidation_price, rel=1e-9)
    for contract in (ContractType.LINEAR, ContractType.INVERSE):
        if contract is ContractType.LINEAR:
            with pytest.raises(InputError, match="contract = 'linear'"):
                ask(venue=venue, symbol=symbol, contract=contract, mmr=0.01)
        else:
            assert ask(venue=venue, symbol=symbol, contract=contract, mmr=0.01).formula.startswith("I")


def test_a_symbol_that_nobody_knows_is_no_obstacle_to_a_stated_rate() -> None:
    assert ask(venue="hyperliquid", symbol="xyz:GOOGL", mmr=0.01).formula == "L1"
    assert ask(venue="hyperliquid", symbol="XYZ-GOOGL/USDC:USDC", mmr=0.01).formula == "L1"
    assert price_of(venue="hyperliquid", symbol="xyz:GOOGL", max_leverage=10.0, leverage=5.0) is not None
    with pytest.raises(InputError, match="longer than 40"):
        ask(venue="hyperliquid", symbol="A" * 1_000, mmr=0.01)


@pytest.mark.parametrize("venue", [venue.name for venue in VENUES])
def test_a_bare_base_means_the_linear_contract(venue: str) -> None:
    """The way most people ask, of all 22 venues."""
    found = ask(venue=venue, symbol="BTC", leverage=5.0)
    assert found.formula.startswith("L")
    assert ask(venue=venue, symbol="BTC", leverage=5.0, contract=ContractType.LINEAR).liquidation == found.liquidation
    stated = ask(venue=venue, symbol="BTC", leverage=5.0, mmr=found.liquidation.maintenance_rate)
    assert stated.formula == found.formula


@pytest.mark.parametrize(
    ("venue", "symbol", "formula"),
    [
        ("bybit", "BTCUSDH26", "I1"),
        ("kucoinfutures", "XBTMM26", "I2"),
        ("deribit", "BTC-27MAR26", "I1"),
        ("okx", "BTC-USD-260327", "I2"),
        ("binance", "BTCUSDT_260327", "L1"),
        ("krakenfutures", "FI_XBTUSD_260327", "I1"),
        ("gate", "BTC_USD_20260327", "I2"),
        ("gate", "BTC_USDT_20260327", "L1+fee"),
        ("htx", "BTC260327", "I1"),
        ("htx", "BTC_CQ", "I1"),
        ("okx", "BTC-USD_UM-SWAP", "L2"),
        ("binance", "BTC/USD", "I1"),
        ("okx", "BTC/USD", "I2"),
        ("krakenfutures", "BTC/USD", "L1"),
        ("dydx", "BTC/USD", "L1"),
        ("okx", "something-else", "L2"),
    ],
)
def test_symbols_beside_a_stated_rate(venue: str, symbol: str, formula: str) -> None:
    """They say the kind of contract, also where no ladder is known, as of futures with a date."""
    assert ask(venue=venue, symbol=symbol, leverage=2.0, mmr=0.01).formula == formula
    if "26" in symbol or symbol.endswith("_CQ"):
        with pytest.raises(UnknownNameError, match="with a date have ladders of their own"):
            ask(venue=venue, symbol=symbol, leverage=2.0)


@pytest.mark.parametrize("symbol", ["BTC", "btc", "BTCUSDT", "BTC/USDT:USDT", "BTC/USDT", "BTC-USDT", "XBT"])
def test_names_of_a_market(symbol: str) -> None:
    assert price_of(venue="binance", symbol=symbol) == price_of(venue="binance")


@pytest.mark.parametrize(
    ("venue", "symbol", "unified"),
    [
        ("binance", "TRX", "TRX/USDT:USDT"),
        ("binance", "XLM", "XLM/USDT:USDT"),
        ("binance", "ATOMUSDT", "ATOM/USDT:USDT"),
        ("binance", "BTCUSD", "BTC/USD:BTC"),
        ("binance", "1000PEPEUSDT", "1000PEPE/USDT:USDT"),
        ("kucoinfutures", "XBTUSDTM", "BTC/USDT:USDT"),
        ("kucoinfutures", "XBTUSDM", "BTC/USD:BTC"),
        ("krakenfutures", "PF_XBTUSD", "BTC/USD:USD"),
        ("krakenfutures", "PI_XBTUSD", "BTC/USD:BTC"),
        ("bitfinex", "tBTCF0:USTF0", "BTC/USDT:USDT"),
        ("okx", "BTC-USDT-SWAP", "BTC/USDT:USDT"),
        ("deribit", "BTC_USDC-PERPETUAL", "BTC/USDC:USDC"),
        ("deribit", "BTC-PERPETUAL", "BTC/USD:BTC"),
        ("dydx", "BTC-USD", "BTC/USDC:USDC"),
        ("paradex", "BTC-USD-PERP", "BTC/USD:USD"),
        ("paradex", "BTC/USD:USDC", "BTC/USD:USD"),
        ("bybit", "BTCPERP", "BTC/USDT:USDT"),
        ("bitget", "BTCUSD_CM", "BTC/USD:BTC"),
        ("cryptocom", "BTCUSD-PERP", "BTC/USD:USD"),
        ("hyperliquid", "kPEPE", "kPEPE/USDC:USDC"),
        ("bybit", "BTCUSD", "BTC/USD:BTC"),
        ("gate", "BTC_USDT", "BTC/USDT:USDT"),
        ("whitebit", "BTC_PERP", "BTC/USDT:USDT"),
    ],
)
def test_the_venues_own_ids(venue: str, symbol: str, unified: str) -> None:
    described = venue_named(venue)
    assert described is not None
    assert market_named(described, symbol, None, shipped_book()).unified == unified


def test_names_of_inverse_markets() -> None:
    for venue, symbol in (
        ("binance", "BTCUSD_PERP"),
        ("okx", "BTC-USD-SWAP"),
        ("deribit", "BTC-PERPETUAL"),
        ("krakenfutures", "PI_XBTUSD"),
    ):
        found = ask(venue=venue, symbol=symbol, contract=ContractType.INVERSE, quantity=1_000.0)
        assert found.formula.startswith("I"), venue
        assert found.liquidation == ask(venue=venue, contract=ContractType.INVERSE, quantity=1_000.0).liquidation
    assert ask(venue="binance", symbol="BTC/USD:BTC", quantity=1_000.0).formula == "I1"


@pytest.mark.parametrize("instrument", every_market(("BTC",)), ids=lambda i: i.key)
def test_the_listed_id_means_the_listed_contract(instrument: Instrument) -> None:
    """Of all 22 venues: found by its id, with the kind of contract it is, and refused as the other kind."""
    described = venue_named(instrument.venue)
    assert described is not None
    found = market_named(described, instrument.native_id, None, shipped_book())
    assert (found.base, found.contract_type) == ("BTC", instrument.contract_type)
    if instrument.native_id.upper() == "BTC":  # an id that says nothing but the base
        return
    other = ContractType.LINEAR if instrument.contract_type is ContractType.INVERSE else ContractType.INVERSE
    with pytest.raises(InputError, match="contract"):
        market_named(described, instrument.native_id, other, shipped_book())
