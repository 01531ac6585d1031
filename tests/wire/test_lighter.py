"""Lighter's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Pong,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.lighter import Lighter
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Lighter, "0", "1", "4")
ETH, BTC, PEPE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

ROW = (
    b'{"trade_id":18240999145,"trade_id_str":"18240999145","type":"trade","market_id":1,"size":"0.25",'
    b'"price":"60010.5","usd_amount":"15002.6","ask_account_id":1,"bid_account_id":2,"is_maker_ask":false,'
    b'"timestamp":1790000000123,"taker_position_size_before":"0.7"}'
)
TRADE = b'{"channel":"trade:1","liquidation_trades":[],"nonce":9,"trades":[' + ROW + b'],"type":"update/trade"}'
LIQUIDATED = ROW.replace(b'"type":"trade"', b'"type":"liquidation"')
LIQUIDATION = (
    b'{"channel":"trade:1","liquidation_trades":[' + LIQUIDATED + b'],"nonce":9,"trades":[],"type":"update/trade"}'
)
STATS = (
    b'{"channel":"market_stats:all","timestamp":1790000000123,"type":"update/market_stats","market_stats":{"1":{'
    b'"symbol":"BTC","market_id":1,"index_price":"60000.0","mark_price":"60000.0","open_interest":"120000000.0",'
    b'"daily_price_low":59000.5},"4":{"symbol":"1000PEPE","market_id":4,"mark_price":"0.0125","open_interest":"1250"}}}'
)
SINGLE = (
    b'{"channel":"market_stats:0","timestamp":1790000000123,"type":"subscribed/market_stats","market_stats":{'
    b'"symbol":"ETH","market_id":0,"mark_price":"","open_interest":"3000.0"}}'
)
BOOK = (
    b'{"channel":"order_book:1","offset":5,"timestamp":1790000000123,"type":"subscribed/order_book","order_book":{'
    b'"code":0,"asks":[{"price":"60001","size":"2"}],"bids":[{"price":"60000","size":"1"}],"offset":5,"nonce":70,'
    b'"begin_nonce":0}}'
)
CHANGES = (
    b'{"channel":"order_book:1","offset":6,"timestamp":1790000000123,"type":"update/order_book","order_book":{"code":0,'
    b'"asks":[{"price":"60001","size":"0.0"}],"bids":[],"offset":6,"nonce":74,"begin_nonce":70}}'
)
DETAILS = b'{"code":200,"order_book_details":[{"symbol":"BTC","market_id":1,"status":"active","open_interest":2000.5}]}'
REFUSED = b'{"error":{"code":30005,"message":"Invalid Channel:  (trade:7000)"}}'
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    STATS,
    SINGLE,
    BOOK,
    CHANGES,
    DETAILS,
    REFUSED,
    b'{"type":"ping"}',
    b'{"type":"unsubscribed","channel":"trade:1"}',
    b'{"code":200,"trades":[' + ROW + b"]}",
)


@pytest.fixture
def lighter() -> Lighter:
    return Lighter(LISTINGS)


@pytest.mark.parametrize(("is_maker_ask", "aggressor"), [(b"false", -1), (b"true", 1)])
def test_the_taker_buys_what_a_maker_asks_for(lighter: Lighter, is_maker_ask: bytes, aggressor: int) -> None:
    message = TRADE.replace(b'"is_maker_ask":false', b'"is_maker_ask":' + is_maker_ask)
    assert lighter.parse(message) == [Trade(BTC, AT_NS, 60010.5, 0.25, aggressor, 18240999145)]


@pytest.mark.parametrize(
    ("before", "is_maker_ask", "side"),
    [(b'"0.7"', b"false", 0), (b'"-0.7"', b"true", 1), (b'""', b"false", 0), (b'""', b"true", 1)],
)
def test_the_taker_of_a_liquidation_is_who_was_liquidated(
    lighter: Lighter, before: bytes, is_maker_ask: bytes, side: int
) -> None:
    message = LIQUIDATION.replace(b'"0.7"', before).replace(b'"is_maker_ask":false', b'"is_maker_ask":' + is_maker_ask)
    aggressor = 1 if is_maker_ask == b"true" else -1
    assert lighter.parse(message) == [
        Trade(BTC, AT_NS, 60010.5, 0.25, aggressor, 18240999145),
        Liquidation(BTC, AT_NS, 60010.5, 0.25, side, 18240999145),
    ]


@pytest.mark.parametrize("kind", [b"deleverage", b"market-settlement"])
def test_what_was_not_matched_on_the_book_is_left_out(lighter: Lighter, kind: bytes) -> None:
    assert lighter.parse(LIQUIDATION.replace(b'"liquidation",', b'"' + kind + b'",')) == []


def test_a_subscription_begins_with_the_past_the_newest_first(lighter: Lighter) -> None:
    older = ROW.replace(b"18240999145", b"18240999144")
    message = TRADE.replace(b"update", b"subscribed").replace(ROW, ROW + b"," + older)
    accepted, *trades = lighter.parse(message)
    assert accepted == Subscribed(("trade/1",))
    found = [(trade.trade_id, trade.replayed) for trade in trades if isinstance(trade, Trade)]
    assert found == [(18240999144, True), (18240999145, True)]


def test_open_interest_is_dollars_on_the_websocket_and_coins_in_answers(lighter: Lighter) -> None:
    price = 0.0125 / 1000
    assert lighter.parse(STATS) == [
        Mark(BTC, AT_NS, 60000.0),
        OpenInterest(BTC, AT_NS, 2000.0),
        Mark(PEPE, AT_NS, price),
        OpenInterest(PEPE, AT_NS, 1250 / price),
    ]
    assert lighter.parse(SINGLE) == [Subscribed(("market_stats/0",)), OpenInterestValue(ETH, AT_NS, 3000.0)]
    (census,) = lighter.census(ContractType.LINEAR)
    assert lighter.parse_answer(census, DETAILS) == [OpenInterest(BTC, 0, 2000.5)]


def test_a_book_s_message_names_the_one_before(lighter: Lighter) -> None:
    whole = Book(BTC, AT_NS, ((60000.0, 1.0),), ((60001.0, 2.0),), True, 70)
    assert lighter.parse(BOOK) == [Subscribed(("order_book/1",)), whole]
    assert lighter.parse(CHANGES) == [Book(BTC, AT_NS, (), ((60001.0, 0.0),), False, 74, 70)]


def test_recent_trades_of_an_answer(lighter: Lighter) -> None:
    assert lighter.parse(SAMPLES[10]) == lighter.parse(TRADE)
    assert lighter.parse(b'{"code":200,"trades":null}') == [Unknown("no type")]


def test_answers_to_requests(lighter: Lighter) -> None:
    assert lighter.parse(b'{"type":"ping"}') == [Reply('{"type":"pong"}')]
    assert lighter.parse(b'{"type":"pong"}') == [Pong()]
    assert lighter.parse(b'{"session_id":"8d35","type":"connected"}') == []
    assert lighter.parse(SAMPLES[9]) == [Subscribed()]
    assert lighter.parse(REFUSED) == [Refused("Invalid Channel:  (trade:7000)", ("trade/7000",))]
    again = b'{"error":{"code":30003,"message":"Already Subscribed to : market_stats:all"}}'
    assert lighter.parse(again) == [Subscribed(("market_stats/all",))]
    assert lighter.parse(again.replace(b"30003", b"30002").replace(b"Already", b"Not")) == [Subscribed()]


def test_what_is_not_known_is_named(lighter: Lighter) -> None:
    assert lighter.parse(b'{"channel":"height","height":7,"type":"update/height"}') == [Unknown("height")]
    assert lighter.parse(TRADE.replace(b'"market_id":1', b'"market_id":2048')) == [Unlisted("2048")]
    assert Lighter.describe("2048") is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":"60010.5"', b'"price":"0"', "price"),
        (b'"size":"0.25"', b'"size":"-1"', "size"),
        (b'"is_maker_ask":false', b'"is_maker_ask":2', "is_maker_ask"),
        (b'"timestamp":1790000000123', b'"timestamp":1790000000', "timestamp"),
    ],
)
def test_bad_fields_are_named(lighter: Lighter, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        lighter.parse(TRADE.replace(good, bad))
