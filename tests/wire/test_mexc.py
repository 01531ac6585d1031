"""MEXC's messages, one of each kind, written from its documentation."""

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
from forcedmove_server.collectors.venues.mexc import Mexc
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Mexc, "BTC_USDT", "BTC_USD")
BTC, INVERSE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"symbol":"BTC_USDT","data":[{"p":60010.5,"v":250,"T":2,"O":3,"M":2,"t":1790000000123,"i":"77","cts":'
    b'"1790000000123"}],"channel":"push.deal","ts":1790000000125}'
)
TICKER = (
    b'{"symbol":"BTC_USDT","data":{"symbol":"BTC_USDT","lastPrice":60001,"fairPrice":60000.1,"holdVol":5000000,'
    b'"timestamp":1790000000123},"channel":"push.ticker","ts":1790000000125}'
)
BOOK = (
    b'{"channel":"push.depth.full","data":{"asks":[[60001,50,1]],"bids":[[60000,100,2]],"version":9},"symbol":"BTC_USDT",'
    b'"ts":1790000000123}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    TICKER,
    BOOK,
    b'{"channel":"push.fair.price","data":{"price":60000.1,"symbol":"BTC_USDT"},"symbol":"BTC_USDT","ts":1790000000123}',
    b'{"success":true,"code":0,"data":[{"symbol":"BTC_USD","lastPrice":60001,"fairPrice":60000.1,"holdVol":17766,'
    b'"timestamp":1790000000123}]}',
    b'{"channel":"rs.sub.deal","data":"success","ts":1790000000123}',
    b'{"channel":"pong","data":1790000000123}',
)


@pytest.fixture
def mexc() -> Mexc:
    return Mexc(LISTINGS)


def test_contracts_become_coins_or_dollars(mexc: Mexc) -> None:
    assert mexc.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, pytest.approx(0.025), -1, 77)]
    inverse = mexc.parse(TRADE.replace(b"BTC_USDT", b"BTC_USD").replace(b'"T":2', b'"T":1'))
    assert inverse == [Trade(INVERSE, AT_NS, 60010.5, 25_000.0, 1, 77)]


def test_deals_have_been_one_object_without_an_id(mexc: Mexc) -> None:
    old = TRADE.replace(b"[{", b"{").replace(b"}]", b"}").replace(b',"i":"77"', b"")
    assert mexc.parse(old) == [Trade(BTC, AT_NS, 60010.5, pytest.approx(0.025), -1)]


def test_marks_and_open_interest(mexc: Mexc) -> None:
    assert mexc.parse(TICKER) == [Mark(BTC, AT_NS, 60000.1), OpenInterest(BTC, AT_NS, 500.0)]
    assert mexc.parse(SAMPLES[3]) == [Mark(BTC, AT_NS, 60000.1)]
    assert mexc.parse(SAMPLES[4]) == [Mark(INVERSE, AT_NS, 60000.1), OpenInterest(INVERSE, AT_NS, 1_776_600.0)]


def test_books(mexc: Mexc) -> None:
    whole = Book(BTC, AT_NS, ((60000.0, pytest.approx(0.01)),), ((60001.0, pytest.approx(0.005)),), True, 9)
    assert mexc.parse(BOOK) == [whole]
    (change,) = mexc.parse(BOOK.replace(b"depth.full", b"depth"))
    assert isinstance(change, Book)
    assert (change.snapshot, change.sequence, change.previous) == (False, 9, 8)


def test_answers_to_requests(mexc: Mexc) -> None:
    assert mexc.parse(SAMPLES[5]) == [Subscribed()]
    assert mexc.parse(SAMPLES[6]) == [Pong()]
    error = b'{"channel":"rs.error","data":"Contract doesn\'t exist!","ts":1790000000123}'
    assert mexc.parse(error) == [Refused("Contract doesn't exist!")]


def test_what_is_not_known_is_named(mexc: Mexc) -> None:
    assert mexc.parse(TRADE.replace(b"push.deal", b"push.kline")) == [Unknown("push.kline")]
    assert mexc.parse(TRADE.replace(b"BTC_USDT", b"NEW_USDT")) == [Unlisted("NEW_USDT")]
    assert mexc.parse(b'{"success":true,"code":0,"data":{"asks":[],"bids":[],"version":1}}') == [Unknown("answer")]


def test_sizes_that_nobody_said_are_not_known() -> None:
    for native_id in ("ETH_USD", "BTC_USDC"):
        listing = Mexc.describe(native_id)
        assert listing is not None
        assert math.isnan(listing.contract)
    assert Mexc.describe("BTCUSDT") is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":60010.5', b'"p":0', "p"),
        (b'"v":250', b'"v":-250', "v"),
        (b'"T":2', b'"T":3', "T"),
        (b'"t":1790000000123', b'"t":17900', "t"),
    ],
)
def test_bad_fields_are_named(mexc: Mexc, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        mexc.parse(TRADE.replace(good, bad))
