"""Crypto.com's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import json

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterest,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.cryptocom import CryptoCom
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(CryptoCom, "BTCUSD-PERP", "1000SHIBUSD-PERP")
BTC, SHIB = LISTINGS.values()
AT_MS = 1_790_000_000_123
AT_NS = AT_MS * 1_000_000

TRADE = (
    b'{"id":-1,"method":"subscribe","code":0,"result":{"channel":"trade","subscription":"trade.BTCUSD-PERP",'
    b'"instrument_name":"BTCUSD-PERP","data":[{"d":"4611686018428108636","t":1790000000123,"p":"60010.5",'
    b'"q":"0.25","s":"SELL","i":"BTCUSD-PERP"},{"d":"4611686018428108635","t":1790000000122,"p":"60010.0",'
    b'"q":"1.5","s":"BUY","i":"BTCUSD-PERP"}]}}'
)
TICKER = (
    b'{"id":-1,"method":"subscribe","code":0,"result":{"channel":"ticker","instrument_name":"BTCUSD-PERP",'
    b'"subscription":"ticker.BTCUSD-PERP","data":[{"a":"60000","i":"BTCUSD-PERP","oi":"1616.25",'
    b'"t":1790000000123}]}}'
)
MARK = (
    b'{"id":-1,"method":"subscribe","code":0,"result":{"channel":"mark","instrument_name":"BTCUSD-PERP",'
    b'"subscription":"mark.BTCUSD-PERP","data":[{"v":"60000.25","t":1790000000123}]}}'
)
BOOK = (
    b'{"id":-1,"method":"subscribe","code":0,"result":{"channel":"book","instrument_name":"BTCUSD-PERP",'
    b'"subscription":"book.BTCUSD-PERP.50","depth":50,"data":[{"asks":[["60001","1.5","2"]],'
    b'"bids":[["60000","0.5","1"]],"t":1790000000123,"tt":1790000000120,"u":160,"cs":1}]}}'
)
CHANGE = (
    b'{"id":-1,"method":"subscribe","code":0,"result":{"channel":"book.update","instrument_name":"BTCUSD-PERP",'
    b'"subscription":"book.BTCUSD-PERP.50","depth":50,"data":[{"update":{"asks":[["60001","0","0"]],"bids":[]},'
    b'"t":1790000000123,"tt":1790000000120,"u":320,"pu":160,"cs":1}]}}'
)
TICKERS = (
    b'{"id":-1,"method":"public/get-tickers","code":0,"result":{"data":[{"i":"BTCUSD-PERP","a":"60000",'
    b'"oi":"1616.25","t":1790000000123},{"i":"BTC_USD","a":"60000","t":1790000000123}]}}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    TICKER,
    MARK,
    BOOK,
    CHANGE,
    TICKERS,
    b'{"id":6,"method":"subscribe","code":0}',
    b'{"id":7,"method":"subscribe","code":40003,"message":"Unknown symbol"}',
    b'{"id":1587523073344,"method":"public/heartbeat","code":0}',
)


@pytest.fixture
def crypto_com() -> CryptoCom:
    return CryptoCom(LISTINGS)


def test_the_first_message_of_a_trade_channel_is_the_past(crypto_com: CryptoCom) -> None:
    earlier = Trade(BTC, AT_NS - 1_000_000, 60010.0, 1.5, 1, 4611686018428108635, replayed=True)
    later = Trade(BTC, AT_NS, 60010.5, 0.25, -1, 4611686018428108636, replayed=True)
    assert crypto_com.parse(TRADE) == [earlier, later]
    assert [one.replayed for one in crypto_com.parse(TRADE) if isinstance(one, Trade)] == [False, False]
    crypto_com.subscribe(["trade.BTCUSD-PERP"], 5)
    assert crypto_com.parse(TRADE) == [earlier, later]


def test_figures_were_numbers(crypto_com: CryptoCom) -> None:
    old = TRADE.replace(b'"60010.5"', b"60010.5").replace(b'"0.25"', b"0.25").replace(b'"4611686018428108636"', b"7")
    assert crypto_com.parse(old)[1] == Trade(BTC, AT_NS, 60010.5, 0.25, -1, 7, replayed=True)


def test_thousands_are_taken_apart(crypto_com: CryptoCom) -> None:
    message = MARK.replace(b"BTCUSD", b"1000SHIBUSD").replace(b"60000.25", b"0.0125")
    assert crypto_com.parse(message) == [Mark(SHIB, AT_NS, 0.0125 / 1000)]
    interest = TICKER.replace(b"BTCUSD", b"1000SHIBUSD")
    assert crypto_com.parse(interest) == [OpenInterest(SHIB, AT_NS, 1_616_250.0)]


def test_mark_and_open_interest(crypto_com: CryptoCom) -> None:
    assert crypto_com.parse(MARK) == [Mark(BTC, AT_NS, 60000.25)]
    assert crypto_com.parse(TICKER) == [OpenInterest(BTC, AT_NS, 1616.25)]


def test_books(crypto_com: CryptoCom) -> None:
    assert crypto_com.parse(BOOK) == [Book(BTC, AT_NS, ((60000.0, 0.5),), ((60001.0, 1.5),), True, 160)]
    assert crypto_com.parse(CHANGE) == [Book(BTC, AT_NS, (), ((60001.0, 0.0),), False, 320, 160)]


def test_rest_answers_have_spot_too(crypto_com: CryptoCom) -> None:
    assert crypto_com.parse(TICKERS) == [OpenInterest(BTC, AT_NS, 1616.25)]
    trades = (
        b'{"id":-1,"method":"public/get-trades","code":0,"result":{"data":[{"s":"sell","p":"60010.5","q":"0.25",'
        b'"t":1790000000123,"d":"8","i":"BTCUSD-PERP"}]}}'
    )
    assert crypto_com.parse(trades) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 8, replayed=True)]
    book = b'{"id":-1,"method":"public/get-book","code":0,"result":{"instrument_name":"BTCUSD-PERP","data":['
    book += b'{"bids":[["60000","0.5","1"]],"asks":[],"t":1790000000123}]}}'
    assert crypto_com.parse(book) == [Book(BTC, AT_NS, ((60000.0, 0.5),), (), True)]


def test_books_are_asked_for_as_snapshots(crypto_com: CryptoCom) -> None:
    others, books = map(json.loads, crypto_com.subscribe(["trade.BTCUSD-PERP", "book.BTCUSD-PERP.50"], 3))
    assert others == {"id": 6, "method": "subscribe", "params": {"channels": ["trade.BTCUSD-PERP"]}}
    assert books["id"] == 7
    assert books["params"] == {
        "channels": ["book.BTCUSD-PERP.50"],
        "book_subscription_type": "SNAPSHOT",
        "book_update_frequency": 500,
    }
    assert crypto_com.parse(SAMPLES[6]) == [Subscribed(("trade.BTCUSD-PERP",))]
    assert crypto_com.parse(SAMPLES[7]) == [Refused("Unknown symbol (40003)", ("book.BTCUSD-PERP.50",))]
    assert crypto_com.parse(b'{"id":8,"method":"unsubscribe","code":0}') == [Subscribed()]


def test_an_answer_may_name_its_channel(crypto_com: CryptoCom) -> None:
    crypto_com.subscribe(["trade.BTCUSD-PERP", "mark.BTCUSD-PERP"], 3)
    named = SAMPLES[6].replace(b"}", b',"channel":"mark.BTCUSD-PERP"}')
    assert crypto_com.parse(named) == [Subscribed(("mark.BTCUSD-PERP",))]


def test_a_heartbeat_is_answered_under_its_number(crypto_com: CryptoCom) -> None:
    (reply,) = crypto_com.parse(SAMPLES[8])
    assert isinstance(reply, Reply)
    assert json.loads(reply.content) == {"id": 1587523073344, "method": "public/respond-heartbeat"}


def test_what_is_not_described() -> None:
    assert CryptoCom.describe("BTC_USDT") is None
    assert CryptoCom.describe("BTCUSD-INDEX") is None


def test_what_is_not_known_is_named(crypto_com: CryptoCom) -> None:
    assert crypto_com.parse(TICKER.replace(b'"channel":"ticker"', b'"channel":"funding"')) == [Unknown("funding")]
    assert crypto_com.parse(MARK.replace(b"BTCUSD-PERP", b"NEWUSD-PERP")) == [Unlisted("NEWUSD-PERP")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":"60010.5"', b'"p":"0"', "p"),
        (b'"q":"0.25"', b'"q":"inf"', "q"),
        (b'"s":"SELL"', b'"s":"SHORT"', "s"),
        (b'"t":1790000000123', b'"t":1790000000', "t"),
        (b'"4611686018428108636"', b'"one"', "one"),
    ],
)
def test_bad_fields_are_named(crypto_com: CryptoCom, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        crypto_com.parse(TRADE.replace(good, bad))
