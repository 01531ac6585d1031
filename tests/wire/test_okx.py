"""OKX's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import json
import math

import pytest

from forcedmove_server.collectors.books import BookKeeper
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
from forcedmove_server.collectors.venues.okx import Okx
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Okx, "BTC-USDT-SWAP", "BTC-USD-SWAP")
BTC, INVERSE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"77","px":"60010.5",'
    b'"sz":"25","side":"sell","ts":"1790000000123","count":"3","source":"0","seqId":900}]}'
)
LIQUIDATION = (
    b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP",'
    b'"details":[{"side":"sell","posSide":"long","bkPx":"59000","sz":"150","bkLoss":"0","ccy":"","ts":"1790000000123"},'
    b'{"side":"buy","posSide":"net","bkPx":"61000","sz":"2.5","bkLoss":"0","ccy":"","ts":"1790000000123"}]}]}'
)
BOOK = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"bids":[["60000","100","0","4"]],'
    b'"asks":[["60001","0","0","0"]],"ts":"1790000000123","checksum":-12,"prevSeqId":10,"seqId":15}]}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    BOOK,
    b'{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP",'
    b'"markPx":"60000.1","ts":"1790000000123"}]}',
    b'{"code":"0","msg":"","data":[{"instType":"SWAP","instId":"BTC-USD-SWAP","oi":"5000","oiCcy":"8","oiUsd":"500000",'
    b'"ts":"1790000000123"}]}',
    b'{"id":"3","event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"connId":"c"}',
    b"pong",
)


@pytest.fixture
def okx() -> Okx:
    return Okx(LISTINGS)


def test_contracts_become_coins_or_dollars(okx: Okx) -> None:
    assert okx.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 77)]
    assert okx.parse(TRADE.replace(b"USDT", b"USD")) == [Trade(INVERSE, AT_NS, 60010.5, 2500.0, -1, 77)]


def test_every_detail_of_a_liquidation_counts(okx: Okx) -> None:
    expected = [Liquidation(BTC, AT_NS, 59000.0, 1.5, 0), Liquidation(BTC, AT_NS, 61000.0, 0.025, 1)]
    assert okx.parse(LIQUIDATION) == expected
    assert okx.parse(b'{"code":"0","msg":"","data":' + LIQUIDATION.partition(b'"data":')[2]) == expected  # REST


def test_marks_and_open_interest(okx: Okx) -> None:
    assert okx.parse(SAMPLES[3]) == [Mark(BTC, AT_NS, 60000.1)]
    assert okx.parse(SAMPLES[4]) == [OpenInterest(INVERSE, AT_NS, 500_000.0)]


def test_a_book_is_followed_through_a_change_of_its_numbers(okx: Okx) -> None:
    begin = BOOK.replace(b"update", b"snapshot").replace(b'"prevSeqId":10,"seqId":15', b'"prevSeqId":-1,"seqId":10')
    renumbered = BOOK.replace(b'"prevSeqId":10,"seqId":15', b'"prevSeqId":15,"seqId":3').replace(b'"100"', b'"200"')
    after = BOOK.replace(b'"prevSeqId":10,"seqId":15', b'"prevSeqId":3,"seqId":5').replace(b'"100"', b'"300"')
    keeper = BookKeeper()
    for message in (begin, BOOK, renumbered, after):
        (book,) = okx.parse(message)
        assert isinstance(book, Book)
        assert keeper.take(book)
    assert keeper.top(5) == (((60000.0, 3.0),), ())
    (late,) = okx.parse(BOOK.replace(b'"prevSeqId":10,"seqId":15', b'"prevSeqId":9,"seqId":11'))
    assert isinstance(late, Book)
    assert not keeper.take(late)


def test_answers_to_requests(okx: Okx) -> None:
    assert okx.parse(b"pong") == [Pong()]
    assert okx.parse(SAMPLES[5]) == [Subscribed(("trades:BTC-USDT-SWAP",))]
    text = "Wrong URL or channel:trades,instId:NO-USDT-SWAP doesn't exist."
    error = json.dumps({"id": "3", "event": "error", "code": "60018", "msg": text})
    assert okx.parse(error) == [Refused(f"60018 {text}", ("trades:NO-USDT-SWAP",))]
    error = json.dumps({"id": "3", "event": "error", "code": "60012", "msg": "Invalid request"})
    assert okx.parse(error) == [Refused("60012 Invalid request", request_id=3)]
    assert okx.parse(SAMPLES[5].replace(b'"subscribe"', b'"unsubscribe"')) == []
    closing = json.dumps({"event": "notice", "code": "64008", "msg": "service upgrade", "connId": "c"})
    assert okx.parse(closing) == [Reset("service upgrade")]


def test_what_is_not_known_is_named(okx: Okx) -> None:
    assert okx.parse(TRADE.replace(b'"trades"', b'"candle1m"')) == [Unknown("candle1m")]
    assert okx.parse(b'{"table":"swap/trade","data":[{"price":"1"}]}') == [Unknown("swap/trade")]
    assert okx.parse(TRADE.replace(b"BTC-USDT", b"NEW-USDT")) == [Unlisted("NEW-USDT-SWAP")]


@pytest.mark.parametrize(
    ("native_id", "contract"), [("BTC-USDT-261225", 0.01), ("BTC-USD-261225", 100.0), ("BTC-USDC-SWAP", math.nan)]
)
def test_dated_contracts_are_described(native_id: str, contract: float) -> None:
    listing = Okx.describe(native_id)
    assert listing is not None
    assert listing.contract == pytest.approx(contract, nan_ok=True)


@pytest.mark.parametrize("native_id", ["BTC-USDT", "BTC-USD-261225-90000-C", "BTC-USD_UM_XPERP-310404"])
def test_what_is_no_future_is_not_described(native_id: str) -> None:
    assert Okx.describe(native_id) is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"px":"60010.5"', b'"px":"0"', "px"),
        (b'"sz":"25"', b'"sz":"nan"', "sz"),
        (b'"side":"sell"', b'"side":"SELL"', "side"),
        (b'"ts":"1790000000123"', b'"ts":"17900"', "ts"),
        (b'"tradeId":"77"', b'"tradeId":"x"', "tradeId"),
    ],
)
def test_bad_fields_are_named(okx: Okx, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        okx.parse(TRADE.replace(good, bad))
