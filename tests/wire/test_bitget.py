"""Bitget's messages, one of each kind, written from its documentation."""

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
from forcedmove_server.collectors.venues.bitget import Bitget
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Bitget, "BTCUSDT", "BTCPERP", "BTCUSD_CM", "1000BONKUSDT")
BTC, BTC_USDC, INVERSE, BONK = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"action":"update","arg":{"instType":"usdt-futures","topic":"publicTrade","symbol":"BTCUSDT"},"data":[{"i":"77",'
    b'"p":"60010.5","v":"0.25","S":"sell","T":"1790000000123","L":"78","isRPI":"no"}],"ts":1790000000125}'
)
TICKER = (
    b'{"action":"snapshot","arg":{"instType":"usdt-futures","topic":"ticker","symbol":"BTCUSDT"},"data":[{'
    b'"lastPrice":"60000","markPrice":"60000.5","openInterest":"5000.5","deliveryTime":""}],"ts":1790000000123}'
)
LIQUIDATION = (
    b'{"action":"update","arg":{"instType":"usdt-futures","topic":"liquidation"},"data":[{"symbol":"BTCUSDT",'
    b'"side":"buy","price":"59000","amount":"88500","ts":"1790000000123"}],"ts":1790000000999}'
)
CHANGE = (
    b'{"action":"update","arg":{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"},"data":[{"a":[["60001","0"]],'
    b'"b":[["60000","1.5"]],"seq":1483653649791156272,"pseq":1483653649791156270,"ts":"1790000000123"}],"ts":1790000000125}'
)
#: v2
OLD_TRADE = (
    b'{"action":"snapshot","arg":{"instType":"USDT-FUTURES","channel":"trade","instId":"BTCUSDT"},"data":[{'
    b'"ts":"1790000000123","price":"60010.5","size":"0.25","side":"buy","tradeId":"76"}],"ts":1790000000125}'
)
REST = (
    b'{"code":"00000","msg":"success","requestTime":1790000000200,"data":[{"category":"USDT-FUTURES",'
    b'"symbol":"BTCUSDT","ts":"1790000000123","markPrice":"60000.5","openInterest":"5000.5"}]}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    TICKER,
    LIQUIDATION,
    CHANGE,
    OLD_TRADE,
    REST,
    TICKER.replace(b"usdt-futures", b"coin-futures").replace(b'"BTCUSDT"', b'"BTCUSD_CM"'),
    b'{"event":"subscribe","arg":{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"},"connId":"c"}',
)


@pytest.fixture
def bitget() -> Bitget:
    return Bitget(LISTINGS)


def test_trades_of_the_recent_past_are_marked(bitget: Bitget) -> None:
    assert bitget.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 77)]
    (before,) = bitget.parse(TRADE.replace(b'"update"', b'"snapshot"'))
    assert before == Trade(BTC, AT_NS, 60010.5, 0.25, -1, 77, replayed=True)
    assert bitget.parse(OLD_TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, 1, 76, replayed=True)]


def test_coin_margined_sizes_are_dollars(bitget: Bitget) -> None:
    message = TRADE.replace(b"usdt-futures", b"coin-futures").replace(b'"BTCUSDT"', b'"BTCUSD_CM"')
    assert bitget.parse(message.replace(b'"0.25"', b'"500"')) == [Trade(INVERSE, AT_NS, 60010.5, 500.0, -1, 77)]


def test_open_interest_is_in_coins(bitget: Bitget) -> None:
    assert bitget.parse(TICKER) == [Mark(BTC, AT_NS, 60000.5), OpenInterest(BTC, AT_NS, 5000.5)]
    assert bitget.parse(REST) == bitget.parse(TICKER)
    assert bitget.parse(SAMPLES[6]) == [Mark(INVERSE, AT_NS, 60000.5), OpenInterest(INVERSE, AT_NS, 5000.5 * 60000.5)]
    without_mark = SAMPLES[6].replace(b'"markPrice":"60000.5"', b'"markPrice":""')
    assert bitget.parse(without_mark) == []
    bonk = TICKER.replace(b'"BTCUSDT"', b'"1000BONKUSDT"').replace(b"60000.5", b"0.02")
    assert bitget.parse(bonk) == [Mark(BONK, AT_NS, 0.02 / 1000), OpenInterest(BONK, AT_NS, 5_000_500.0)]


