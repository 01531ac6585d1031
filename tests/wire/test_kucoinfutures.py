"""KuCoin Futures' messages, one of each kind, written from its documentation."""

from __future__ import annotations

import math

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
from forcedmove_server.collectors.venues.kucoinfutures import KucoinFutures
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(KucoinFutures, "XBTUSDTM", "XBTUSDM", "1000BONKUSDTM", "ETHUSDCM", "XBTMH26")
BTC, INVERSE, BONK, USDC, DATED = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"topic":"/contractMarket/execution:XBTUSDTM","type":"message","subject":"match","sn":17,"data":{"symbol":'
    b'"XBTUSDTM","sequence":17,"side":"sell","size":250,"price":"60010.5","takerOrderId":"2","makerOrderId":"1",'
    b'"tradeId":"17","ts":1790000000123000000}}'
)
MARK = (
    b'{"topic":"/contract/instrument:XBTUSDTM","type":"message","subject":"mark.index.price","data":{"markPrice":'
    b'60000.25,"indexPrice":60001,"granularity":1000,"timestamp":1790000000123}}'
)
BOOK = (
    b'{"topic":"/contractMarket/level2Depth50:XBTUSDTM","type":"message","subject":"level2","sn":9,"data":{"bids":'
    b'[["60000",1000],["59999.5",2]],"sequence":9,"timestamp":1790000000123,"ts":1790000000123,"asks":[[60000.5,30]]}}'
)
CHANGE = (
    b'{"topic":"/contractMarket/level2:XBTUSDTM","type":"message","subject":"level2","sn":10,"data":{"sequence":10,'
    b'"change":"60001.0,sell,0","timestamp":1790000000123}}'
)
OPEN_INTEREST = (
    b'{"code":"200000","data":[{"symbol":"XBTUSDTM","openInterest":"5000","ts":1790000000123},'
    b'{"symbol":"XBTUSDM","openInterest":"700","ts":1790000000123}]}'
)
ACK, ERROR = b'{"id":"3.0","type":"ack"}', b'{"id":"3.0","type":"error","code":404,"data":"topic is not found"}'
CONTRACTS = (
    b'{"code":"200000","data":[{"symbol":"XBTUSDTM","multiplier":0.001,"openInterest":"5000","markPrice":60000.25},'
    b'{"symbol":"ETHUSDCM","openInterest":null,"markPrice":null}]}'
)
#: what the fuzzer starts from
SAMPLES = (TRADE, MARK, BOOK, CHANGE, OPEN_INTEREST, ACK, ERROR, CONTRACTS, b'{"id":"ping","type":"pong"}')


@pytest.fixture
def kucoin() -> KucoinFutures:
    return KucoinFutures(LISTINGS)


def test_trades_count_contracts_and_nanoseconds(kucoin: KucoinFutures) -> None:
    assert kucoin.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 17)]
    (inverse,) = kucoin.parse(TRADE.replace(b"XBTUSDTM", b"XBTUSDM").replace(b'"17"', b'"5c9dcf41"'))
    assert inverse == Trade(INVERSE, AT_NS, 60010.5, 250.0, -1, "5c9dcf41")


def test_ids_are_read() -> None:
    assert [one.instrument.symbol for one in LISTINGS.values()] == ["BTC", "BTC", "BONK", "ETH", "BTC"]
    assert [one.inverse for one in LISTINGS.values()] == [False, True, False, False, True]
    assert BONK.units == 1000
    assert math.isnan(BONK.contract)  # nobody said how much a contract is
    assert USDC.contract == 0.01
    assert KucoinFutures.describe("BTC-USDT") is None


def test_marks_name_their_market_in_the_topic(kucoin: KucoinFutures) -> None:
    assert kucoin.parse(MARK) == [Mark(BTC, AT_NS, 60000.25)]
    funding = MARK.replace(b"mark.index.price", b"funding.rate")
    assert kucoin.parse(funding) == []


def test_books(kucoin: KucoinFutures) -> None:
    assert kucoin.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 1.0), (59999.5, 0.002)), ((60000.5, 0.03),), True, 9)]
    assert kucoin.parse(CHANGE) == [Book(BTC, AT_NS, (), ((60001.0, 0.0),), False, 10, 9)]


def test_open_interest_is_contracts(kucoin: KucoinFutures) -> None:
    assert kucoin.parse(OPEN_INTEREST) == [OpenInterest(BTC, AT_NS, 5.0), OpenInterest(INVERSE, AT_NS, 700.0)]
    assert kucoin.parse(CONTRACTS) == [Mark(BTC, 0, 60000.25), OpenInterest(BTC, 0, 5.0)]


def test_answers_to_requests(kucoin: KucoinFutures) -> None:
    assert kucoin.parse(ACK) == [Subscribed(request_id=3)]
    assert kucoin.parse(ERROR) == [Refused("404: topic is not found", request_id=3)]
    assert kucoin.parse(b'{"id":"c","type":"welcome"}') == []
    assert kucoin.parse(b'{"id":"ping","type":"pong"}') == [Pong()]
    assert kucoin.parse(b'{"code":"429000","msg":"too many requests"}') == [Refused("429000: too many requests")]


def test_a_request_names_one_kind_and_many_markets(kucoin: KucoinFutures) -> None:
    topics = ["/contract/instrument:A", "/contract/instrument:B", "/contractMarket/execution:A"]
    assert kucoin.subscribe(topics, 7) == (
        '{"id":"7.0","type":"subscribe","topic":"/contract/instrument:A,B","response":true}',
        '{"id":"7.1","type":"subscribe","topic":"/contractMarket/execution:A","response":true}',
    )


def test_a_ticket_says_where_to_connect(kucoin: KucoinFutures) -> None:
    (stream,) = kucoin.streams
    ticket = b'{"code":"200000","data":{"token":"a=b","instanceServers":[{"endpoint":"wss://x.test/e"}]}}'
    assert kucoin.connect_to(stream, ticket) == "wss://x.test/e?token=a%3Db"
    for bad in (b"", b'{"code":"1"}', ticket.replace(b"wss", b"ftp"), b'{"data":{"token":"","instanceServers":[]}}'):
        with pytest.raises(MalformedMessage):
            kucoin.connect_to(stream, bad)


def test_what_is_not_known_is_named(kucoin: KucoinFutures) -> None:
    candle = b'{"topic":"/contractMarket/candle:XBTUSDTM_1","type":"message","subject":"candle.stick","data":{}}'
    assert kucoin.parse(candle) == [Unknown("candle.stick")]
    assert kucoin.parse(TRADE.replace(b"XBTUSDTM", b"NEWUSDTM")) == [Unlisted("NEWUSDTM")]


@pytest.mark.parametrize(
    ("message", "good", "bad", "field"),
    [
        (TRADE, b'"price":"60010.5"', b'"price":"-1"', "price"),
        (TRADE, b'"size":250', b'"size":0', "size"),
        (TRADE, b'"side":"sell"', b'"side":"short"', "side"),
        (TRADE, b'"ts":1790000000123000000', b'"ts":1790000000123', "ts"),
        (MARK, b"60000.25", b"0", "markPrice"),
        (CHANGE, b"60001.0,sell,0", b"60001.0,sell", "change"),
    ],
)
def test_bad_fields_are_named(kucoin: KucoinFutures, message: bytes, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        kucoin.parse(message.replace(good, bad))
