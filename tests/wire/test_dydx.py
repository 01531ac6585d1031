"""dYdX v4's messages, one of each kind, written from its documentation."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Refused,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venues.dydx import Dydx
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType
from tests.wire.described import described

LISTINGS = described(Dydx, "BTC-USD", "ETH-USD")
BTC, ETH = LISTINGS.values()
AT_NS = 1_790_000_000_123_000_000

TRADE = (
    b'{"type":"channel_data","connection_id":"c","message_id":4,"id":"BTC-USD","channel":"v4_trades","version":"2.1.0",'
    b'"contents":{"trades":[{"id":"02ac5b1f0000000200000002","side":"SELL","size":"0.25","price":"60010",'
    b'"type":"LIMIT","createdAt":"2026-09-21T14:13:20.123Z"}]}}'
)
BEGINNING = (
    b'{"type":"subscribed","connection_id":"c","message_id":1,"channel":"v4_trades","id":"BTC-USD","contents":{"trades":['
    b'{"id":"b","side":"BUY","size":"1","price":"60020","type":"LIMIT","createdAt":"2026-09-21T14:13:21.123Z",'
    b'"createdAtHeight":"2"},'
    b'{"id":"a","side":"SELL","size":"2","price":"60010","type":"LIMIT","createdAt":"2026-09-21T14:13:20.123Z"}]}}'
)
MARKETS = (
    b'{"type":"subscribed","connection_id":"c","message_id":2,"channel":"v4_markets","contents":{"markets":{"BTC-USD":{'
    b'"ticker":"BTC-USD","status":"ACTIVE","oraclePrice":"60001.5","openInterest":"381.5","baseOpenInterest":"782.1"},'
    b'"ETH-USD":{"ticker":"ETH-USD","status":"ACTIVE","oraclePrice":null,"openInterest":"0"}}}}'
)
PRICES = (
    b'{"type":"channel_data","connection_id":"c","message_id":9,"channel":"v4_markets","version":"1.0.0","contents":{'
    b'"oraclePrices":{"ETH-USD":{"oraclePrice":"3000.5","effectiveAt":"2026-09-21T14:13:20.123Z",'
    b'"effectiveAtHeight":"5","marketId":1}}}}'
)
TRADING = (
    b'{"type":"channel_data","connection_id":"c","message_id":9,"channel":"v4_markets","version":"1.0.0","contents":{'
    b'"trading":{"BTC-USD":{"openInterest":"382.5","trades24H":9},"ETH-USD":{"nextFundingRate":"0.0001"}}}}'
)
BOOK = (
    b'{"type":"subscribed","connection_id":"c","message_id":3,"channel":"v4_orderbook","id":"BTC-USD","contents":{'
    b'"bids":[{"price":"60000","size":"1"}],"asks":[{"price":"60001","size":"2"}]}}'
)
CHANGES = (
    b'{"type":"channel_data","connection_id":"c","message_id":5,"id":"BTC-USD","channel":"v4_orderbook",'
    b'"version":"1.0.0","contents":{"asks":[["60001","0"]]}}'
)
REFUSED = b'{"type":"error","message":"Invalid subscription id for channel: (v4_trades-XYZ-USD)","connection_id":"c"}'
#: what the fuzzer starts from
SAMPLES = (
    TRADE,
    BEGINNING,
    MARKETS,
    PRICES,
    TRADING,
    BOOK,
    CHANGES,
    REFUSED,
    b'{"type":"unsubscribed","connection_id":"c","message_id":8,"channel":"v4_trades","id":"BTC-USD"}',
    b'{"markets":{"BTC-USD":{"oraclePrice":"60001.5","openInterest":"381.5"}}}',
    b'{"type":"channel_batch_data","id":"BTC-USD","channel":"v4_orderbook","version":"1.0.0","contents":['
    b'{"bids":[["60000","3"]]},{"asks":[["60001","4"]]}]}',
)


@pytest.fixture
def dydx() -> Dydx:
    return Dydx(LISTINGS)


def test_trade(dydx: Dydx) -> None:
    assert dydx.parse(TRADE) == [Trade(BTC, AT_NS, 60010.0, 0.25, -1, "02ac5b1f0000000200000002")]


@pytest.mark.parametrize(("taker", "aggressor", "liquidated"), [(b"SELL", -1, 0), (b"BUY", 1, 1)])
def test_a_liquidation_is_a_trade_whose_taker_closed_the_position(
    dydx: Dydx, taker: bytes, aggressor: int, liquidated: int
) -> None:
    message = TRADE.replace(b"LIMIT", b"LIQUIDATED").replace(b"SELL", taker)
    trade_id = "02ac5b1f0000000200000002"
    trade = Trade(BTC, AT_NS, 60010.0, 0.25, aggressor, trade_id)
    liquidation = Liquidation(BTC, AT_NS, 60010.0, 0.25, liquidated, trade_id)
    assert dydx.parse(message) == [trade, liquidation]
    assert dydx.parse(message.replace(b"LIQUIDATED", b"DELEVERAGED")) == [liquidation]


def test_a_subscription_begins_with_the_past_the_newest_first(dydx: Dydx) -> None:
    accepted, *trades = dydx.parse(BEGINNING)
    assert accepted == Subscribed(("v4_trades:BTC-USD",))
    assert [trade.trade_id for trade in trades if isinstance(trade, Trade) and trade.replayed] == ["a", "b"]


def test_oracle_prices_and_open_interest(dydx: Dydx) -> None:
    assert dydx.parse(MARKETS) == [
        Subscribed(("v4_markets",)),
        Mark(BTC, 0, 60001.5),
        OpenInterest(BTC, 0, 381.5),
        OpenInterest(ETH, 0, 0.0),
    ]
    assert dydx.parse(PRICES) == [Mark(ETH, AT_NS, 3000.5)]
    assert dydx.parse(TRADING) == [OpenInterest(BTC, 0, 382.5)]
    (census,) = dydx.census(ContractType.LINEAR)
    assert dydx.parse_answer(census, SAMPLES[9]) == [Mark(BTC, 0, 60001.5), OpenInterest(BTC, 0, 381.5)]


def test_book(dydx: Dydx) -> None:
    whole = Book(BTC, 0, ((60000.0, 1.0),), ((60001.0, 2.0),), True)
    assert dydx.parse(BOOK) == [Subscribed(("v4_orderbook:BTC-USD",)), whole]
    assert dydx.parse(CHANGES) == [Book(BTC, 0, (), ((60001.0, 0.0),), False)]
    batch = [Book(BTC, 0, ((60000.0, 3.0),), (), False), Book(BTC, 0, (), ((60001.0, 4.0),), False)]
    assert dydx.parse(SAMPLES[10]) == batch


def test_trades_of_v3_have_neither_id_nor_type(dydx: Dydx) -> None:
    trade = b'{"side":"SELL","size":"0.25","price":"60010","createdAt":"2026-09-21T14:13:20.123Z","liquidation":true}'
    message = b'{"type":"channel_data","id":"BTC-USD","channel":"v3_trades","contents":{"trades":[' + trade + b"]}}"
    assert dydx.parse(message) == [
        Trade(BTC, AT_NS, 60010.0, 0.25, -1, ""),
        Liquidation(BTC, AT_NS, 60010.0, 0.25, 0, ""),
    ]


def test_answers_to_requests(dydx: Dydx) -> None:
    (refused,) = dydx.parse(REFUSED)
    assert isinstance(refused, Refused)
    assert refused.topics == ("v4_trades:XYZ-USD",)
    again = REFUSED.replace(b"Invalid subscription id for channel:", b"Invalid subscribe message: already subscribed")
    assert dydx.parse(again) == [Subscribed(("v4_trades:XYZ-USD",))]
    text = "Too many subscribe attempts for channel v4_trades-BTC-USD. Please reconnect and try again."
    assert dydx.parse('{"type":"error","message":"' + text + '"}') == [Reset(text)]
    assert dydx.parse(b'{"type":"connected","connection_id":"c","message_id":0}') == []
    assert dydx.parse(SAMPLES[8]) == [Subscribed()]


def test_what_is_not_known_is_named(dydx: Dydx) -> None:
    assert dydx.parse(TRADE.replace(b"v4_trades", b"v4_candles")) == [Unknown("v4_candles")]
    assert dydx.parse(TRADE.replace(b"BTC-USD", b"NEW-USD")) == [Unlisted("NEW-USD")]
    assert dydx.parse(CHANGES.replace(b"v4_", b"v3_")) == [Unknown("v3_orderbook")]


def test_tickers_that_name_a_pool_are_left_out() -> None:
    assert Dydx.describe("NAME,raydium,6p6x-USD") is None
    pool = {"id": "NAME,raydium,6p6x-USD", "swap": True, "active": True, "quote": "USDC", "base": "NAME"}
    assert Dydx.adopt(pool) is None


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        (b'"price":"60010"', b'"price":"-1"', "price"),
        (b'"size":"0.25"', b'"size":"0"', "size"),
        (b'"side":"SELL"', b'"side":"sell"', "side"),
        (b"2026-09-21T14:13:20.123Z", b"1970-01-01T00:00:00.000Z", "createdAt"),
    ],
)
def test_bad_fields_are_named(dydx: Dydx, good: bytes, bad: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        dydx.parse(TRADE.replace(good, bad))