@pytest.mark.parametrize(("side", "liquidated"), [(b"buy", 0), (b"sell", 1)])
def test_a_liquidation_tells_the_position_and_its_value(bitget: Bitget, side: bytes, liquidated: int) -> None:
    message = LIQUIDATION.replace(b'"buy"', b'"' + side + b'"')
    assert bitget.parse(message) == [Liquidation(BTC, AT_NS, 59000.0, 1.5, liquidated)]
    coin = message.replace(b"usdt-futures", b"coin-futures").replace(b'"BTCUSDT"', b'"BTCUSD_CM"')
    assert bitget.parse(coin) == [Liquidation(INVERSE, AT_NS, 59000.0, 88500.0, liquidated)]


def test_a_books_change_follows_another(bitget: Bitget) -> None:
    numbers = 1483653649791156272, 1483653649791156270
    levels = ((60000.0, 1.5),), ((60001.0, 0.0),)
    assert bitget.parse(CHANGE) == [Book(BTC, AT_NS, *levels, False, *numbers)]
    (whole,) = bitget.parse(CHANGE.replace(b'"update"', b'"snapshot"'))
    assert whole == Book(BTC, AT_NS, *levels, True, numbers[0], -1)
    (anew,) = bitget.parse(CHANGE.replace(b'"pseq":1483653649791156270', b'"pseq":0'))
    assert isinstance(anew, Reset)


def test_answers_to_requests(bitget: Bitget) -> None:
    assert bitget.parse(SAMPLES[7]) == [Subscribed(("usdt-futures/books/BTCUSDT",))]
    assert bitget.parse(SAMPLES[7].replace(b'"subscribe"', b'"unsubscribe"')) == []
    assert bitget.parse(b"pong") == [Pong()]
    error = b'{"event":"error","code":30001,"msg":"instType:usdt-futures,topic:books,symbol:X doesn\'t exist"}'
    (refused,) = bitget.parse(error)
    assert isinstance(refused, Refused)
    assert "doesn't exist" in refused.reason


def test_a_topics_name_is_what_the_venue_confirms(bitget: Bitget) -> None:
    (stream,) = bitget.streams
    names = {topic.name for topic in bitget.topics(stream, [BTC, BTC_USDC, INVERSE])}
    assert {"usdt-futures/liquidation", "usdc-futures/books/BTCPERP", "coin-futures/ticker/BTCUSD_CM"} <= names
    (request,) = bitget.subscribe(sorted(names), 1)
    for arg in json.loads(request)["args"]:
        (confirmed,) = bitget.parse(json.dumps({"event": "subscribe", "arg": arg}))
        assert isinstance(confirmed, Subscribed)
        names.remove(*confirmed.topics)
    assert not names


def test_what_is_not_ours_is_named(bitget: Bitget) -> None:
    assert bitget.parse(TRADE.replace(b"usdt-futures", b"spot")) == [Unknown("publicTrade of spot")]
    assert bitget.parse(TRADE.replace(b'"publicTrade"', b'"kline"')) == [Unknown("kline")]
    assert bitget.parse(TRADE.replace(b'"BTCUSDT"', b'"NEWUSDT"')) == [Unlisted("NEWUSDT")]


@pytest.mark.parametrize(
    ("native_id", "base", "quote", "inverse"),
    [("ETHPERP", "ETH", "USDC", False), ("ETHUSD_CM", "ETH", "USD", True), ("ETHCMZ26", "ETH", "USD", True)],
)
def test_ids_say_what_an_instrument_is(native_id: str, base: str, quote: str, inverse: bool) -> None:
    (listing,) = described(Bitget, native_id).values()
    assert (listing.instrument.base, listing.instrument.quote, listing.inverse) == (base, quote, inverse)


@pytest.mark.parametrize("native_id", ["BTCUSD", "BTCUSDZ24", "BTCUSDC"])
def test_coin_margined_contracts_that_counted_coins_are_not_described(native_id: str) -> None:
    assert Bitget.describe(native_id) is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":"60010.5"', b'"p":"0"', r"\.p`"),
        (b'"v":"0.25"', b'"v":"inf"', r"\.v`"),
        (b'"S":"sell"', b'"S":"SELL"', r"\.S`"),
        (b'"T":"1790000000123"', b'"T":"17"', r"\.T`"),
    ],
)
def test_bad_fields_are_named(bitget: Bitget, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        bitget.parse(TRADE.replace(good, bad))
