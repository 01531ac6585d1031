"""Bitfinex' messages, one of each kind, written from its documentation."""

from __future__ import annotations

import json

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Refused,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.bitfinex import Bitfinex
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Bitfinex, "tBTCF0:USTF0")
(BTC,) = LISTINGS.values()
AT_MS = 1_790_000_000_123
AT_NS = AT_MS * 1_000_000

TRADES = b'{"event":"subscribed","channel":"trades","chanId":11,"symbol":"tBTCF0:USTF0","pair":"BTCF0:USTF0"}'
BOOKS = (
    b'{"event":"subscribed","channel":"book","chanId":12,"symbol":"tBTCF0:USTF0","prec":"P0","freq":"F0","len":"25"}'
)
DERIV = b'{"event":"subscribed","channel":"status","chanId":13,"key":"deriv:tBTCF0:USTF0"}'
GLOBAL = b'{"event":"subscribed","channel":"status","chanId":14,"key":"liq:global"}'
TRADE = b'[11,"te",[407,1790000000123,-0.25,60010.5]]'
PAST = b"[11,[[406,1790000000122,0.5,60000],[405,1790000000121,-1,59999]]]"
STATUS = (
    b"[13,[1790000000123,null,60000.5,60001,null,1396531.6,null,1790003600000,0.0001,6,null,-0.01,null,null,"
    b"60000.25,null,null,2465.5,null,null,null,0.0005,0.0025]]"
)
BOOK = b"[12,[[60000,2,0.5],[60001,1,-1.5]]]"
TRIGGER = b'[14,[["pos",171085137,1790000000123,null,"tBTCF0:USTF0",8,61000.5,null,0,1,null,null]]]'
MATCH = b'[14,[["pos",171085137,1790000000125,null,"tBTCF0:USTF0",3,61000.5,null,1,1,null,59000]]]'
REST_STATUS = STATUS.replace(b"[13,[", b'[["tBTCF0:USTF0",')
#: what the fuzzer starts from; data come with their names, as recordings have them, since it reads them in any order
SAMPLES = (
    TRADES,
    BOOKS,
    DERIV,
    GLOBAL,
    TRADE[:-1] + b',7,1790000000125,"trades","BTCF0:USTF0"]',
    PAST[:-1] + b',7,1790000000125,"trades","BTCF0:USTF0"]',
    STATUS[:-1] + b',7,1790000000125,"status","BTCF0:USTF0"]',
    BOOK[:-1] + b',7,1790000000125,"book","BTCF0:USTF0"]',
    MATCH,
    REST_STATUS,
    b'{"channel":"trades","symbol":"tXF0:USTF0","event":"error","msg":"symbol: invalid","code":10300}',
    b'{"event":"pong","ts":1790000000123,"cid":1}',
    b'[{"channel":"trades","symbol":"tBTCF0:USTF0"},[[647256201,1790000000123,-0.25,60010.5]]]',
)


@pytest.fixture
def bitfinex() -> Bitfinex:
    parser = Bitfinex(LISTINGS)
    for accepted in (TRADES, BOOKS, DERIV, GLOBAL):
        parser.parse(accepted)
    return parser


def test_data_come_under_the_number_of_their_channel(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 407)]
    assert bitfinex.parse(TRADE.replace(b"[11", b"[99")) == [Unknown("te of a channel that was not announced")]
    assert bitfinex.parse(STATUS.replace(b"[13", b"[99")) == [Unknown("channel not announced")]


