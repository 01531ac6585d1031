"""Binance's messages, one of each kind, written from its documentation."""

from __future__ import annotations

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
from forcedmove_server.collectors.venues.binance import Binance
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Binance, "BTCUSDT", "BTCUSD_PERP", "ETHUSD_PERP", "1000PEPEUSDT")
BTC, INVERSE, ETH_INVERSE, PEPE = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1790000000125,"a":77,"s":"BTCUSDT","p":"60010.50",'
    b'"q":"0.250","f":100,"l":102,"T":1790000000123,"m":true}}'
)
LIQUIDATION = (
    b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1790000000125,"o":{"s":"BTCUSDT","S":"SELL",'
    b'"o":"LIMIT","f":"IOC","q":"1.500","p":"58900","ap":"59000","X":"FILLED","l":"0.5","z":"1.500",'
    b'"T":1790000000123}}}'
)
MARKS = (
    b'{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":1790000000123,"s":"BTCUSDT","p":"60000.1",'
    b'"P":"60002","i":"60001","r":"0.0001","T":1790003600000},{"e":"markPriceUpdate","E":1790000000123,'
    b'"s":"1000PEPEUSDT","p":"0.0125","P":"0.0125","i":"0.0125","r":"0.0001","T":1790003600000}]}'
)
TOP = (
    b'{"stream":"btcusd_perp@depth20@500ms","data":{"e":"depthUpdate","E":1790000000125,"T":1790000000123,'
    b'"s":"BTCUSD_PERP","ps":"BTCUSD","U":7,"u":9,"pu":6,"b":[["60000","3"]],"a":[["60000.1","5"]]}}'
)
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    LIQUIDATION,
    MARKS,
    TOP,
    b'{"result":null,"id":3}',
    b'{"symbol":"BTCUSD_PERP","pair":"BTCUSD","openInterest":"5000","contractType":"PERPETUAL","time":1790000000123}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1790000000125,"T":1790000000123,"s":"BTCUSDT","t":500,'
    b'"p":"60010.5","q":"0.250","X":"MARKET","m":false}}',
    b'{"lastUpdateId":9,"E":1790000000125,"T":1790000000123,"symbol":"BTCUSD_PERP","pair":"BTCUSD",'
    b'"bids":[["60000","3"]],"asks":[["60000.1","5"]]}',
    b'[{"symbol":"BTCUSDT","markPrice":"60000.1","indexPrice":"60001","nextFundingTime":0,"time":1790000000123}]',
)


@pytest.fixture
def binance() -> Binance:
    return Binance(LISTINGS)


def test_the_buyer_as_maker_means_that_the_taker_sold(binance: Binance) -> None:
    assert binance.parse(TRADE) == [Trade(BTC, AT_NS, 60010.5, 0.25, -1, 77, 77)]
    (bought,) = binance.parse(TRADE.replace(b'"m":true', b'"m":false'))
    assert bought == Trade(BTC, AT_NS, 60010.5, 0.25, 1, 77, 77)


def test_coin_margined_quantities_are_contracts(binance: Binance) -> None:
    (trade,) = binance.parse(TRADE.replace(b'"BTCUSDT"', b'"ETHUSD_PERP"').replace(b"0.250", b"3"))
    assert trade == Trade(ETH_INVERSE, AT_NS, 60010.5, 30.0, -1, 77, 77)
    assert binance.parse(SAMPLES[5]) == [OpenInterest(INVERSE, AT_NS, 500_000.0)]
    levels = ((60000.0, 300.0),), ((60000.1, 500.0),)
    assert binance.parse(TOP) == [Book(INVERSE, AT_NS, *levels, snapshot=True, sequence=9)]
    assert binance.parse(SAMPLES[7]) == [Book(INVERSE, AT_NS, *levels, snapshot=True, sequence=9)]


@pytest.mark.parametrize(("order", "liquidated"), [(b"SELL", 0), (b"BUY", 1)])
def test_the_side_of_a_liquidation_is_the_order(binance: Binance, order: bytes, liquidated: int) -> None:
    message = LIQUIDATION.replace(b'"SELL"', b'"' + order + b'"')
    assert binance.parse(message) == [Liquidation(BTC, AT_NS, 59000.0, 1.5, liquidated)]


def test_an_order_without_a_fill_closed_nothing(binance: Binance) -> None:
    assert binance.parse(LIQUIDATION.replace(b'"z":"1.500"', b'"z":"0"').replace(b'"ap":"59000"', b'"ap":"0"')) == []


