"""Aster's messages, one of each kind, written from its documentation; the wire itself is Binance's."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.records import Book, Liquidation, Mark, OpenInterest, Subscribed, Trade, Unlisted
from forcedmove_server.collectors.venues.aster import Aster
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Aster, "BTCUSDT", "ETHUSD1", "1000BONKUSDT")
BTC, ETH, BONK = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"stream":"ethusd1@aggTrade","data":{"e":"aggTrade","E":1790000000125,"s":"ETHUSD1","a":77,"p":"3010.50",'
    b'"q":"0.250","f":100,"l":102,"T":1790000000123,"m":false}}'
)
LIQUIDATION = (
    b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1790000000125,"o":{"s":"BTCUSDT","S":"BUY",'
    b'"o":"LIMIT","f":"IOC","q":"1.500","p":"61100","ap":"61000","X":"FILLED","l":"0.5","z":"1.500",'
    b'"T":1790000000123}}}'
)
SINGLE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1790000000125,"T":1790000000123,"s":"BTCUSDT","t":500,'
    b'"p":"60010.5","q":"0.250","X":"INSURANCE_FUND","m":true}}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    SINGLE.replace(b"INSURANCE_FUND", b"MARKET"),
    b'{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":1790000000123,"s":"1000BONKUSDT","p":"0.0125",'
    b'"P":"0.0125","i":"0.0125","r":"0.0001","T":1790003600000}]}',
    b'{"stream":"btcusdt@depth20@500ms","data":{"e":"depthUpdate","E":1790000000125,"T":1790000000123,'
    b'"s":"BTCUSDT","U":7,"u":9,"pu":6,"b":[["60000","3"]],"a":[["60000.1","5"]]}}',
    b'{"symbol":"BTCUSDT","openInterest":"6196.323","time":1790000000123}',
    b'{"result":null,"id":3}',
)


@pytest.fixture
def aster() -> Aster:
    return Aster(LISTINGS)


def test_every_kind_of_message(aster: Aster) -> None:
    assert aster.parse(TRADE) == [Trade(ETH, AT_NS, 3010.5, 0.25, 1, 77)]
    assert aster.parse(LIQUIDATION) == [Liquidation(BTC, AT_NS, 61000.0, 1.5, 1)]
    assert aster.parse(SAMPLES[2]) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 500)]
    assert aster.parse(SAMPLES[3]) == [Mark(BONK, AT_NS, 0.0125 / 1000)]
    assert aster.parse(SAMPLES[4]) == [Book(BTC, AT_NS, ((60000.0, 3.0),), ((60000.1, 5.0),), True, 9)]
    assert aster.parse(SAMPLES[5]) == [OpenInterest(BTC, AT_NS, 6196.323)]
    assert aster.parse(SAMPLES[6]) == [Subscribed(request_id=3)]


def test_trades_of_the_insurance_fund_are_left_out(aster: Aster) -> None:
    assert aster.parse(SINGLE) == []


def test_open_interest_is_polled_by_symbol(aster: Aster) -> None:
    (poll,) = aster.polls(ContractType.LINEAR, [ETH])
    assert poll.url == "https://fapi.asterdex.com/fapi/v3/openInterest?symbol=ETHUSD1"
    assert poll.native_ids == ("ETHUSD1",)


def test_the_venues_own_tests_are_no_markets(aster: Aster) -> None:
    assert Aster.describe("TESTUSDT") is None
    market = {"id": "TESTUSDT", "swap": True, "active": True, "base": "TEST", "quote": "USDT", "contractSize": 1.0}
    assert Aster.adopt(market) is None
    assert Aster.adopt({**market, "id": "SOLUSDT", "base": "SOL"}) is not None
    assert aster.parse(SINGLE.replace(b"BTCUSDT", b"TESTUSDT").replace(b"INSURANCE_FUND", b"MARKET")) == [
        Unlisted("TESTUSDT")
    ]


def test_bad_fields_are_named(aster: Aster) -> None:
    with pytest.raises(MalformedMessage, match="S = 'LONG'"):
        aster.parse(LIQUIDATION.replace(b'"S":"BUY"', b'"S":"LONG"'))
