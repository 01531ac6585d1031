"""Bybit's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.records import (
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
from forcedmove_server.collectors.venues.bybit import Bybit
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Bybit, "BTCUSDT", "BTCUSD", "1000PEPEUSDT")
BTC, INVERSE, PEPE = LISTINGS.values()
OLD_LIQUIDATION = (
    b'{"topic":"liquidation.BTCUSD","data":{"symbol":"BTCUSD","side":"Buy","price":"59000.00","qty":"2500",'
    b'"time":1790000000123}}'
)
TICKERS = (
    b'{"retCode":0,"retMsg":"OK","result":{"category":"inverse","list":[{"symbol":"BTCUSD","lastPrice":"60000",'
    b'"markPrice":"60001.50","openInterest":"900","singleOpenInterest":"450"}]},"retExtInfo":{},"time":1790000000123}'
)
AT_MS = 1_790_000_000_123
AT_NS = AT_MS * 1_000_000

TRADE = (
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1790000000125,"data":[{"T":1790000000123,"s":"BTCUSDT",'
    b'"S":"Sell","v":"0.250","p":"60010.5","L":"MinusTick","i":"id-1","BT":false,"RPI":false}]}'
)
LIQUIDATION = (
    b'{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1790000000500,"data":[{"T":1790000000123,'
    b'"s":"BTCUSDT","S":"Buy","v":"1.5","p":"59000"}]}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    b'{"topic":"tickers.BTCUSDT","type":"delta","ts":1790000000123,"data":{"symbol":"BTCUSDT","markPrice":"60000.1",'
    b'"openInterest":"100","singleOpenInterest":"50"}}',
    b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1790000000123,"data":{"s":"BTCUSDT","b":[["60000","1"]],'
    b'"a":[["60001","0"]],"u":7,"seq":9}}',
    b'{"success":true,"ret_msg":"","conn_id":"c","req_id":"3","op":"subscribe"}',
    OLD_LIQUIDATION,
    TICKERS,
    b'{"retCode":0,"result":{"category":"linear","list":[{"execId":"id-2","symbol":"BTCUSDT","price":"60010.5",'
    b'"size":"0.250","side":"Buy","time":"1790000000123","isBlockTrade":false}]},"time":1790000000125}',
    b'{"topic":"trade.BTCUSD","data":[{"trade_time_ms":1790000000123,"timestamp":"2026-09-21T14:13:20.000Z",'
    b'"symbol":"BTCUSD","side":"Buy","size":500,"price":60010.5,"tick_direction":"PlusTick","trade_id":"id-3"}]}',
)


@pytest.fixture
def bybit() -> Bybit:
    return Bybit(LISTINGS)


def test_trade(bybit: Bybit) -> None:
    assert bybit.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, "id-1")]
    assert bybit.parse(TRADE.replace(b'"60010.5"', b"60010.5")) == bybit.parse(TRADE)


def test_inverse_sizes_are_dollars_and_thousands_are_taken_apart(bybit: Bybit) -> None:
    (inverse,) = bybit.parse(TRADE.replace(b"BTCUSDT", b"BTCUSD").replace(b"0.250", b"500"))
    assert inverse == Trade(INVERSE, AT_NS, 60010.5, 500.0, -1, "id-1")
    (pepe,) = bybit.parse(TRADE.replace(b"BTCUSDT", b"1000PEPEUSDT").replace(b"60010.5", b"0.0125"))
    assert pepe == Trade(PEPE, AT_NS, 0.0125 / 1000, 250.0, -1, "id-1")
    assert PEPE.instrument.symbol == "PEPE"


@pytest.mark.parametrize(("side", "liquidated"), [(b"Buy", 0), (b"Sell", 1)])
def test_the_side_of_a_liquidation_is_the_position(bybit: Bybit, side: bytes, liquidated: int) -> None:
    message = LIQUIDATION.replace(b'"Buy"', b'"' + side + b'"')
    assert bybit.parse(message) == [Liquidation(BTC, AT_NS, 59000.0, 1.5, liquidated)]


def test_retired_topics_are_still_read(bybit: Bybit) -> None:
    assert bybit.parse(OLD_LIQUIDATION) == [Liquidation(INVERSE, AT_NS, 59000.0, 2500.0, 0)]
    newer = OLD_LIQUIDATION.replace(b'"qty"', b'"size"').replace(b'"time"', b'"updatedTime"')
    assert bybit.parse(newer) == bybit.parse(OLD_LIQUIDATION)
    assert bybit.parse(SAMPLES[8]) == [Trade(INVERSE, AT_NS, 60010.5, 500.0, 1, "id-3")]
    oldest = SAMPLES[8].replace(b'"trade_time_ms":1790000000123,', b"")
    assert bybit.parse(oldest) == [Trade(INVERSE, AT_NS - 123_000_000, 60010.5, 500.0, 1, "id-3")]


def test_rest_answers_of_futures(bybit: Bybit) -> None:
    assert bybit.parse(TICKERS) == [Mark(INVERSE, AT_NS, 60001.5), OpenInterest(INVERSE, AT_NS, 450.0)]
    assert bybit.parse(SAMPLES[7]) == [Trade(BTC, AT_NS, 60010.5, 0.25, 1, "id-2")]
    interest = (
        b'{"result":{"symbol":"BTCUSDT","category":"linear","list":[{"openInterest":"8","singleOpenInterest":"4",'
        b'"timestamp":"1790000300123"},{"openInterest":"6","timestamp":"1790000000123"}]},"time":1790000400000}'
    )
    later = AT_NS + 300_000_000_000
    assert bybit.parse(interest) == [OpenInterest(BTC, AT_NS, 3.0), OpenInterest(BTC, later, 4.0)]


def test_spot_shares_the_symbols_and_is_left_alone(bybit: Bybit) -> None:
    (unknown,) = bybit.parse(SAMPLES[7].replace(b'"linear"', b'"spot"'))
    assert isinstance(unknown, Unknown)


@pytest.mark.parametrize(
    ("native_id", "base", "quote", "inverse"),
    [
        ("BTCPERP", "BTC", "USDC", False),
        ("BTC-26JUN26", "BTC", "USDC", False),
        ("ETHUSDT-26JUN26", "ETH", "USDT", False),
        ("BTCUSDZ26", "BTC", "USD", True),
        ("SHIB1000USDT", "SHIB", "USDT", False),
    ],
)
def test_ids_say_what_an_instrument_is(native_id: str, base: str, quote: str, inverse: bool) -> None:
    (listing,) = described(Bybit, native_id).values()
    assert (listing.instrument.base, listing.instrument.quote, listing.inverse) == (base, quote, inverse)


def test_options_are_not_described() -> None:
    assert Bybit.describe("BTC-27MAR26-70000-P-USDT") is None


def test_open_interest_counts_one_side(bybit: Bybit) -> None:
    assert bybit.parse(SAMPLES[2]) == [Mark(BTC, AT_NS, 60000.1), OpenInterest(BTC, AT_NS, 50.0)]


def test_answers_to_requests(bybit: Bybit) -> None:
    assert bybit.parse(SAMPLES[4]) == [Subscribed(request_id=3)]
    refused = SAMPLES[4].replace(b"true", b"false").replace(b'"ret_msg":""', b'"ret_msg":"error:handler not found"')
    assert bybit.parse(refused) == [Refused("error:handler not found", request_id=3)]
    assert bybit.parse(b'{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}') == [Pong()]


def test_what_is_not_known_is_named(bybit: Bybit) -> None:
    assert bybit.parse(b'{"topic":"kline.5.BTCUSDT","ts":1,"data":[]}') == [Unknown("kline")]
    assert bybit.parse(TRADE.replace(b"BTCUSDT", b"NEWUSDT")) == [Unlisted("NEWUSDT")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":"60010.5"', b'"p":"-1"', r"\.p`"),
        (b'"v":"0.250"', b'"v":"nan"', r"\.v`"),
        (b'"S":"Sell"', b'"S":"Short"', r"\.S`"),
        (b'"T":1790000000123', b'"T":17900', r"\.T`"),
    ],
)
def test_bad_fields_are_named(bybit: Bybit, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        bybit.parse(TRADE.replace(good, bad))


def test_a_delta_with_both_sides_alone_is_not_taken_for_one_side(bybit: Bybit) -> None:
    whole = SAMPLES[2].replace(b',"singleOpenInterest":"50"', b"")
    assert bybit.parse(whole) == [Mark(BTC, AT_NS, 60000.1), OpenInterest(BTC, AT_NS, 50.0)]
    before_ms = 1_700_000_000_123
    (_, old) = bybit.parse(whole.replace(str(AT_MS).encode(), str(before_ms).encode()))
    assert old == OpenInterest(BTC, before_ms * 1_000_000, 100.0)
