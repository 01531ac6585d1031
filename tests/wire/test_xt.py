"""XT.COM's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import math
from unittest.mock import ANY

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterest,
    Pong,
    Refused,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.xt import Xt
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Xt, "btc_usdt", "btc_usd", "eth_usdt")
BTC, INVERSE, ETHER = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"topic":"trade","event":"trade@btc_usdt","data":{"s":"btc_usdt","p":"60010.5","a":"2500","m":"ASK",'
    b'"t":1790000000123}}'
)
MARK = b'{"topic":"mark_price","event":"mark_price@btc_usdt","data":{"s":"btc_usdt","p":"60000.1","t":1790000000123}}'
BOOK = (
    b'{"topic":"depth","event":"depth@btc_usdt,20","data":{"s":"btc_usdt","id":"16034","a":[["60001","10000"]],'
    b'"b":[["60000","5000"]],"t":1790000000123}}'
)
CONTRACTS = (
    b'[{"symbol":"btc_usdt","contractSize":0.0001,"open_interest":"20000000"},{"symbol":"btc_usd","contractSize":100,'
    b'"open_interest":"700"}]'
)
OPEN_INTEREST = (
    b'{"returnCode":0,"msgInfo":"success","error":null,"result":{"symbol":"eth_usdt","openInterest":"21005.5",'
    b'"openInterestUsd":"60000000","time":1790000000123}}'
)
TICKERS = (
    b'{"returnCode":0,"msgInfo":"success","error":null,"result":[{"s":"btc_usdt","t":1790000000123,"i":"60001",'
    b'"m":"60000.1","a":"5"},{"s":"btc_usdt","t":1790000000123,"p":"60010.5","a":"2500","m":"BID"}]}'
)
ACK = b'{"code":0,"msg":"success","id":"3","sessionId":"rs-1"}'
#: what the fuzzer starts from
SAMPLES = (TRADE, MARK, BOOK, CONTRACTS, OPEN_INTEREST, TICKERS, ACK, b"pong")


@pytest.fixture
def xt() -> Xt:
    return Xt(LISTINGS)


def test_trades_count_contracts(xt: Xt) -> None:
    assert xt.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, ANY)]
    (inverse,) = xt.parse(TRADE.replace(b"btc_usdt", b"btc_usd").replace(b"ASK", b"BID"))
    assert inverse == Trade(INVERSE, AT_NS, 60010.5, 250_000.0, 1, ANY)


def test_ids_are_read() -> None:
    pepe, kaspa = Xt.describe("1000pepe_usdt"), Xt.describe("kas_usdt")
    assert pepe is not None
    assert kaspa is not None
    assert (pepe.instrument.symbol, pepe.units, kaspa.instrument.symbol) == ("PEPE", 1000.0, "KAS")
    assert math.isnan(pepe.contract)  # nobody said how much a contract is
    assert Xt.describe("BTC-USDT") is None


def test_delisted_markets_are_left_out() -> None:
    market = {"id": "btc_usdt", "baseId": "btc", "quote": "USDT", "swap": True, "active": True, "contractSize": 0.0001}
    adopted = Xt.adopt({**market, "info": {"tradeSwitch": True}})
    assert adopted is not None
    assert adopted.contract == 0.0001
    assert Xt.adopt({**market, "info": {"tradeSwitch": False}}) is None


def test_marks_and_books(xt: Xt) -> None:
    assert xt.parse(MARK) == [Mark(BTC, AT_NS, 60000.1)]
    assert xt.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 0.5),), ((60001.0, 1.0),), True)]


def test_open_interest_of_all_is_contracts(xt: Xt) -> None:
    assert xt.parse(CONTRACTS) == [OpenInterest(BTC, 0, 2000.0), OpenInterest(INVERSE, 0, 70_000.0)]


def test_open_interest_of_one_market_is_coins(xt: Xt) -> None:
    assert xt.parse(OPEN_INTEREST) == [OpenInterest(ETHER, AT_NS, 21005.5)]
    assert xt.parse(OPEN_INTEREST.replace(b"eth_usdt", b"btc_usd")) == [OpenInterest(INVERSE, AT_NS, 60_000_000.0)]


def test_tickers_and_past_trades(xt: Xt) -> None:
    assert xt.parse(TICKERS) == [Mark(BTC, AT_NS, 60000.1), Trade(BTC, AT_NS, 60010.5, 0.25, 1, ANY, replayed=True)]


def test_answers_to_requests(xt: Xt) -> None:
    assert xt.parse(ACK) == [Subscribed(request_id=3)]
    refused = ACK.replace(b'"code":0,"msg":"success"', b'"code":1,"msg":"interval error"')
    assert xt.parse(refused) == [Refused("1: interval error", request_id=3)]
    assert xt.parse(b'{"returnCode":1,"msgInfo":"failure","result":null}') == [Refused("1: failure")]
    assert xt.parse(b"pong") == [Pong()]
    assert xt.subscribe(["trade@btc_usdt"], 3) == ('{"method":"SUBSCRIBE","params":["trade@btc_usdt"],"id":"3"}',)


def test_what_is_not_known_is_named(xt: Xt) -> None:
    assert xt.parse(b'{"topic":"kline","event":"kline@btc_usdt,1m","data":{}}') == [Unknown("kline")]
    assert xt.parse(TRADE.replace(b"btc_usdt", b"new_usdt")) == [Unlisted("new_usdt")]
    assert xt.parse(b'{"returnCode":0,"result":{"s":"btc_usdt","p":"1","t":1}}') == [Unknown("REST answer")]


@pytest.mark.parametrize(
    ("message", "good", "bad", "field"),
    [
        (TRADE, b'"p":"60010.5"', b'"p":"-1"', "p"),
        (TRADE, b'"a":"2500"', b'"a":"0"', "a"),
        (TRADE, b'"m":"ASK"', b'"m":"Sell"', "m"),
        (TRADE, b'"t":1790000000123', b'"t":123124124', "t"),
        (BOOK, b'"5000"', b'"-5"', "quantity"),
        (CONTRACTS, b'"20000000"', b'"nan"', "open_interest"),
    ],
)
def test_bad_fields_are_named(xt: Xt, message: bytes, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        xt.parse(message.replace(good, bad))


def test_a_message_that_comes_twice_has_the_same_ids_and_equal_trades_of_one_list_have_not(xt: Xt) -> None:
    first, again = (xt.parse(TRADE)[0] for _ in range(2))
    assert isinstance(first, Trade)
    assert first == again
    other = xt.parse(TRADE.replace(b"60010.5", b"60010.6"))[0]
    assert isinstance(other, Trade)
    assert other.trade_id != first.trade_id
