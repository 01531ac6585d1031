"""Backpack's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Refused,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.backpack import Backpack
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Backpack, "BTC_USDC_PERP", "kPEPE_USDC_PERP")
BTC, PEPE = LISTINGS.values()
AT_NS = 1_790_000_000_123_456_000
MS_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"stream":"trade.BTC_USDC_PERP","data":{"e":"trade","E":"1790000000125000","s":"BTC_USDC_PERP","p":"60010.5",'
    b'"q":"0.25","b":"111","a":"222","t":12345,"T":"1790000000123456","m":true}}'
)
LIQUIDATION = (
    b'{"stream":"liquidation","data":{"e":"liquidation","E":1790000000123456,"q":"1.5","p":"59000","S":"Ask",'
    b'"s":"BTC_USDC_PERP","T":567}}'
)
MARK = (
    b'{"stream":"markPrice.kPEPE_USDC_PERP","data":{"e":"markPrice","E":1790000000123456,"s":"kPEPE_USDC_PERP",'
    b'"p":"0.0125","f":"0.0001","i":"0.0124","n":1790000000000}}'
)
INTEREST = (
    b'{"stream":"openInterest.BTC_USDC_PERP","data":{"e":"openInterest","E":1790000000123456,"s":"BTC_USDC_PERP",'
    b'"o":"1273.5"}}'
)
REFUSED = b'{"id":3,"error":{"code":4006,"message":"Invalid stream"}}'
INTERESTS = b'[{"openInterest":"1273.5","symbol":"BTC_USDC_PERP","timestamp":1790000000123}]'
MARKS = b'[{"fundingRate":"0.0001","markPrice":"0.0125","indexPrice":"0.0125","symbol":"kPEPE_USDC_PERP"}]'
DEPTH = b'{"asks":[["60001","2"]],"bids":[["60000","1"]],"lastUpdateId":"77","timestamp":1790000000123456}'
#: what the fuzzer starts from
SAMPLES = (TRADE, LIQUIDATION, MARK, INTEREST, REFUSED, INTERESTS, MARKS, DEPTH, b'{"id":3,"result":null}')


@pytest.fixture
def backpack() -> Backpack:
    return Backpack(LISTINGS)


@pytest.mark.parametrize(("buyer_is_maker", "aggressor"), [(b"true", -1), (b"false", 1)])
def test_trade(backpack: Backpack, buyer_is_maker: bytes, aggressor: int) -> None:
    (trade, _) = backpack.parse(TRADE.replace(b"true", buyer_is_maker))
    assert trade == Trade(BTC, AT_NS, 60010.5, 0.25, aggressor, 12345, 12345)


def test_the_first_push_of_a_stream_answers_the_subscription(backpack: Backpack) -> None:
    assert backpack.parse(TRADE)[1:] == [Subscribed(("trade.BTC_USDC_PERP",))]
    assert backpack.parse(TRADE)[1:] == []
    backpack.unsubscribe(["trade.BTC_USDC_PERP"], 9)
    assert backpack.parse(TRADE)[1:] == [Subscribed(("trade.BTC_USDC_PERP",))]


@pytest.mark.parametrize(("order", "liquidated"), [(b"Ask", 0), (b"Bid", 1)])
def test_the_side_of_a_liquidation_is_the_order(backpack: Backpack, order: bytes, liquidated: int) -> None:
    liquidation = backpack.parse(LIQUIDATION.replace(b"Ask", order))[0]
    assert liquidation == Liquidation(BTC, AT_NS, 59000.0, 1.5, liquidated, "1790000000123456 59000 1.5")


def test_states(backpack: Backpack) -> None:
    assert backpack.parse(MARK)[0] == Mark(PEPE, AT_NS, 0.0125 / 1000)
    assert backpack.parse(INTEREST)[0] == OpenInterest(BTC, AT_NS, 1273.5)


def test_rest_answers(backpack: Backpack) -> None:
    interests, marks = backpack.census(ContractType.LINEAR)
    assert backpack.parse_answer(interests, INTERESTS) == [OpenInterest(BTC, MS_NS, 1273.5)]
    assert backpack.parse_answer(marks, MARKS) == [Mark(PEPE, 0, 0.0125 / 1000)]
    assert backpack.parse(b'[{"symbol":"BTC_USDC_PERP","lastPrice":"1"}]') == [Unknown("REST answer")]


def test_a_book_is_of_the_market_that_was_asked_for(backpack: Backpack) -> None:
    poll, _ = backpack.polls(ContractType.LINEAR, [BTC, PEPE])
    assert backpack.parse_answer(poll, DEPTH) == [Book(BTC, AT_NS, ((60000.0, 1.0),), ((60001.0, 2.0),), True)]
    older = DEPTH.replace(b"1790000000123456", b"1790000000123")  # milliseconds
    assert backpack.parse_answer(poll, older) == [Book(BTC, MS_NS, ((60000.0, 1.0),), ((60001.0, 2.0),), True)]


def test_answers_to_requests(backpack: Backpack) -> None:
    assert backpack.parse(REFUSED) == [Refused("Invalid stream", request_id=3)]
    assert backpack.parse(REFUSED.replace(b'"id":3', b'"id":null')) == [Refused("Invalid stream")]
    assert backpack.parse(SAMPLES[8]) == [Subscribed(request_id=3)]


def test_what_is_not_known_is_named(backpack: Backpack) -> None:
    assert backpack.parse(b'{"stream":"kline.1m.BTC_USDC_PERP","data":{"e":"kline"}}') == [Unknown("kline")]
    assert backpack.parse(DEPTH) == [Unknown("no stream")]
    assert Unlisted("SOL_USDC") in backpack.parse(LIQUIDATION.replace(b"BTC_USDC_PERP", b"SOL_USDC"))
    assert Backpack.describe("SOL_USDC") is None
    assert Backpack.describe("AAPL.US_USDC_PERP") is None
    assert PEPE.instrument.symbol == "PEPE"


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":"60010.5"', b'"p":"0"', "p"),
        (b'"q":"0.25"', b'"q":"-1"', "q"),
        (b'"m":true', b'"m":"yes"', "m"),
        (b'"T":"1790000000123456"', b'"T":1790000000123', "T"),
        (b'"t":12345', b'"t":"a"', "t"),
    ],
)
def test_bad_fields_are_named(backpack: Backpack, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        backpack.parse(TRADE.replace(good, bad))
