"""HTX's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import gzip

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Refused,
    Reply,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.htx import Htx
from forcedmove_server.errors import MalformedMessage
from tests.wire.described import described

LISTINGS = described(Htx, "BTC-USDT", "BTC-USD")
BTC, INVERSE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"ch":"market.BTC-USDT.trade.detail","ts":1790000000130,"tick":{"id":7700,"ts":1790000000123,"data":[{"amount":50,'
    b'"quantity":0.05,"trade_turnover":3000.5,"ts":1790000000123,"id":770000,"price":60010.5,"direction":"sell"}]}}'
)
LIQUIDATION = (
    b'{"op":"notify","topic":"public.BTC-USDT.liquidation_orders","ts":1790000000130,"data":[{"symbol":"BTC",'
    b'"contract_code":"BTC-USDT","direction":"sell","offset":"close","volume":227,"price":59000.5,"created_at":'
    b'1790000000123,"amount":0.227,"trade_turnover":13393.1}]}'
)
BOOK = (
    b'{"ch":"market.BTC-USDT.depth.step6","ts":1790000000130,"tick":{"mrid":1,"id":1790000000,"bids":[[60000,10],'
    b'[59999.5,2]],"asks":[[60001,5]],"ts":1790000000123,"version":1790000000,"ch":"market.BTC-USDT.depth.step6"}}'
)
INTEREST = (
    b'{"status":"ok","data":[{"volume":5000.0,"amount":5.0,"symbol":"BTC","value":300000.5,"contract_code":"BTC-USDT",'
    b'"business_type":"swap"},{"volume":300.0,"amount":0.5,"symbol":"BTC","contract_code":"BTC-USD"}],"ts":1790000000123}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    BOOK,
    INTEREST,
    gzip.compress(TRADE, 1),
    b'{"ch":"market.BTC-USDT.mark_price.1min","ts":1790000000123,"tick":{"id":1789999980,"close":"60000.1","open":"60000"}}',
    b'{"id":"3","status":"ok","subbed":"market.BTC-USDT.trade.detail","ts":1790000000123}',
    b'{"op":"sub","cid":"3","topic":"public.*.liquidation_orders","ts":1790000000123,"err-code":0}',
    b'{"ping":1790000000123}',
)


@pytest.fixture
def htx() -> Htx:
    return Htx(LISTINGS)


@pytest.mark.parametrize("message", [TRADE, gzip.compress(TRADE)])
def test_trades_are_of_one_side(htx: Htx, message: bytes) -> None:
    assert htx.parse(message) == [Trade(BTC, AT_NS, 60010.5, pytest.approx(0.025), -1, 770000)]


def test_inverse_contracts_are_dollars(htx: Htx) -> None:
    inverse = htx.parse(TRADE.replace(b"BTC-USDT", b"BTC-USD"))
    assert inverse == [Trade(INVERSE, AT_NS, 60010.5, 2500.0, -1, 770000)]


def test_the_last_trade_before_a_subscription_is_replayed(htx: Htx) -> None:
    def replayed(message: bytes) -> bool:
        (trade,) = htx.parse(message)
        assert isinstance(trade, Trade)
        return trade.replayed

    topic = "market.BTC-USDT.trade.detail"
    accepted = SAMPLES[6].replace(b"1790000000123", b"1790002350000")
    assert not replayed(TRADE), "nobody asked: a file of messages"
    for message in (TRADE, TRADE.replace(b'{"ch":', b'{ "ch":')):
        htx.subscribe([topic], 3)
        assert not replayed(TRADE.replace(b"BTC-USDT", b"BTC-USD"))  # another market's
        assert replayed(message)
        assert not replayed(TRADE), "a subscription has one such message"
        assert htx.parse(accepted) == [Subscribed((topic,))]
        assert not replayed(TRADE)
    htx.subscribe([topic], 4)
    htx.parse(accepted)
    assert replayed(TRADE), "older than the answer"
    htx.subscribe([topic], 5)
    htx.parse(accepted)
    assert not replayed(TRADE.replace(b'"ts":1790000000123', b'"ts":1790002350000')), "nothing was traded before"


def test_trades_without_a_side_are_left_out(htx: Htx) -> None:
    assert htx.parse(TRADE.replace(b'"sell"', b'""')) == []


@pytest.mark.parametrize(("direction", "liquidated"), [(b"sell", 0), (b"buy", 1)])
def test_the_side_of_a_liquidation_is_that_of_the_order(htx: Htx, direction: bytes, liquidated: int) -> None:
    message = LIQUIDATION.replace(b'"sell"', b'"' + direction + b'"')
    assert htx.parse(message) == [Liquidation(BTC, AT_NS, 59000.5, pytest.approx(0.227), liquidated)]


def test_open_interest_counts_both_sides(htx: Htx) -> None:
    assert htx.parse(INTEREST) == [OpenInterest(BTC, AT_NS, 2.5), OpenInterest(INVERSE, AT_NS, 15_000.0)]


def test_the_close_of_a_candle_is_the_mark(htx: Htx) -> None:
    assert htx.parse(SAMPLES[5]) == [Mark(BTC, AT_NS, 60000.1)]


def test_books(htx: Htx) -> None:
    (book,) = htx.parse(BOOK)
    assert book == Book(
        BTC,
        AT_NS,
        ((60000.0, pytest.approx(0.01)), (59999.5, pytest.approx(0.002))),
        ((60001.0, pytest.approx(0.005)),),
        True,
        1_790_000_000,
    )
    fast = BOOK.replace(b"step6", b"size_20.high_freq").replace(b'"mrid":1', b'"mrid":1,"event":"update"')
    (change,) = htx.parse(fast.replace(b'"version":1790000000', b'"version":12'))
    assert isinstance(change, Book)
    assert (change.snapshot, change.sequence, change.previous) == (False, 12, 11)
    (empty,) = htx.parse(BOOK.replace(b'"bids":[[60000,10],[59999.5,2]],', b'"bids":null,'))
    assert isinstance(empty, Book)
    assert empty.bids == ()


def test_pings_go_back_as_they_came(htx: Htx) -> None:
    assert htx.parse(b'{"ping":1790000000123}') == [Reply('{"pong":1790000000123}')]
    assert htx.parse(b'{"op":"ping","ts":"1790000000123"}') == [Reply('{"op":"pong","ts":"1790000000123"}')]
    assert htx.parse(b'{"op":"close","ts":1790000000123}') == [Reset("close")]


def test_answers_to_requests(htx: Htx) -> None:
    assert htx.parse(SAMPLES[6]) == [Subscribed(("market.BTC-USDT.trade.detail",))]
    assert htx.parse(SAMPLES[7]) == [Subscribed(("public.*.liquidation_orders",))]
    refused = SAMPLES[7].replace(b'"err-code":0', b'"err-code":2011,"err-msg":"no such topic"')
    assert htx.parse(refused) == [Refused("2011 no such topic", ("public.*.liquidation_orders",))]
    ended = SAMPLES[6].replace(b"subbed", b"unsubbed"), SAMPLES[7].replace(b'"op":"sub"', b'"op":"unsub"')
    assert [htx.parse(one) for one in ended] == [[], []]
    failed = ended[1].replace(b'"err-code":0', b'"err-code":2011,"err-msg":"no such topic"')
    assert htx.parse(failed) == [Refused("2011 no such topic")]
    error = b'{"status":"error","ts":1790000000123,"id":"3","err-code":"bad-request","err-msg":"invalid topic"}'
    assert htx.parse(error) == [Refused("bad-request invalid topic", request_id=3)]


def test_what_is_not_known_is_named(htx: Htx) -> None:
    assert htx.parse(BOOK.replace(b"depth.step6", b"kline.1min")) == [Unknown("kline.1min")]
    assert htx.parse(LIQUIDATION.replace(b"liquidation_orders", b"funding_rate")) == [Unknown("funding_rate")]
    assert htx.parse(TRADE.replace(b"BTC-USDT", b"NEW-USDT")) == [Unlisted("NEW-USDT")]
    history = b'{"ch":"market.BTC-USDT.trade.detail","data":[{"data":[]}],"status":"ok","ts":1790000000123}'
    assert htx.parse(history) == [Unknown("trade.detail")]


@pytest.mark.parametrize(
    ("native_id", "contract"), [("BTC-USDT-261225", 0.001), ("BTC261225", 100.0), ("ETH-USD", 10.0)]
)
def test_dated_contracts_are_described(native_id: str, contract: float) -> None:
    listing = Htx.describe(native_id)
    assert listing is not None
    assert listing.contract == contract


@pytest.mark.parametrize("native_id", ["btcusdt", "BTC_CQ", "BTC-USDT-CW", "BTC-HUSD"])
def test_spot_and_rolling_names_are_not_described(native_id: str) -> None:
    assert Htx.describe(native_id) is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":60010.5', b'"price":0', "price"),
        (b'"amount":50', b'"amount":-50', "amount"),
        (b'"direction":"sell"', b'"direction":"Sell"', "direction"),
        (b'"ts":1790000000123,"id"', b'"ts":17900,"id"', "ts"),
    ],
)
def test_bad_fields_are_named(htx: Htx, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        htx.parse(TRADE.replace(good, bad))
