"""Phemex' messages, one of each kind, written from its documentation."""

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
from forcedmove_server.collectors.venues.phemex import Phemex
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Phemex, "BTCUSDT", "BTCUSD", "u1000PEPEUSDT", "ETHUSDC", "cETHUSD")
BTC, INVERSE, PEPE, USDC, COIN = LISTINGS.values()
AT_NS = 1_790_000_000_123_456_789

TRADES = (
    b'{"sequence":77,"symbol":"BTCUSDT","trades_p":[[1790000000123456789,"Sell","60010.5","0.25"],'
    b'[1790000000123456789,"Sell","60010.5","0.25"]],"type":"incremental"}'
)
SCALED = b'{"sequence":78,"symbol":"BTCUSD","trades":[[1790000000123456789,"Buy",600105000,250]],"type":"snapshot"}'
BOOK = (
    b'{"depth":30,"orderbook_p":{"asks":[["60001","0"]],"bids":[["60000","0.5"]]},"sequence":80,"symbol":"BTCUSDT",'
    b'"timestamp":1790000000123456789,"type":"incremental","dts":1,"mts":1}'
)
SCALED_BOOK = (
    b'{"book":{"asks":[[600010000,7]],"bids":[]},"depth":30,"sequence":81,"symbol":"BTCUSD","timestamp":'
    b'1790000000123456789,"type":"snapshot"}'
)
PACK = (
    b'{"data":[["BTCUSDT","1","1","1","1","1","1","1848.5","1","60000.25","0.0001","0.0001"]],"fields":["symbol",'
    b'"openRp","highRp","lowRp","lastRp","volumeRq","turnoverRv","openInterestRv","indexRp","markRp","fundingRateRr",'
    b'"predFundingRateRr"],"method":"perp_market24h_pack_p.update","timestamp":1790000000123456789,"type":"snapshot"}'
)
TICKER = (
    b'{"market24h":{"close":1,"markPrice":600002500,"openInterest":1234,"symbol":"BTCUSD"},"timestamp":'
    b"1790000000123456789}"
)
REST = (
    b'{"error":null,"id":0,"result":[{"symbol":"BTCUSDT","markRp":"60000.25","openInterestRv":"1848.5","timestamp":'
    b'1790000000123456789},{"symbol":"ETHUSDC","markPriceRp":"3000","openInterestRv":"0","timestamp":'
    b'"1790000000123456789"}]}'
)
ACK = b'{"error":null,"id":5,"result":{"status":"success"}}'
ERROR = b'{"error":{"code":6001,"message":"invalid argument"},"id":5,"result":null}'
PONG = b'{"error":null,"id":0,"result":"pong"}'
#: what the fuzzer starts from
SAMPLES = (TRADES, SCALED, BOOK, SCALED_BOOK, PACK, TICKER, REST, ACK, ERROR, PONG)


@pytest.fixture
def phemex() -> Phemex:
    return Phemex(LISTINGS)


def test_alike_trades_are_told_apart(phemex: Phemex) -> None:
    first, second = phemex.parse(TRADES)
    assert [first, second] == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, ANY)] * 2
    assert first.trade_id != second.trade_id


def test_an_id_does_not_depend_on_how_the_row_is_written(phemex: Phemex) -> None:
    spaced = TRADES.replace(b'","', b'", "')
    assert [trade.trade_id for trade in phemex.parse(TRADES)] == [trade.trade_id for trade in phemex.parse(spaced)]


def test_a_snapshot_repeats_the_ids_of_its_trades(phemex: Phemex) -> None:
    live, again = phemex.parse(TRADES), phemex.parse(TRADES.replace(b"incremental", b"snapshot"))
    assert [trade.trade_id for trade in live] == [trade.trade_id for trade in again]
    assert all(trade.replayed for trade in again)


def test_coin_margined_prices_are_scaled_and_sizes_dollars(phemex: Phemex) -> None:
    (trade,) = phemex.parse(SCALED)
    assert trade == Trade(INVERSE, AT_NS, 60010.5, 250.0, 1, ANY, replayed=True)
    assert phemex.parse(SCALED_BOOK) == [Book(INVERSE, AT_NS, (), ((60001.0, 7.0),), True, 81)]
    assert phemex.parse(TICKER) == [Mark(INVERSE, AT_NS, 60000.25), OpenInterest(INVERSE, AT_NS, 1234.0)]


