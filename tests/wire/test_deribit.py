"""Deribit's messages, one of each kind, written from its documentation."""

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
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.deribit import Deribit
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Deribit, "BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "NEW_USDC-PERPETUAL")
INVERSE, LINEAR, NEW = LISTINGS.values()
AT_MS = 1_790_000_000_123
AT_NS = AT_MS * 1_000_000

TRADE = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":['
    b'{"trade_seq":7,"trade_id":"407","timestamp":1790000000123,"tick_direction":2,"price":60010.5,'
    b'"mark_price":60010.1,"instrument_name":"BTC-PERPETUAL","index_price":60008.0,"direction":"sell",'
    b'"amount":2000.0,"contracts":200.0}]}}'
)
LIQUIDATION = TRADE.replace(b'"direction"', b'"liquidation":"T","direction"')
TICKER = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":{'
    b'"timestamp":1790000000123,"state":"open","stats":{"volume":null},"open_interest":661282810,'
    b'"mark_price":60000.25,"last_price":null,"instrument_name":"BTC-PERPETUAL"}}}'
)
BOOK = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC_USDC-PERPETUAL.none.20.100ms","data":{'
    b'"timestamp":1790000000123,"instrument_name":"BTC_USDC-PERPETUAL","change_id":41,"bids":[[60000.0,0.5]],'
    b'"asks":[[60001.0,1.5]]}}}'
)
CHANGE = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{'
    b'"type":"change","timestamp":1790000000123,"prev_change_id":41,"instrument_name":"BTC-PERPETUAL",'
    b'"change_id":44,"bids":[["new",60000.0,3000.0]],"asks":[["delete",60001.0,0.0]]}}}'
)
SUMMARY = (
    b'{"jsonrpc":"2.0","result":[{"instrument_name":"BTC_USDC-PERPETUAL","open_interest":120.5,"mark_price":60000.25,'
    b'"creation_timestamp":1790000000123,"mid_price":null,"base_currency":"BTC","quote_currency":"USDC"}],"usIn":1}'
)
LAST_TRADES = (
    b'{"id":2,"jsonrpc":"2.0","result":{"has_more":true,"trades":[{"amount":0.25,"contracts":250.0,'
    b'"direction":"buy","instrument_name":"BTC_USDC-PERPETUAL","price":60010.5,"timestamp":1790000000123,'
    b'"trade_id":"USDC-8","trade_seq":8}]}}'
)
ORDER_BOOK = (
    b'{"jsonrpc":"2.0","result":{"timestamp":1790000000123,"state":"open","open_interest":560520540,'
    b'"mark_price":60000.25,"instrument_name":"BTC-PERPETUAL","change_id":9,"bids":[[60000.0,600.0]],'
    b'"asks":[[60001.0,50.0]]},"usDiff":1}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    TICKER,
    BOOK,
    CHANGE,
    SUMMARY,
    LAST_TRADES,
    ORDER_BOOK,
    b'{"jsonrpc":"2.0","id":3,"result":["trades.BTC-PERPETUAL.100ms"],"testnet":false}',
    b'{"jsonrpc":"2.0","id":3,"error":{"code":10028,"message":"too_many_requests","data":null}}',
    b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}',
    b'{"jsonrpc":"2.0","id":0,"result":{"version":"1.2.26"},"testnet":false}',
)


@pytest.fixture
def deribit() -> Deribit:
    return Deribit(LISTINGS)


def test_trade(deribit: Deribit) -> None:
    assert deribit.parse(TRADE) == [Trade(INVERSE, AT_NS, 60010.5, 2000.0, -1, "407", 7)]


def test_amounts_of_linear_contracts_are_coins_whatever_a_contract_is(deribit: Deribit) -> None:
    (trade,) = deribit.parse(LAST_TRADES)
    assert trade == Trade(LINEAR, AT_NS, 60010.5, 0.25, 1, "USDC-8", 8, replayed=True)
    (trade,) = deribit.parse(LAST_TRADES.replace(b"BTC_USDC", b"NEW_USDC"))
    assert trade == Trade(NEW, AT_NS, 60010.5, 0.25, 1, "USDC-8", 8, replayed=True)


@pytest.mark.parametrize(
    ("flag", "direction", "positions"),
    [
        (b"T", b"sell", [0]),
        (b"T", b"buy", [1]),
        (b"M", b"sell", [1]),
        (b"M", b"buy", [0]),
        (b"MT", b"sell", [0, 1]),
        (b"none", b"sell", []),
    ],
)
def test_the_flag_says_which_side_of_a_trade_was_liquidated(
    deribit: Deribit, flag: bytes, direction: bytes, positions: list[int]
) -> None:
    message = LIQUIDATION.replace(b'"T"', b'"' + flag + b'"').replace(b'"sell"', b'"' + direction + b'"')
    trade, *liquidations = deribit.parse(message)
    assert isinstance(trade, Trade)
    assert [one.side for one in liquidations if isinstance(one, Liquidation)] == positions
    assert len({one.liquidation_id for one in liquidations if isinstance(one, Liquidation)}) == len(positions)


