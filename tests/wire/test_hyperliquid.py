"""Hyperliquid's messages, one of each kind, written from its documentation."""

from __future__ import annotations

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
from forcedmove_server.collectors.venues.hyperliquid import Hyperliquid
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Hyperliquid, "BTC", "kPEPE")
BTC, PEPE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"channel":"trades","data":[{"coin":"BTC","side":"A","px":"60010.0","sz":"0.25","time":1790000000123,'
    b'"hash":"0x01","tid":611279506717453,"users":["0xb","0xs"]}]}'
)
CONTEXT = (
    b'{"channel":"activeAssetCtx","data":{"coin":"BTC","ctx":{"funding":"0.0000125","openInterest":"27353.5",'
    b'"prevDayPx":"59000.0","dayNtlVlm":"1.0","premium":null,"oraclePx":"60005.0","markPx":"60001.5","midPx":null,'
    b'"impactPxs":null}}}'
)
BOOK = (
    b'{"channel":"l2Book","data":{"coin":"kPEPE","time":1790000000123,"levels":[[{"px":"0.012","sz":"40","n":2}],'
    b'[{"px":"0.013","sz":"50","n":1}]]}}'
)
ACCEPTED = (
    b'{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}}'
)
CONTEXTS = (
    b'[{"universe":[{"szDecimals":5,"name":"BTC","maxLeverage":40},{"szDecimals":0,"name":"kPEPE","maxLeverage":10}]},'
    b'[{"openInterest":"10.5","markPx":"60001.5"},{"openInterest":"0.0","markPx":"0.0125"}]]'
)
RECENT = (
    b'[{"coin":"BTC","side":"B","px":"2","sz":"1","hash":"0x2","time":1790000000456,"tid":2,"users":["0xb","0xs"]},'
    b'{"coin":"BTC","side":"A","px":"1","sz":"1","hash":"0x1","time":1790000000123,"tid":1,"users":["0xb","0xs"]}]'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    CONTEXT,
    BOOK,
    ACCEPTED,
    CONTEXTS,
    RECENT,
    b'{"channel":"error","data":"Invalid subscription {\\"type\\":\\"trades\\",\\"coin\\":\\"XYZ\\"}"}',
    b'{"channel":"pong"}',
    b'{"coin":"BTC","time":1790000000123,"levels":[[{"px":"60000","sz":"1"}],[]]}',
)


@pytest.fixture
def hyperliquid() -> Hyperliquid:
    return Hyperliquid(LISTINGS)


def test_trade(hyperliquid: Hyperliquid) -> None:
    assert hyperliquid.parse(TRADE) == [Trade(BTC, AT_NS, 60010.0, 0.25, -1, 611279506717453)]
    assert hyperliquid.parse(TRADE.replace(b'"A"', b'"B"')) == [Trade(BTC, AT_NS, 60010.0, 0.25, 1, 611279506717453)]


def test_a_lower_case_k_is_a_thousand(hyperliquid: Hyperliquid) -> None:
    (trade,) = hyperliquid.parse(TRADE.replace(b"BTC", b"kPEPE").replace(b"60010.0", b"0.0125"))
    assert trade == Trade(PEPE, AT_NS, 0.0125 / 1000, 250.0, -1, 611279506717453)
    assert PEPE.instrument.symbol == "PEPE"
    assert hyperliquid.parse(BOOK) == [Book(PEPE, AT_NS, ((0.012 / 1000, 40e3),), ((0.013 / 1000, 50e3),), True)]


def test_the_first_message_after_a_subscription_may_be_of_the_past(hyperliquid: Hyperliquid) -> None:
    assert hyperliquid.parse(ACCEPTED) == [Subscribed(("trades:BTC",))]
    both = TRADE.replace(b"}]}", b'},{"coin":"BTC","side":"B","px":"1","sz":"1","time":1790000000123,"tid":2}]}')
    assert [record.replayed for record in hyperliquid.parse(both) if isinstance(record, Trade)] == [True, True]
    assert [record.replayed for record in hyperliquid.parse(both) if isinstance(record, Trade)] == [False, False]


def test_mark_and_open_interest_have_no_time(hyperliquid: Hyperliquid) -> None:
    assert hyperliquid.parse(CONTEXT) == [Mark(BTC, 0, 60001.5), OpenInterest(BTC, 0, 27353.5)]


def test_rest_answers(hyperliquid: Hyperliquid) -> None:
    (census,) = hyperliquid.census(ContractType.LINEAR)
    assert hyperliquid.parse_answer(census, CONTEXTS) == [
        Mark(BTC, 0, 60001.5),
        OpenInterest(BTC, 0, 10.5),
        Mark(PEPE, 0, 0.0125 / 1000),
        OpenInterest(PEPE, 0, 0.0),
    ]
    assert [r.trade_id for r in hyperliquid.parse(RECENT) if isinstance(r, Trade)] == [1, 2]  # the oldest first
    assert hyperliquid.parse(SAMPLES[8]) == [Book(BTC, AT_NS, ((60000.0, 1.0),), (), True)]
    with pytest.raises(MalformedMessage):
        hyperliquid.parse(CONTEXTS.replace(b',{"openInterest":"0.0","markPx":"0.0125"}', b""))


def test_fills_of_an_account_are_not_trades(hyperliquid: Hyperliquid) -> None:
    """Their side is the account's, not the taker's."""
    assert hyperliquid.parse(RECENT.replace(b'"users"', b'"oid":7,"users"')) == [Unknown("REST answer")]


def test_answers_to_requests(hyperliquid: Hyperliquid) -> None:
    assert hyperliquid.parse(ACCEPTED.replace(b'"subscribe"', b'"unsubscribe"')) == [Subscribed()]
    assert hyperliquid.parse(b'{"channel":"pong"}') == [Pong()]
    (refused,) = hyperliquid.parse(SAMPLES[6])
    assert isinstance(refused, Refused)
    assert refused.topics == ("trades:XYZ",)
    again = SAMPLES[6].replace(b"Invalid subscription", b"Already subscribed:")
    assert hyperliquid.parse(again) == [Subscribed(("trades:XYZ",))]
    assert hyperliquid.parse(b'{"channel":"error","data":"Too many"}') == [Refused("Too many")]


def test_what_is_not_known_is_named(hyperliquid: Hyperliquid) -> None:
    assert hyperliquid.parse(b'{"channel":"allMids","data":{"mids":{}}}') == [Unknown("allMids")]
    assert hyperliquid.parse(TRADE.replace(b"BTC", b"@107")) == [Unlisted("@107")]


@pytest.mark.parametrize("native_id", ["@107", "PURR/USDC", "xyz:NVDA", ""])
def test_spot_and_builder_dexes_are_not_described(native_id: str) -> None:
    assert Hyperliquid.describe(native_id) is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"px":"60010.0"', b'"px":"0"', "px"),
        (b'"sz":"0.25"', b'"sz":"inf"', "sz"),
        (b'"side":"A"', b'"side":"S"', "side"),
        (b'"time":1790000000123', b'"time":1790000000', "time"),
        (b'"tid":611279506717453', b'"tid":"x"', "tid"),
    ],
)
def test_bad_fields_are_named(hyperliquid: Hyperliquid, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        hyperliquid.parse(TRADE.replace(good, bad))