def test_ids_are_read() -> None:
    assert [one.instrument.symbol for one in LISTINGS.values()] == ["BTC", "BTC", "PEPE", "ETH", "ETH"]
    assert [one.inverse for one in LISTINGS.values()] == [False, True, False, False, True]
    assert PEPE.units == 1000
    assert Phemex.describe("sBTCUSDT") is None
    old = Phemex.describe("ETHUSD")  # dollar-settled, delisted
    assert old is not None
    assert not old.inverse
    assert math.isnan(old.contract)


def test_books_change(phemex: Phemex) -> None:
    assert phemex.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 0.5),), ((60001.0, 0.0),), False, 80)]


def test_columns_are_remembered(phemex: Phemex) -> None:
    expected = [Mark(BTC, AT_NS, 60000.25), OpenInterest(BTC, AT_NS, 1848.5)]
    assert phemex.parse(PACK) == expected
    swapped = PACK.replace(b'"indexRp","markRp"', b'"markRp","indexRp"').replace(b'"1","60000.25"', b'"60000.25","1"')
    assert phemex.parse(swapped) == expected
    update = b'{"data":[["BTCUSDT","1","1","1","1","1","1","0","7","1","0","0"]],'
    update += b'"method":"perp_market24h_pack_p.update","timestamp":1790000000123456789,"type":"incremental"}'
    assert phemex.parse(update) == [Mark(BTC, AT_NS, 7.0)]


def test_rest_tickers(phemex: Phemex) -> None:
    marks = [Mark(BTC, AT_NS, 60000.25), OpenInterest(BTC, AT_NS, 1848.5), Mark(USDC, AT_NS, 3000.0)]
    assert phemex.parse(REST) == marks


def test_requests(phemex: Phemex) -> None:
    linear, inverse = phemex.streams
    topics = [topic.name for topic in phemex.topics(linear, [BTC])]
    assert [phemex.subscribe([topic], 7) for topic in topics] == [
        ['{"id":7,"method":"perp_market24h_pack_p.subscribe","params":[]}'],
        ['{"id":7,"method":"trade_p.subscribe","params":["BTCUSDT"]}'],
        ['{"id":7,"method":"orderbook_p.subscribe","params":["BTCUSDT",true,30]}'],
    ]
    assert phemex.unsubscribe(["orderbook_p BTCUSDT"], 8) == []
    names = [topic.name for topic in phemex.topics(inverse, [COIN])]
    assert names == ["market24h", "trade cETHUSD", "orderbook cETHUSD"]


def test_answers_to_requests(phemex: Phemex) -> None:
    assert phemex.parse(ACK) == [Subscribed(request_id=5)]
    assert phemex.parse(ERROR) == [Refused("6001: invalid argument", request_id=5)]
    assert phemex.parse(PONG) == [Pong()]


def test_what_is_not_known_is_named(phemex: Phemex) -> None:
    assert phemex.parse(b'{"tick_p":{"last":"1","symbol":".MBTCUSDT","timestamp":1}}') == [Unknown("no known field")]
    assert phemex.parse(TRADES.replace(b"BTCUSDT", b"sBTCUSDT")) == [Unlisted("sBTCUSDT")]


@pytest.mark.parametrize(
    ("message", "good", "bad", "field"),
    [
        (TRADES, b'"60010.5"', b'"-1"', r"\$\[2\]"),
        (TRADES, b'"0.25"', b'"nan"', r"\$\[3\]"),
        (TRADES, b'"Sell"', b'"Short"', r"\$\[1\]"),
        (TRADES, b"1790000000123456789", b"1790000000", r"\$\[0\]"),
        (TRADES, b"BTCUSDT", b"BTCUSD", "symbol"),
        (SCALED, b"600105000", b"60010.5", r"\$\[2\]"),
        (PACK, b'"1","60000.25"', b'"60000.25"', "data"),
    ],
)
def test_bad_fields_are_named(phemex: Phemex, message: bytes, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        phemex.parse(message.replace(good, bad))