def test_ticker(deribit: Deribit) -> None:
    assert deribit.parse(TICKER) == [Mark(INVERSE, AT_NS, 60000.25), OpenInterest(INVERSE, AT_NS, 661282810.0)]


def test_books(deribit: Deribit) -> None:
    assert deribit.parse(BOOK) == [Book(LINEAR, AT_NS, ((60000.0, 0.5),), ((60001.0, 1.5),), True, 41)]
    assert deribit.parse(CHANGE) == [Book(INVERSE, AT_NS, ((60000.0, 3000.0),), ((60001.0, 0.0),), False, 44, 41)]
    first = CHANGE.replace(b'"type":"change",', b"").replace(b'"prev_change_id":41,', b"")
    assert deribit.parse(first) == [Book(INVERSE, AT_NS, ((60000.0, 3000.0),), ((60001.0, 0.0),), True, 44)]


def test_rest_answers(deribit: Deribit) -> None:
    assert deribit.parse(SUMMARY) == [Mark(LINEAR, AT_NS, 60000.25), OpenInterest(LINEAR, AT_NS, 120.5)]
    assert deribit.parse(ORDER_BOOK) == [
        Book(INVERSE, AT_NS, ((60000.0, 600.0),), ((60001.0, 50.0),), True, 9),
        Mark(INVERSE, AT_NS, 60000.25),
        OpenInterest(INVERSE, AT_NS, 560520540.0),
    ]
    instruments = b'{"result":[{"instrument_name":"BTC-PERPETUAL","kind":"future","contract_size":10.0}]}'
    assert deribit.parse(instruments) == [Unknown("answer")]


def test_an_answer_lists_what_was_accepted(deribit: Deribit) -> None:
    topics = ["trades.BTC-PERPETUAL.100ms", "trades.GONE-PERPETUAL.100ms"]
    (request,) = deribit.subscribe(topics, 3)
    assert json.loads(request) == {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "public/subscribe",
        "params": {"channels": topics},
    }
    accepted, refused = deribit.parse(SAMPLES[8])
    assert accepted == Subscribed((topics[0],))
    assert refused == Refused("not among the channels accepted", (topics[1],))
    deribit.unsubscribe(topics, 4)
    assert deribit.parse(SAMPLES[8].replace(b'"id":3', b'"id":4')) == [Subscribed(request_id=4)]


def test_errors_pings_and_pongs(deribit: Deribit) -> None:
    assert deribit.parse(SAMPLES[9]) == [Refused("too_many_requests (10028)", (), 3)]
    assert deribit.parse(SAMPLES[10]) == [Reply(deribit.ping())]
    assert deribit.parse(SAMPLES[11]) == [Pong()]


@pytest.mark.parametrize(
    ("native_id", "base", "quote", "inverse"),
    [
        ("ETH-PERPETUAL", "ETH", "USD", True),
        ("BTC-8JUN27", "BTC", "USD", True),
        ("SOL_USDC-26MAR27", "SOL", "USDC", False),
    ],
)
def test_ids_say_what_an_instrument_is(native_id: str, base: str, quote: str, inverse: bool) -> None:
    (listing,) = described(Deribit, native_id).values()
    assert (listing.instrument.base, listing.instrument.quote, listing.inverse) == (base, quote, inverse)


@pytest.mark.parametrize("native_id", ["BTC-26MAR27-70000-C", "BTC-FS-25DEC26_PERP", "BTC_USDC", "BTC_EURR-PERPETUAL"])
def test_what_is_not_described(native_id: str) -> None:
    assert Deribit.describe(native_id) is None


def test_what_is_not_known_is_named(deribit: Deribit) -> None:
    quote = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.BTC-PERPETUAL","data":{}}}'
    assert deribit.parse(quote) == [Unknown("quote")]
    assert deribit.parse(TRADE.replace(b"BTC-PERPETUAL", b"XYZ-PERPETUAL")) == [Unlisted("XYZ-PERPETUAL")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":60010.5', b'"price":-60010.5', "price"),
        (b'"amount":2000.0', b'"amount":0', "amount"),
        (b'"direction":"sell"', b'"direction":"zero"', "direction"),
        (b'"timestamp":1790000000123', b'"timestamp":1790000000', "timestamp"),
        (b'"T"', b'"X"', "liquidation"),
    ],
)
def test_bad_fields_are_named(deribit: Deribit, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        deribit.parse(LIQUIDATION.replace(good, bad))
