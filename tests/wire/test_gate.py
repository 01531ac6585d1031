"""Gate's messages, one of each kind, written from its documentation."""

from __future__ import annotations

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
from forcedmove_server.collectors.venues.gate import Gate
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Gate, "BTC_USDT", "BTC_USD")
BTC, INVERSE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000
SECOND_NS = 1_790_000_000_000_000_000

TRADE = (
    b'{"time":1790000000,"time_ms":1790000000125,"channel":"futures.trades","event":"update","result":[{"size":"-250",'
    b'"id":77,"create_time":1790000000,"create_time_ms":1790000000123,"price":"60010.5","contract":"BTC_USDT"}]}'
)
LIQUIDATIONS = (
    b'[{"time":1790000004,"contract":"BTC_USDT","size":"4500","order_size":"-1500","order_price":"58900","fill_price":'
    b'"59000.5","left":"0"},{"contract":"BTC_USDT","left":0,"size":-165,"fill_price":"28070","order_price":"28225",'
    b'"time":1790000000}]'
)
TICKER = (
    b'{"time":1790000000,"time_ms":1790000000123,"channel":"futures.tickers","event":"update","result":[{"contract":'
    b'"BTC_USDT","last":"60001","mark_price":"60000.1","total_size":"5000000","funding_rate":"0.0001"}]}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATIONS,
    TICKER,
    b'{"time":1790000000,"time_ms":1790000000123,"channel":"futures.order_book","event":"all","result":{"t":1790000000123,'
    b'"id":9,"contract":"BTC_USDT","bids":[{"p":"60000","s":"100"}],"asks":[{"p":"60001","s":"0.5"}],"l":"20"}}',
    b'{"time":1790000000,"channel":"futures.order_book_update","event":"update","result":{"t":1790000000123,"s":"BTC_USD",'
    b'"U":11,"u":14,"b":[{"p":"60000","s":0}],"a":[]}}',
    b'{"time":1790000000,"time_ms":0,"id":3,"channel":"futures.trades","event":"subscribe","error":null,"result":{'
    b'"status":"success"}}',
)


@pytest.fixture
def gate() -> Gate:
    return Gate(LISTINGS)


def test_contracts_become_coins_or_dollars(gate: Gate) -> None:
    assert gate.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, pytest.approx(0.025), -1, 77)]
    inverse = TRADE.replace(b"BTC_USDT", b"BTC_USD").replace(b'"-250"', b"250")
    assert gate.parse(inverse) == [Trade(INVERSE, AT_NS, 60010.5, 250.0, 1, 77)]


def test_internal_trades_are_left_out(gate: Gate) -> None:
    assert gate.parse(TRADE.replace(b'"id":77', b'"id":77,"is_internal":true')) == []


def test_trades_of_rest_have_seconds_where_milliseconds_are_said(gate: Gate) -> None:
    answer = (
        b'[{"id":"77","contract":"BTC_USDT","create_time":"1790000000.123","create_time_ms":"1790000000.123",'
        b'"size":"250","price":"60010.5"}]'
    )
    assert gate.parse(answer) == [Trade(BTC, AT_NS, 60010.5, pytest.approx(0.025), 1, 77, replayed=True)]


def test_a_liquidation_is_the_order_on_the_other_side_of_the_position(gate: Gate) -> None:
    old, new = gate.parse(LIQUIDATIONS)
    assert old == Liquidation(
        BTC, SECOND_NS, 28070.0, pytest.approx(0.0165), 1, "1790000000 165.0 28070 28225", replayed=True
    )
    long_id = "1790000004 -1500.0 59000.5 58900"
    assert new == Liquidation(BTC, SECOND_NS + 4 * 10**9, 59000.5, pytest.approx(0.15), 0, long_id, replayed=True)
    (unfilled,) = gate.parse(LIQUIDATIONS.replace(b'"59000.5"', b'"0"'))[1:]
    assert isinstance(unfilled, Liquidation)
    assert unfilled.price == 58900.0


