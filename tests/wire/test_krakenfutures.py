"""Kraken Futures' messages, one of each kind, written from its documentation."""

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
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.krakenfutures import KrakenFutures
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(KrakenFutures, "PF_XBTUSD", "PI_XBTUSD")
BTC, INVERSE = LISTINGS.values()
AT_MS = 1_790_000_000_123
AT_NS = AT_MS * 1_000_000

TRADE = (
    b'{"feed":"trade","product_id":"PF_XBTUSD","uid":"u-7","side":"sell","type":"fill","seq":7,'
    b'"time":1790000000123,"qty":0.25,"price":60010.5}'
)
SNAPSHOT = (
    b'{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[{"feed":"trade","product_id":"PI_XBTUSD",'
    b'"uid":"u-6","side":"buy","type":"fill","seq":6,"time":1790000000123,"qty":500.0,"price":60010.0},'
    b'{"feed":"trade","product_id":"PI_XBTUSD","uid":"u-5","side":"sell","type":"liquidation","seq":5,'
    b'"time":1790000000122,"qty":400.0,"price":60000.0}]}'
)
TICKER = (
    b'{"feed":"ticker","time":1790000000123,"product_id":"PI_XBTUSD","bid":60000,"ask":60001,"index":60000.2,'
    b'"openInterest":30072580.0,"markPrice":60000.75,"suspended":false,"tag":"perpetual"}'
)
BOOK = (
    b'{"feed":"book_snapshot","product_id":"PF_XBTUSD","timestamp":1790000000123,"seq":41,"tickSize":null,'
    b'"bids":[{"price":60000.0,"qty":0.5}],"asks":[{"price":60001.0,"qty":1.5}]}'
)
CHANGE = (
    b'{"feed":"book","product_id":"PF_XBTUSD","side":"sell","seq":42,"price":60001.0,"qty":0.0,'
    b'"timestamp":1790000000124}'
)
TICKERS = (
    b'{"result":"success","serverTime":"2026-09-21T14:13:20.123Z","tickers":[{"symbol":"PF_XBTUSD","last":60000.0,'
    b'"markPrice":60000.5,"openInterest":2100.5},{"symbol":"in_xbtusd","last":60000}]}'
)
EXECUTIONS = (
    b'{"elements":[{"uid":"e-1","timestamp":1790000000123,"event":{"Execution":{"execution":{"uid":"x-1",'
    b'"makerOrder":{"tradeable":"PF_XBTUSD","direction":"Sell"},"takerOrder":{"tradeable":"PF_XBTUSD",'
    b'"direction":"Buy"},"timestamp":1790000000123,"quantity":"0.01","price":"60010"}}}}],"len":1}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    SNAPSHOT,
    TICKER,
    BOOK,
    CHANGE,
    TICKERS,
    EXECUTIONS,
    b'{"event":"subscribed","feed":"trade","product_ids":["PF_XBTUSD"]}',
    b'{"event":"error","message":"Invalid product id"}',
    b'{"feed":"heartbeat","time":1790000000123}',
)


@pytest.fixture
def kraken() -> KrakenFutures:
    return KrakenFutures(LISTINGS)


def test_trade(kraken: KrakenFutures) -> None:
    assert kraken.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, "u-7", 7)]
    assert BTC.instrument.symbol == INVERSE.instrument.symbol == "BTC"


def test_the_snapshot_of_past_trades_is_told_apart_and_put_in_order(kraken: KrakenFutures) -> None:
    earlier = AT_NS - 1_000_000
    assert kraken.parse(SNAPSHOT) == [
        Trade(INVERSE, earlier, 60000.0, 400.0, -1, "u-5", 5, replayed=True),
        Liquidation(INVERSE, earlier, 60000.0, 400.0, 0, "u-5", replayed=True),
        Trade(INVERSE, AT_NS, 60010.0, 500.0, 1, "u-6", 6, replayed=True),
    ]


@pytest.mark.parametrize(("side", "position"), [(b"sell", 0), (b"buy", 1)])
def test_a_liquidation_is_a_trade_too_and_its_side_the_closing_order(
    kraken: KrakenFutures, side: bytes, position: int
) -> None:
    message = TRADE.replace(b'"fill"', b'"liquidation"').replace(b'"sell"', b'"' + side + b'"')
    trade, liquidation = kraken.parse(message)
    assert isinstance(trade, Trade)
    assert trade.aggressor == (-1, 1)[position]
    assert liquidation == Liquidation(BTC, AT_NS, 60010.5, 0.25, position, "u-7")


def test_an_assignment_has_no_taker(kraken: KrakenFutures) -> None:
    (trade,) = kraken.parse(TRADE.replace(b'"fill"', b'"assignment"'))
    assert isinstance(trade, Trade)
    assert trade.aggressor == 0


