"""WhiteBIT's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import json

import pytest

from forcedmove_server.collectors.books import BookKeeper
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
from forcedmove_server.collectors.venues.whitebit import WhiteBit
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(WhiteBit, "BTC_PERP", "ETH_PERP")
BTC, ETHER = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADES = (
    b'{"method":"trades_update","params":["BTC_PERP",[{"id":12,"time":1790000000.123,"price":"60010.5","amount":"0.25",'
    b'"type":"sell","rpi":false},{"id":11,"time":1790000000.123,"price":"60010","amount":"1","type":"buy"}]],"id":null}'
)
SNAPSHOT = (
    b'{"method":"depth_update","params":[true,{"timestamp":1789999000.5,"update_id":100,"asks":[["60001","1"]],'
    b'"bids":[["60000","0.5"]],"event_time":1790000000.123},"BTC_PERP"],"id":null}'
)
CHANGE = (
    b'{"method":"depth_update","params":[false,{"timestamp":1790000000.123,"update_id":104,"past_update_id":100,'
    b'"bids":[["60000","0"]]},"BTC_PERP"],"id":null}'
)
MARKS = (
    b'{"method":"premiumIndex_update","params":[["BTC_PERP","60000.1","60040","0.0001",1790121600000,1790000000.123],'
    b'["ETH_PERP","3000","3001","0.0001",1790121600000]],"id":null}'
)
FUTURES = (
    b'{"success":true,"message":null,"result":[{"ticker_id":"BTC_PERP","open_interest":"6000.5","index_price":"1",'
    b'"mark_price":"60000.1"},{"ticker_id":"ETH_PERP","open_interest":"10","mark_price":""}]}'
)
ACK = b'{"error": null, "result": {"status": "success"}, "id": 3001}'
ERROR = b'{"error":{"code":9,"message":"market NOPE_PERP does not exist"},"result":null,"id":3002}'
PONG = b'{"error": null, "result": "pong", "id": 0}'
#: what the fuzzer starts from
SAMPLES = (TRADES, SNAPSHOT, CHANGE, MARKS, FUTURES, ACK, ERROR, PONG)


@pytest.fixture
def whitebit() -> WhiteBit:
    return WhiteBit(LISTINGS)


def test_trades_come_oldest_first(whitebit: WhiteBit) -> None:
    assert whitebit.parse(TRADES) == [
        Trade(BTC, AT_NS, 60010.0, 1.0, 1, 11),
        Trade(BTC, AT_NS, 60010.5, 0.25, -1, 12),
    ]


def test_each_request_for_trades_names_all_markets(whitebit: WhiteBit) -> None:
    (first,) = whitebit.subscribe(["trades BTC_PERP"], 1)
    (second,) = whitebit.subscribe(["trades ETH_PERP"], 2)
    assert json.loads(first) == {"id": 1000, "method": "trades_subscribe", "params": ["BTC_PERP"]}
    assert json.loads(second)["params"] == ["BTC_PERP", "ETH_PERP"]
    (rest,) = whitebit.unsubscribe(["trades BTC_PERP"], 3)
    assert json.loads(rest) == {"id": 3000, "method": "trades_subscribe", "params": ["ETH_PERP"]}
    (none,) = whitebit.unsubscribe(["trades ETH_PERP"], 4)
    assert json.loads(none) == {"id": 4000, "method": "trades_unsubscribe", "params": []}


def test_the_first_trades_after_a_request_are_of_the_past(whitebit: WhiteBit) -> None:
    whitebit.subscribe(["trades BTC_PERP"], 1)
    assert [trade.replayed for trade in whitebit.parse(TRADES) + whitebit.parse(TRADES)] == [True, True, False, False]


def test_answers_name_their_topics(whitebit: WhiteBit) -> None:
    requests = whitebit.subscribe(["premiumIndex", "depth BTC_PERP", "depth NOPE_PERP"], 3)
    assert [json.loads(request)["params"] for request in requests] == [
        [],
        ["BTC_PERP", 20, "0", True],
        ["NOPE_PERP", 20, "0", True],
    ]
    assert whitebit.parse(ACK) == [Subscribed(("depth BTC_PERP",), 3)]
    assert whitebit.parse(ERROR) == [Refused("9: market NOPE_PERP does not exist", ("depth NOPE_PERP",), 3)]
    assert whitebit.parse(PONG) == [Pong()]
    assert whitebit.unsubscribe(["depth BTC_PERP"], 4) == []


def test_books_are_chained(whitebit: WhiteBit) -> None:
    (snapshot,), (change,) = whitebit.parse(SNAPSHOT), whitebit.parse(CHANGE)
    assert snapshot == Book(BTC, AT_NS, ((60000.0, 0.5),), ((60001.0, 1.0),), True, 100)
    assert change == Book(BTC, AT_NS, ((60000.0, 0.0),), (), False, 104, 100)
    keeper = BookKeeper()
    assert keeper.take(snapshot)
    assert keeper.take(change)
    (lost,) = whitebit.parse(
        CHANGE.replace(b'"update_id":104,"past_update_id":100', b'"update_id":120,"past_update_id":110')
    )
    assert isinstance(lost, Book)
    assert not keeper.take(lost)


def test_marks_and_open_interest(whitebit: WhiteBit) -> None:
    assert whitebit.parse(MARKS) == [Mark(BTC, AT_NS, 60000.1), Mark(ETHER, 0, 3000.0)]
    assert whitebit.parse(FUTURES) == [
        Mark(BTC, 0, 60000.1),
        OpenInterest(BTC, 0, 6000.5),
        OpenInterest(ETHER, 0, 10.0),
    ]


def test_what_is_not_known_is_named(whitebit: WhiteBit) -> None:
    assert whitebit.parse(b'{"method":"kline_update","params":[],"id":null}') == [Unknown("kline_update")]
    assert whitebit.parse(TRADES.replace(b"BTC_PERP", b"BTC_USDT")) == [Unlisted("BTC_USDT")]
    assert WhiteBit.describe("BTC_USDT") is None


@pytest.mark.parametrize(
    ("message", "good", "bad", "field"),
    [
        (TRADES, b'"price":"60010.5"', b'"price":"-1"', "price"),
        (TRADES, b'"amount":"0.25"', b'"amount":"nan"', "amount"),
        (TRADES, b'"type":"sell"', b'"type":"short"', "type"),
        (TRADES, b"1790000000.123", b"17900000", "time"),
        (SNAPSHOT, b'"0.5"', b'"-0.5"', "quantity"),
        (SNAPSHOT, b',"BTC_PERP"]', b"]", "params"),
        (MARKS, b'["ETH_PERP","3000","3001","0.0001",1790121600000]', b'["ETH_PERP"]', "params"),
    ],
)
def test_bad_fields_are_named(whitebit: WhiteBit, message: bytes, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        whitebit.parse(message.replace(good, bad))