def test_a_trade_is_told_twice_and_read_once(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(TRADE.replace(b"te", b"tu")) == []


def test_the_first_answer_repeats_past_trades(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(PAST) == [
        Trade(BTC, AT_NS - 2_000_000, 59999.0, 1.0, -1, 405, replayed=True),
        Trade(BTC, AT_NS - 1_000_000, 60000.0, 0.5, 1, 406, replayed=True),
    ]


def test_status(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(STATUS) == [Mark(BTC, AT_NS, 60000.25), OpenInterest(BTC, AT_NS, 2465.5)]
    assert bitfinex.parse(REST_STATUS) == bitfinex.parse(STATUS)
    assert bitfinex.parse(STATUS.replace(b"60000.25", b"null")) == [OpenInterest(BTC, AT_NS, 2465.5)]
    assert bitfinex.parse(b"[13,[1790000000123,null,60000.5]]") == []


def test_book(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(BOOK) == [Book(BTC, 0, ((60000.0, 0.5),), ((60001.0, 1.5),), True)]
    assert bitfinex.parse(b"[12,[60000,0,1]]") == [Book(BTC, 0, ((60000.0, 0.0),), (), False)]
    assert bitfinex.parse(b"[12,[60002,3,-2.5]]") == [Book(BTC, 0, (), ((60002.0, 2.5),), False)]


def test_a_liquidation_is_told_once_of_the_whole_position(bitfinex: Bitfinex) -> None:
    bitfinex.parse(b'[14,[["pos",1,1790000000000,null,"tBTCF0:USTF0",1,1,null,1,1,null,1]]]')  # what was before
    assert bitfinex.parse(TRIGGER) == []
    assert bitfinex.parse(MATCH) == [Liquidation(BTC, AT_NS + 2_000_000, 59000.0, 8.0, 0, 171085137)]
    assert bitfinex.parse(MATCH) == []


def test_a_trigger_with_a_price_needs_no_match(bitfinex: Bitfinex) -> None:
    short = TRIGGER.replace(b'F0",8', b'F0",-8').replace(b"null]", b"62000]")
    assert bitfinex.parse(short) == [Liquidation(BTC, AT_NS, 62000.0, 8.0, 1, 171085137, replayed=True)]
    assert bitfinex.parse(MATCH) == []


def test_liquidations_of_margin_trading_are_left_out(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(MATCH.replace(b"tBTCF0:USTF0", b"tBTCUSD")) == []


def test_requests_and_their_answers(bitfinex: Bitfinex) -> None:
    asked = ["trades tBTCF0:USTF0", "book tBTCF0:USTF0", "status liq:global"]
    assert [json.loads(one) for one in bitfinex.subscribe(asked, 1)] == [
        {"event": "subscribe", "channel": "trades", "symbol": "tBTCF0:USTF0"},
        {
            "event": "subscribe",
            "channel": "book",
            "symbol": "tBTCF0:USTF0",
            "prec": "P0",
            "freq": "F0",
            "len": "25",
        },
        {"event": "subscribe", "channel": "status", "key": "liq:global"},
    ]
    assert Bitfinex(LISTINGS).parse(TRADES) == [Subscribed(("trades tBTCF0:USTF0",))]
    assert bitfinex.parse(SAMPLES[10]) == [Refused("symbol: invalid (10300)", ("trades tXF0:USTF0",))]
    assert bitfinex.parse(SAMPLES[11]) == [Pong()]
    assert bitfinex.parse(b'[11,"hb"]') == []


def test_a_subscription_ends_by_its_number(bitfinex: Bitfinex) -> None:
    (request,) = bitfinex.unsubscribe(["trades tBTCF0:USTF0", "trades tETHF0:USTF0"], 2)
    assert json.loads(request) == {"event": "unsubscribe", "chanId": 11}
    assert bitfinex.parse(b'{"event":"unsubscribed","status":"OK","chanId":11}') == [Subscribed()]
    assert bitfinex.unsubscribe(["trades tBTCF0:USTF0"], 3) == []


@pytest.mark.parametrize(
    "message",
    [
        b'{"event":"info","code":20051,"msg":"Stopping. Please try to reconnect"}',
        b'{"event":"info","version":2,"platform":{"status":0}}',
    ],
)
def test_what_asks_for_a_new_connection(bitfinex: Bitfinex, message: bytes) -> None:
    (reset,) = bitfinex.parse(message)
    assert isinstance(reset, Reset)
    assert bitfinex.parse(b'{"event":"info","version":2,"platform":{"status":1}}') == []


def test_what_is_not_described() -> None:
    assert Bitfinex.describe("tBTCUSD") is None
    assert Bitfinex.describe("tETHF0:BTCF0") is None
    assert Bitfinex.describe("tTESTBTCF0:TESTUSTF0") is None


def test_what_is_not_known_is_named(bitfinex: Bitfinex) -> None:
    assert bitfinex.parse(b'[5,[1,2,3],1,1790000000125,"raw_book","BTCF0:USTF0"]') == [Unknown("raw_book")]
    assert bitfinex.parse(SAMPLES[4].replace(b"[11", b"[99").replace(b"BTCF0", b"NEWF0")) == [Unlisted("tNEWF0:USTF0")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b"60010.5", b"-60010.5", r"\$\[2\]\[3\]"),
        (b"60010.5", b'"60,010.5"', r"\$\[2\]\[3\]"),
        (b"-0.25", b"0", "amount"),
        (b"1790000000123", b"17900", r"\$\[2\]\[1\]"),
        (b"407", b"true", r"\$\[2\]\[0\]"),
        (b",60010.5", b"", r"length 4.*\$\[2\]"),
    ],
)
def test_bad_fields_are_named(bitfinex: Bitfinex, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        bitfinex.parse(TRADE.replace(good, bad))