def test_mark_prices_come_together(binance: Binance) -> None:
    assert binance.parse(MARKS) == [Mark(BTC, AT_NS, 60000.1), Mark(PEPE, AT_NS, 0.0125 / 1000)]
    assert binance.parse(MARKS[MARKS.index(b"[") : -1]) == binance.parse(MARKS)
    assert binance.parse(SAMPLES[8]) == [Mark(BTC, AT_NS, 60000.1)]
    assert binance.parse(SAMPLES[8].replace(b"60000.1", b"0.00000000")) == [Unknown("REST answer")]


def test_trades_of_the_insurance_fund_are_left_out(binance: Binance) -> None:
    assert binance.parse(SAMPLES[6]) == [Trade(BTC, AT_NS, 60010.5, 0.25, 1, 500)]
    assert binance.parse(SAMPLES[6].replace(b"MARKET", b"INSURANCE_FUND")) == []


def test_the_stream_says_whether_a_book_is_whole(binance: Binance) -> None:
    (change,) = binance.parse(TOP.replace(b"@depth20@500ms", b"@depth@100ms"))
    assert isinstance(change, Book)
    assert (change.snapshot, change.sequence, change.previous) == (False, 9, 6)
    assert binance.parse(TOP[TOP.index(b'{"e"') : -1]) == [Unknown("depthUpdate")]
    assert binance.parse(TOP.replace(b"@depth20@", b"@rpiDepth@")) == [Unknown("depthUpdate")]


def test_answers_to_requests(binance: Binance) -> None:
    assert binance.parse(SAMPLES[4]) == [Subscribed(request_id=3)]
    (refused,) = binance.parse(b'{"error":{"code":2,"msg":"Invalid request: unknown method"},"id":4}')
    assert isinstance(refused, Refused)
    assert "unknown method" in refused.reason
    assert refused.request_id == 4
    assert binance.parse(b'{"code":-1121,"msg":"Invalid symbol."}') == [Refused("Invalid symbol.")]


def test_what_is_not_known_is_named(binance: Binance) -> None:
    assert binance.parse(TRADE.replace(b'"aggTrade","E"', b'"kline","E"')) == [Unknown("kline")]
    assert binance.parse(TRADE.replace(b'"BTCUSDT"', b'"NEWUSDT"')) == [Unlisted("NEWUSDT")]


def test_books_and_events_are_asked_for_on_their_own_paths(binance: Binance) -> None:
    paths = {
        stream.url: {topic.name.partition("@")[2] for topic in binance.topics(stream, [BTC])}
        for stream in binance.streams
        if stream.contract_type is ContractType.LINEAR
    }
    assert paths == {
        "wss://fstream.binance.com/public/stream": {"depth20@500ms"},
        "wss://fstream.binance.com/market/stream": {"arr", "arr@1s", "aggTrade"},
    }


def test_open_interest_is_polled_by_symbol_from_each_system(binance: Binance) -> None:
    (one,) = described(Binance, "币安人生USDT").values()
    urls = [poll.url for poll in binance.polls(ContractType.LINEAR, [BTC, one])]
    assert urls[0] == "https://fapi.binance.com/fapi/v1/openInterest?symbol=BTCUSDT"
    assert urls[1].isascii()
    (poll,) = binance.polls(ContractType.INVERSE, [INVERSE])
    assert poll.url == "https://dapi.binance.com/dapi/v1/openInterest?symbol=BTCUSD_PERP"


@pytest.mark.parametrize(
    ("native_id", "base", "quote", "contract"),
    [
        ("BTCUSDT_261225", "BTC", "USDT", 1.0),
        ("ETHUSDC", "ETH", "USDC", 1.0),
        ("1000000MOGUSDT", "MOG", "USDT", 1e6),
        ("BTCUSD_261225", "BTC", "USD", 100.0),
        ("SOLUSD_PERP", "SOL", "USD", 10.0),
    ],
)
def test_ids_say_what_an_instrument_is(native_id: str, base: str, quote: str, contract: float) -> None:
    (listing,) = described(Binance, native_id).values()
    assert (listing.instrument.base, listing.instrument.quote, listing.contract) == (base, quote, contract)
    assert Binance.describe("ETHBTC") is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"p":"60010.50"', b'"p":"-1"', "p"),
        (b'"q":"0.250"', b'"q":"0"', "q"),
        (b'"m":true', b'"m":"maker"', "m"),
        (b'"T":1790000000123', b'"T":1790', "T"),
    ],
)
def test_bad_fields_are_named(binance: Binance, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        binance.parse(TRADE.replace(good, bad))
