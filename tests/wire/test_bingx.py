"""BingX' messages, one of each kind, written from its documentation."""

from __future__ import annotations

import gzip
from unittest.mock import ANY

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterestValue,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.bingx import BingX
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(BingX, "BTC-USDT", "1000PEPE-USDC", "BTC-USD", "ETH-USD")
BTC, PEPE, INVERSE, ETHER = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"code":0,"dataType":"BTC-USDT@trade","data":[{"q":"0.25","p":"60010.5","T":1790000000123,"m":true,'
    b'"s":"BTC-USDT"}]}'
)
COIN_TRADE = (
    b'{"code":0,"dataType":"BTC-USD@trade","data":{"e":"trade","E":1790000000200,"s":"BTC-USD","t":"9","p":"60010.5",'
    b'"q":"3","T":1790000000123,"m":false}}'
)
MARK = (
    b'{"code":0,"dataType":"BTC-USDT@markPrice","data":{"e":"markPriceUpdate","E":1790000000123,"s":"BTC-USDT",'
    b'"p":"60000.1"}}'
)
BOOK = (
    b'{"code":0,"dataType":"BTC-USDT@depth20@500ms","ts":1790000000123,"data":{"bids":[["60000","0.5"]],'
    b'"asks":[["60002","2"],["60001","1"]]}}'
)
OPEN_INTEREST = b'{"code":0,"msg":"","data":{"openInterest":"780000000.5","symbol":"BTC-USDT","time":1790000000123}}'
MARKS = (
    b'{"code":0,"msg":"","data":[{"symbol":"BTC-USDT","markPrice":"60000.1","updateTime":1789974000000},'
    b'{"symbol":"1000PEPE-USDC","markPrice":"0","updateTime":1789974000000}]}'
)
ACK = b'{"id":"3","code":0,"msg":"","dataType":"","data":null}'
#: what the fuzzer starts from
SAMPLES = (gzip.compress(TRADE, mtime=0), TRADE, COIN_TRADE, MARK, BOOK, OPEN_INTEREST, MARKS, ACK, b"Ping")


@pytest.fixture
def bingx() -> BingX:
    return BingX(LISTINGS)


def test_frames_are_gzip(bingx: BingX) -> None:
    assert bingx.parse(gzip.compress(TRADE)) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, ANY)]
    assert bingx.parse(gzip.compress(b"Ping")) == [Reply("Pong")]
    with pytest.raises(MalformedMessage):
        bingx.parse(gzip.compress(TRADE)[:-9])


def test_a_maker_that_bought_means_that_the_taker_sold(bingx: BingX) -> None:
    assert bingx.parse(TRADE.replace(b"true", b"false")) == [Trade(BTC, AT_NS, 60010.5, 0.25, 1, ANY)]


def test_coin_margined_sizes_are_contracts(bingx: BingX) -> None:
    assert bingx.parse(COIN_TRADE) == [Trade(INVERSE, AT_NS, 60010.5, 300.0, 1, ANY)]
    assert (INVERSE.inverse, ETHER.contract) == (True, 10.0)
    in_coins = b'{"code":0,"msg":"","timestamp":1,"data":[{"symbol":"BTC-USD","openInterest":"749.1","timestamp":1}]}'
    assert bingx.parse(in_coins) == [Unknown("open interest in coins")]


def test_marks_and_books(bingx: BingX) -> None:
    assert bingx.parse(MARK) == [Mark(BTC, AT_NS, 60000.1)]
    assert bingx.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 0.5),), ((60002.0, 2.0), (60001.0, 1.0)), True)]
    (pepe,) = bingx.parse(MARK.replace(b"BTC-USDT", b"1000PEPE-USDC").replace(b"60000.1", b"0.012"))
    assert pepe == Mark(PEPE, AT_NS, 0.012 / 1000)


def test_open_interest_is_a_value(bingx: BingX) -> None:
    assert bingx.parse(OPEN_INTEREST) == [OpenInterestValue(BTC, AT_NS, 780000000.5)]
    assert bingx.parse(MARKS) == [Mark(BTC, 0, 60000.1)]


def test_paused_and_coin_margined_markets_are_left_out() -> None:
    market = {"id": "BTC-USDT", "baseId": "BTC", "quote": "USDT", "swap": True, "active": True, "contractSize": 1.0}
    assert BingX.adopt({**market, "info": {"status": "1"}}) is not None
    assert BingX.adopt({**market, "info": {"status": 25}}) is None
    assert BingX.adopt({**market, "inverse": True}) is None


def test_answers_to_requests(bingx: BingX) -> None:
    assert bingx.parse(ACK) == [Subscribed(request_id=3)]
    refused = ACK.replace(b'"code":0,"msg":""', b'"code":80015,"msg":"dataType not support"')
    assert bingx.parse(refused) == [Refused("80015: dataType not support", request_id=3)]
    assert bingx.parse(b'{"code":100400,"msg":"no","timestamp":1}') == [Refused("100400: no")]
    assert bingx.subscribe(["BTC-USDT@trade"], 3) == ['{"id":"3","reqType":"sub","dataType":"BTC-USDT@trade"}']


def test_what_is_not_known_is_named(bingx: BingX) -> None:
    assert bingx.parse(b'{"code":0,"dataType":"BTC-USDT@kline_1m","data":[]}') == [Unknown("kline_1m")]
    assert bingx.parse(TRADE.replace(b"BTC-USDT", b"NEW-USDT")) == [Unlisted("NEW-USDT")]
    assert bingx.parse(b'{"code":0,"data":{"symbols":[]}}') == [Unknown("REST answer")]


@pytest.mark.parametrize(
    ("message", "good", "bad", "field"),
    [
        (TRADE, b'"p":"60010.5"', b'"p":"-1"', "p"),
        (TRADE, b'"q":"0.25"', b'"q":"nan"', "q"),
        (TRADE, b'"m":true', b'"m":"maker"', "m"),
        (TRADE, b'"T":1790000000123', b'"T":1790000000', "T"),
        (BOOK, b'"0.5"', b'"-0.5"', "quantity"),
        (OPEN_INTEREST, b'"780000000.5"', b'"inf"', "openInterest"),
    ],
)
def test_bad_fields_are_named(bingx: BingX, message: bytes, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        bingx.parse(message.replace(good, bad))


def test_equal_trades_of_one_message_are_told_apart_and_a_repeated_message_is_not(bingx: BingX) -> None:
    row = TRADE[TRADE.index(b"[") + 1 : TRADE.rindex(b"]")]
    twice = TRADE.replace(row, row + b"," + row)
    first, second = bingx.parse(twice)
    assert isinstance(first, Trade)
    assert isinstance(second, Trade)
    assert first.trade_id != second.trade_id
    assert bingx.parse(twice) == [first, second]