def test_messages_of_2019_have_no_uid(kraken: KrakenFutures) -> None:
    (trade,) = kraken.parse(TRADE.replace(b'"uid":"u-7",', b""))
    assert trade == Trade(BTC, AT_NS, 60010.5, 0.25, -1, 7, 7)


def test_ticker(kraken: KrakenFutures) -> None:
    assert kraken.parse(TICKER) == [Mark(INVERSE, AT_NS, 60000.75), OpenInterest(INVERSE, AT_NS, 30072580.0)]
    before_listing = TICKER.replace(b"60000.75", b"0").replace(b"30072580.0", b"0")
    assert kraken.parse(before_listing) == [OpenInterest(INVERSE, AT_NS, 0.0)]


def test_a_book_is_a_snapshot_and_numbered_changes(kraken: KrakenFutures) -> None:
    assert kraken.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 0.5),), ((60001.0, 1.5),), True, 41)]
    assert kraken.parse(CHANGE) == [Book(BTC, AT_NS + 1_000_000, (), ((60001.0, 0.0),), False, 42, 41)]


def test_rest_answers(kraken: KrakenFutures) -> None:
    assert kraken.parse(TICKERS) == [Mark(BTC, AT_NS, 60000.5), OpenInterest(BTC, AT_NS, 2100.5)]
    assert kraken.parse(EXECUTIONS) == [Trade(BTC, AT_NS, 60010.0, 0.01, 1, "x-1", replayed=True)]


def test_requests_and_their_answers(kraken: KrakenFutures) -> None:
    requests = [json.loads(one) for one in kraken.subscribe(["trade PF_XBTUSD", "book PF_XBTUSD"], 1)]
    assert requests == [
        {"event": "subscribe", "feed": "trade", "product_ids": ["PF_XBTUSD"]},
        {"event": "subscribe", "feed": "book", "product_ids": ["PF_XBTUSD"]},
    ]
    assert kraken.parse(SAMPLES[7]) == [Subscribed(("trade PF_XBTUSD",))]
    failed = SAMPLES[7].replace(b"subscribed", b"subscribed_failed")
    assert kraken.parse(failed) == [Refused("subscribed_failed", ("trade PF_XBTUSD",))]
    assert kraken.parse(failed.replace(b"subscribed", b"unsubscribed")) == [Refused("unsubscribed_failed")]
    assert kraken.parse(SAMPLES[8]) == [Refused("Invalid product id")]
    assert kraken.parse(b'{"event":"alert","message":"Already subscribed to feed, re-requesting"}') == [Subscribed()]
    assert kraken.parse(SAMPLES[9]) == [Pong()]


def test_an_end_of_a_subscription_is_no_beginning(kraken: KrakenFutures) -> None:
    assert kraken.parse(SAMPLES[7].replace(b"subscribed", b"unsubscribed")) == [Subscribed()]


@pytest.mark.parametrize(
    ("native_id", "base", "inverse"),
    [("FI_XBTUSD_261225", "BTC", True), ("FF_ETHUSD_261225", "ETH", False), ("PF_AAPLxUSD", "AAPLX", False)],
)
def test_ids_say_what_an_instrument_is(native_id: str, base: str, inverse: bool) -> None:
    (listing,) = described(KrakenFutures, native_id).values()
    assert (listing.instrument.base, listing.inverse) == (base, inverse)


def test_what_is_not_described() -> None:
    assert KrakenFutures.describe("in_xbtusd") is None
    assert KrakenFutures.describe("PV_XRPXBT") is None


def test_the_highest_leverage_is_that_of_the_first_margin_level() -> None:
    market = {
        "id": "PF_XBTUSD",
        "swap": True,
        "quote": "USD",
        "baseId": "XBT",
        "contractSize": 1.0,
        "info": {"marginLevels": [{"initialMargin": 0.02}]},
    }
    listing = KrakenFutures.adopt(market)
    assert listing is not None
    assert listing.instrument.max_leverage == pytest.approx(50.0)


def test_what_is_not_known_is_named(kraken: KrakenFutures) -> None:
    assert kraken.parse(b'{"feed":"ticker_lite","product_id":"PF_XBTUSD"}') == [Unknown("ticker_lite")]
    assert kraken.parse(TRADE.replace(b"PF_XBTUSD", b"PF_NEWUSD")) == [Unlisted("PF_NEWUSD")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":60010.5', b'"price":0', "price"),
        (b'"qty":0.25', b'"qty":-1', "qty"),
        (b'"side":"sell"', b'"side":"short"', "side"),
        (b'"time":1790000000123', b'"time":17900', "time"),
    ],
)
def test_bad_fields_are_named(kraken: KrakenFutures, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        kraken.parse(TRADE.replace(good, bad))