@pytest.mark.parametrize("wrapped", [b"[%s]", b"[[%s]]", b"%s"])
def test_tickers_in_every_wrapping(gate: Gate, wrapped: bytes) -> None:
    row = TICKER[TICKER.index(b"[") + 1 : -2]
    message = TICKER[: TICKER.index(b"[")] + wrapped % row + b"}"
    assert gate.parse(message) == [Mark(BTC, AT_NS, 60000.1), OpenInterest(BTC, AT_NS, 500.0)]


def test_books(gate: Gate) -> None:
    (book,) = gate.parse(SAMPLES[3])
    assert book == Book(BTC, AT_NS, ((60000.0, pytest.approx(0.01)),), ((60001.0, pytest.approx(5e-5)),), True, 9)
    assert gate.parse(SAMPLES[4]) == [Book(INVERSE, AT_NS, ((60000.0, 0.0),), (), False, 14, 10)]
    empty = (
        b'{"time":1790000000,"time_ms":1790000000123,"channel":"futures.order_book","event":"all","result":{"t":0,"id":0,'
        b'"contract":"BTC_USDT","bids":[],"asks":[]}}'
    )
    assert gate.parse(empty) == [Book(BTC, AT_NS, (), (), True)]


def test_answers_to_requests(gate: Gate) -> None:
    assert gate.parse(SAMPLES[-1]) == [Subscribed(request_id=3)]
    repeated = SAMPLES[-1].replace(b'"id":3', b'"id":3,"payload":["BTC_USDT","BTC_USD"]')
    assert gate.parse(repeated) == [Subscribed(("futures.trades:BTC_USDT", "futures.trades:BTC_USD"))]
    book = repeated.replace(b'"BTC_USD"', b'"20","0"').replace(b"futures.trades", b"futures.order_book")
    assert gate.parse(book) == [Subscribed(("futures.order_book:BTC_USDT",))]
    refused = SAMPLES[-1].replace(b'"error":null', b'"error":{"code":2,"message":"unknown contract"}')
    assert gate.parse(refused) == [Refused("2 unknown contract", request_id=3)]
    for ended in (SAMPLES[-1], repeated):
        assert gate.parse(ended.replace(b'"subscribe"', b'"unsubscribe"')) == []
    failed = repeated.replace(b'"subscribe"', b'"unsubscribe"').replace(b"null", b'{"code":2,"message":"no"}')
    assert gate.parse(failed) == [Refused("2 no", request_id=3)]
    assert gate.parse(b'{"time":1,"channel":"futures.pong","event":"","result":null}') == [Pong()]


def test_what_is_not_known_is_named(gate: Gate) -> None:
    topic = b"futures.public_liquidates"
    assert gate.parse(TRADE.replace(b"futures.trades", topic)) == [Unknown("futures.public_liquidates update")]
    assert gate.parse(TRADE.replace(b"BTC_USDT", b"NEW_USDT")) == [Unlisted("NEW_USDT")]
    assert gate.parse(b'[{"open_interest":12,"time":1790000000}]') == [Unknown("list")]


def test_contracts_that_pay_in_a_third_coin_are_left_out() -> None:
    assert Gate.describe("ETH_USD") is None
    market = {"id": "ETH_USD", "base": "ETH", "quote": "USD", "settle": "BTC", "swap": True, "inverse": True}
    assert Gate.adopt(market) is None
    dated = Gate.describe("BTC_USDT_20261225")
    assert dated is not None
    assert dated.contract == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":"60010.5"', b'"price":"0"', "price"),
        (b'"size":"-250"', b'"size":"0"', "size"),
        (b'"create_time_ms":1790000000123', b'"create_time_ms":17900', "time"),
        (b'"id":77', b'"id":"x"', "int"),
    ],
)
def test_bad_fields_are_named(gate: Gate, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        gate.parse(TRADE.replace(good, bad))
