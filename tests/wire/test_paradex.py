"""Paradex's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import struct

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
from forcedmove_server.collectors.venues.paradex import Paradex
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Paradex, "BTC-USD-PERP", "kBONK-USD-PERP")
BTC, BONK = LISTINGS.values()
AT_US = 1_790_000_000_123_456
AT_NS = AT_US * 1_000
AT_MS_NS = AT_NS // 1_000_000 * 1_000_000
NONE = -(2**63)


def frame(template: int, block: bytes, rest: bytes, version: int = 1) -> bytes:
    return struct.pack("<HHHH", len(block), template, 1, version) + block + rest


def trade_frame(side: int = 2, kind: int = 1, price: int = 6_001_050_000_000, trade_id: bytes = b"\x04id-1") -> bytes:
    block = struct.pack("<qqqBqqqB", AT_US + 9, 7, 1, side, price, 25_000_000, AT_US, kind)
    return frame(1, block, b"\x0cBTC-USD-PERP" + trade_id)


def summary_frame(mark: int = 6_000_150_000_000, interest: int = 16_227_200_000, more: int = 24) -> bytes:
    block = struct.pack(f"<7q{more - 1}q", AT_US, 7, mark, 1, 1, 1, interest, *[NONE] * (more - 1))
    return frame(4, block, b"\x0cBTC-USD-PERP")


def book_frame(kind: int = 0, name: bytes = b"\x0ekBONK-USD-PERP") -> bytes:
    block = struct.pack("<qqB9q", AT_US, 77, kind, *[NONE] * 9)
    bids = struct.pack("<HHqqqq", 16, 2, 2_800_000, 4_000_000_000, 2_700_000, 5_000_000_000)
    asks = struct.pack("<HHqq8x", 24, 1, 2_900_000, 6_000_000_000)  # entries may grow
    return frame(3, block, bids + asks + name)


TRADE = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ALL","data":{"id":"1718179273230201","market":'
    b'"BTC-USD-PERP","side":"SELL","size":"0.25","price":"60010.5","created_at":1790000000123,"trade_type":"FILL"}}}'
)
SUMMARY = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"markets_summary","data":{"symbol":"BTC-USD-PERP",'
    b'"oracle_price":"60000","mark_price":"60001.5","created_at":1790000000123,"open_interest":"162.272"}}}'
)
BOOK = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"order_book.BTC-USD-PERP.snapshot@15@100ms","data":{'
    b'"seq_no":77,"market":"BTC-USD-PERP","last_updated_at":1790000000123,"update_type":"s","inserts":[{"side":"BUY",'
    b'"price":"60000","size":"1"},{"side":"SELL","price":"60001","size":"2"}],"updates":[],"deletes":[]}}}'
)
ACCEPTED = b'{"jsonrpc":"2.0","result":{"channel":"trades.BTC-USD-PERP"},"usIn":1,"usDiff":2,"id":5}'
REFUSED = (
    b'{"jsonrpc":"2.0","id":5,"error":{"code":-32600,"message":"invalid subscribe request","data":"invalid channel"},'
    b'"usIn":1}'
)
SUMMARIES = (
    b'{"results":[{"symbol":"BTC-USD-96000-C","mark_price":"12.5","open_interest":"3","created_at":1790000000123},'
    b'{"symbol":"BTC-USD-PERP","mark_price":"60001.5","open_interest":"162.272","created_at":1790000000123}]}'
)
TRADES = (
    b'{"next":"","results":[{"id":"2","market":"BTC-USD-PERP","side":"BUY","size":"1","price":"3","created_at":'
    b'1790000000456,"trade_type":"RPI"},{"id":"1","market":"BTC-USD-PERP","side":"SELL","size":"1","price":"3",'
    b'"created_at":1790000000123,"trade_type":"FILL"}]}'
)
#: what the fuzzer starts from
SAMPLES = (
    trade_frame(),
    trade_frame(kind=2),
    summary_frame(),
    book_frame(),
    TRADE,
    SUMMARY,
    BOOK,
    ACCEPTED,
    REFUSED,
    SUMMARIES,
    TRADES,
)


@pytest.fixture
def paradex() -> Paradex:
    return Paradex(LISTINGS)


@pytest.mark.parametrize(("side", "aggressor"), [(1, 1), (2, -1)])
def test_trade(paradex: Paradex, side: int, aggressor: int) -> None:
    assert paradex.parse(trade_frame(side)) == [Trade(BTC, AT_NS, 60010.5, 0.25, aggressor, "id-1")]


@pytest.mark.parametrize(("side", "aggressor", "liquidated"), [(2, -1, 0), (1, 1, 1)])
def test_a_liquidation_is_a_trade_whose_taker_closed_the_position(
    paradex: Paradex, side: int, aggressor: int, liquidated: int
) -> None:
    assert paradex.parse(trade_frame(side, kind=2)) == [
        Trade(BTC, AT_NS, 60010.5, 0.25, aggressor, "id-1"),
        Liquidation(BTC, AT_NS, 60010.5, 0.25, liquidated, "id-1"),
    ]


@pytest.mark.parametrize("kind", [3, 4, 6, 99])
def test_what_was_not_matched_on_the_book_is_left_out(paradex: Paradex, kind: int) -> None:
    assert paradex.parse(trade_frame(kind=kind)) == []


def test_a_trade_without_its_text_has_no_id(paradex: Paradex) -> None:
    (trade,) = paradex.parse(trade_frame(trade_id=b""))
    assert isinstance(trade, Trade)
    assert trade.trade_id == ""


@pytest.mark.parametrize("more", [1, 24, 25])
def test_summary_of_any_version(paradex: Paradex, more: int) -> None:
    mark, interest = paradex.parse(summary_frame(more=more))
    assert mark == Mark(BTC, AT_NS, 60001.5)
    assert interest == OpenInterest(BTC, AT_NS, 162.272)


def test_the_least_integer_is_none(paradex: Paradex) -> None:
    assert paradex.parse(summary_frame(mark=NONE, interest=NONE)) == []


def test_book(paradex: Paradex) -> None:
    (book,) = paradex.parse(book_frame())
    assert isinstance(book, Book)
    assert (book.listing, book.time_ns, book.snapshot, book.sequence) == (BONK, AT_NS, True, 77)
    assert book.bids == (pytest.approx((0.028 / 1000, 40e3)), pytest.approx((0.027 / 1000, 50e3)))
    assert book.asks == (pytest.approx((0.029 / 1000, 60e3)),)
    assert paradex.parse(book_frame(kind=1)) == [Unknown("order_book delta")]


def test_pushes_as_they_were(paradex: Paradex) -> None:
    assert paradex.parse(TRADE) == [Trade(BTC, AT_MS_NS, 60010.5, 0.25, -1, "1718179273230201")]
    assert paradex.parse(SUMMARY) == [Mark(BTC, AT_MS_NS, 60001.5), OpenInterest(BTC, AT_MS_NS, 162.272)]
    assert paradex.parse(BOOK) == [Book(BTC, AT_MS_NS, ((60000.0, 1.0),), ((60001.0, 2.0),), True, 77)]
    assert paradex.parse(BOOK.replace(b'"s"', b'"d"')) == [Unknown("order_book delta")]


def test_rest_answers(paradex: Paradex) -> None:
    (census,) = paradex.census(ContractType.LINEAR)
    *found, option = paradex.parse_answer(census, SUMMARIES)
    assert (found, option) == (paradex.parse(SUMMARY), Unlisted("BTC-USD-96000-C"))
    assert [trade.trade_id for trade in paradex.parse(TRADES) if isinstance(trade, Trade)] == ["1", "2"]
    assert isinstance(paradex.parse(b'{"results":[{"symbol":"BTC-USD-PERP"}]}')[0], Unknown)


def test_answers_to_requests(paradex: Paradex) -> None:
    assert paradex.parse(ACCEPTED) == [Subscribed(request_id=5)]
    assert paradex.parse(REFUSED) == [Refused("invalid subscribe request: invalid channel", request_id=5)]


def test_what_is_not_known_is_named(paradex: Paradex) -> None:
    assert paradex.parse(frame(2, bytes(60), b"\x0cBTC-USD-PERP")) == [Unknown("template 2")]
    assert paradex.parse(TRADE.replace(b"trades.ALL", b"funding_data")) == [Unknown("funding_data")]
    assert paradex.parse(trade_frame().replace(b"BTC", b"NEW")) == [Unlisted("NEW-USD-PERP")]
    assert Paradex.describe("BTC-USD-96000-C") is None
    assert BONK.instrument.symbol == "BONK"


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (trade_frame(price=0), "price"),
        (trade_frame(price=NONE), "price"),
        (trade_frame(side=0), "side"),
        (trade_frame()[:40], "block"),
        (trade_frame()[:60], "text"),
        (trade_frame().replace(b"BTC", b"B\xffC"), "utf-8"),
        (book_frame()[:100], "levels"),
        (book_frame(name=b""), "text"),
        (struct.pack("<HHHH", 8, 1, 2, 1) + bytes(8), "schema"),
        (b"\x32\x00\x01", "header"),
        (TRADE.replace(b'"SELL"', b'"ask"'), "side"),
        (TRADE.replace(b"1790000000123", b"1790000000"), "created_at"),
    ],
)
def test_bad_fields_are_named(paradex: Paradex, broken: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        paradex.parse(broken)
