"""Kraken Futures websocket v1 (https://docs.kraken.com/exchange/api-reference/futures-websocket).

``trade``, ``ticker`` (mark and open interest) and ``book`` (a snapshot, then one level a message, numbered without
holes). Linear contracts (``PF_``, ``FF_``) are in coins, inverse ones (``PI_``, ``FI_``) in contracts of 1 USD; ``XBT``
is BTC. ``side`` is the taker's. A trade of type ``liquidation`` is the market order that closed the position: one that
sells closed a long; its price is the fill. ``assignment`` and ``termination`` pass a position on without a taker.
``seq`` counts each market's trades: recorded snapshots have a hundred in a row without a hole, and what follows goes on
from there. The first answer to a subscription repeats the last hundred trades. A connection has to send pings of the
websocket protocol; no text message is documented for that.
ccxt has no liquidations, and the market order's side would have to be turned around.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import Id, Number, choice, from_iso, from_ms, levels, not_negative, positive
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_TAKER = {"buy": 1, "sell": -1}
_TAKER_IN_HISTORY = {"Buy": 1, "Sell": -1}
_WITHOUT_TAKER = ("assignment", "termination")
_ID = re.compile(r"(?P<kind>PF|FF|PI|FI)_(?P<coin>[A-Za-z0-9]+)USD(_\d{6})?")
_TICKERS = "https://futures.kraken.com/derivatives/api/v3/tickers"


class _Level(msgspec.Struct):
    price: Number
    qty: Number


class _Trade(msgspec.Struct):
    product_id: str
    side: str
    seq: int
    time: Number
    qty: Number
    price: Number
    type: str | None = "fill"
    uid: Id = ""  # since 2020


class _Ticker(msgspec.Struct):
    product_id: str
    time: Number
    markPrice: Number | None = None
    openInterest: Number | None = None


class _Book(msgspec.Struct):
    product_id: str
    seq: int
    bids: list[_Level]
    asks: list[_Level]
    timestamp: Number = 0


class _Change(msgspec.Struct):
    product_id: str
    side: str
    seq: int
    price: Number
    qty: Number
    timestamp: Number = 0  # since 2019


class _Snapshot(msgspec.Struct):
    trades: list[_Trade]


class _Answer(msgspec.Struct):
    """An answer to a request, or a message of REST."""

    event: str = ""
    feed: str = ""
    product_ids: list[str] = []
    message: str = ""
    tickers: list[msgspec.Raw] | None = None
    elements: list[msgspec.Raw] | None = None
    serverTime: str = ""


class _Row(msgspec.Struct):
    """One row of REST's tickers; indices have neither mark nor open interest."""

    symbol: str
    markPrice: Number | None = None
    openInterest: Number | None = None


class _Order(msgspec.Struct):
    tradeable: str
    direction: str


class _Execution(msgspec.Struct):
    uid: Id
    takerOrder: _Order
    timestamp: Number
    quantity: Number
    price: Number


class _Executed(msgspec.Struct):
    execution: _Execution


class _HistoryEvent(msgspec.Struct):
    Execution: _Executed | None = None


class _Element(msgspec.Struct):
    event: _HistoryEvent


class _Feed(msgspec.Struct):
    feed: str = ""
    event: str = ""


_feed = msgspec.json.Decoder(_Feed, strict=False)
_trade = msgspec.json.Decoder(_Trade, strict=False)
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)
_ticker = msgspec.json.Decoder(_Ticker, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_change = msgspec.json.Decoder(_Change, strict=False)
_answer = msgspec.json.Decoder(_Answer, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_element = msgspec.json.Decoder(_Element, strict=False)


class KrakenFutures(Venue):
    """Multi-collateral linear and coin-margined inverse perpetuals."""

    name = "krakenfutures"
    exchanges = ("krakenfutures",)
    streams = (
        Stream(
            "public",
            "wss://futures.kraken.com/ws/v1",
            ALL_CHANNELS,
            topics_per_connection=300,  # no limit of feeds is documented
            topics_per_message=60,
            messages_per_s=20.0,  # the limit is 100
            ping_s=20.0,  # the venue wants one a minute at least
        ),
    )
    rest_weight_per_s = 1.0

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``PF_XBTUSD`` is linear, ``PI_XBTUSD`` inverse; ``FF_`` and ``FI_`` are dated."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        return listing_of(cls.name, native_id, match["coin"], "USD", inverse=match["kind"] in ("PI", "FI"))

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Take the highest leverage from the first margin level, which ccxt leaves in the venue's own row."""
        margin_levels = (market.get("info") or {}).get("marginLevels") or []
        initial = float(margin_levels[0].get("initialMargin") or 0.0) if margin_levels else 0.0
        limits = {"leverage": {"max": 1.0 / initial if initial else None}}
        return super().adopt({**market, "limits": limits})

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three feeds a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trade {listing.native_id}", (Channel.TRADES, Channel.LIQUIDATIONS), ids)
            yield Topic(f"ticker {listing.native_id}", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"book {listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"event": "subscribe", "feed": ..., "product_ids": [...]}``, one for each feed."""
        return _requests("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"event": "unsubscribe", "feed": ..., "product_ids": [...]}``, one for each feed."""
        return _requests("unsubscribe", topics)

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /derivatives/api/v3/tickers``."""
        yield Poll(Channel.OPEN_INTEREST, _TICKERS)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer: tickers, executions."""
        found = _feed.decode(message)
        if found.event or not found.feed:
            return self._answer(_answer.decode(message))
        match found.feed:
            case "trade":
                return self._trade(_trade.decode(message), replayed=False)
            case "trade_snapshot":
                trades = reversed(_snapshot.decode(message).trades)  # the newest comes first
                return [record for trade in trades for record in self._trade(trade, replayed=True)]
            case "ticker":
                ticker = _ticker.decode(message)
                at = from_ms(ticker.time, "time")
                return self._state(ticker.product_id, at, ticker.markPrice, ticker.openInterest)
            case "book_snapshot":
                return self._book(_book.decode(message))
            case "book":
                return self._change(_change.decode(message))
            case "heartbeat":
                return [Pong()]
        return [Unknown(found.feed)]

    def _answer(self, answer: _Answer) -> list[Record]:
        topics = tuple(f"{answer.feed} {product}" for product in answer.product_ids)
        match answer.event:
            case "subscribed":
                return [Subscribed(topics)]
            case "unsubscribed":
                return [Subscribed()]
            case "unsubscribed_failed":
                return [Refused(answer.message or answer.event)]
            case "subscribed_failed" | "error":
                return [Refused(answer.message or answer.event, topics)]
            case "alert":  # "Already subscribed to feed, re-requesting" refuses nothing
                already = answer.message.startswith("Already subscribed")
                return [Subscribed(topics) if already else Refused(answer.message or answer.event, topics)]
            case "info":
                return []
            case "":
                return self._rest(answer)
        return [Unknown(answer.event)]

    def _rest(self, answer: _Answer) -> list[Record]:
        records: list[Record] = []
        if answer.tickers is not None:
            at = from_iso(answer.serverTime, "serverTime") if answer.serverTime else 0
            for row in map(_row.decode, answer.tickers):
                if row.markPrice is not None or row.openInterest is not None:
                    records += self._state(row.symbol, at, row.markPrice, row.openInterest)
        elif answer.elements is not None:
            for element in reversed([_element.decode(element) for element in answer.elements]):  # newest first
                if element.event.Execution is not None:
                    self._execution(element.event.Execution.execution, records)
        else:
            records.append(Unknown("REST answer"))
        return records

    def _trade(self, trade: _Trade, replayed: bool) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(trade.product_id, records)
        if listing is None:
            return records
        at, price = from_ms(trade.time, "time"), positive(trade.price, "price") / listing.units
        quantity, taker = positive(trade.qty, "qty") * listing.contract, choice(trade.side, _TAKER, "side")
        trade_id = trade.uid or trade.seq
        aggressor = 0 if trade.type in _WITHOUT_TAKER else taker
        records.append(Trade(listing, at, price, quantity, aggressor, trade_id, trade.seq, replayed))
        if trade.type == "liquidation":
            records.append(Liquidation(listing, at, price, quantity, int(taker > 0), trade_id, replayed))
        return records

    def _execution(self, execution: _Execution, records: list[Record]) -> None:
        listing = self.listed(execution.takerOrder.tradeable, records)
        if listing is not None:
            records.append(
                Trade(
                    listing,
                    from_ms(execution.timestamp, "timestamp"),
                    positive(execution.price, "price") / listing.units,
                    positive(execution.quantity, "quantity") * listing.contract,
                    choice(execution.takerOrder.direction, _TAKER_IN_HISTORY, "direction"),
                    execution.uid,
                    replayed=True,
                )
            )

    def _state(self, native_id: str, at: int, mark: Number | None, interest: Number | None) -> list[Record]:
        """A mark of 0 is none."""
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        if mark is not None and not_negative(mark, "markPrice"):
            records.append(Mark(listing, at, positive(mark, "markPrice") / listing.units))
        if interest is not None:
            records.append(OpenInterest(listing, at, not_negative(interest, "openInterest") * listing.contract))
        return records

    def _book(self, book: _Book) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(book.product_id, records)
        if listing is not None:
            bids, asks = _levels(book.bids, listing), _levels(book.asks, listing)
            at = from_ms(book.timestamp, "timestamp") if book.timestamp else 0
            records.append(Book(listing, at, bids, asks, True, book.seq))
        return records

    def _change(self, change: _Change) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(change.product_id, records)
        if listing is not None:
            found = levels([(change.price, change.qty)], listing.units, listing.contract)
            bids, asks = (found, ()) if choice(change.side, _TAKER, "side") > 0 else ((), found)
            at = from_ms(change.timestamp, "timestamp") if change.timestamp else 0
            records.append(Book(listing, at, bids, asks, False, change.seq, change.seq - 1))
        return records


def _levels(found: Sequence[_Level], listing: Listing) -> tuple[tuple[float, float], ...]:
    return levels([(level.price, level.qty) for level in found], listing.units, listing.contract)


def _requests(event: str, topics: Sequence[str]) -> list[str]:
    products: dict[str, list[str]] = defaultdict(list)
    for topic in topics:
        feed, _, product = topic.partition(" ")
        products[feed].append(product)
    return [
        msgspec.json.encode({"event": event, "feed": feed, "product_ids": ids}).decode()
        for feed, ids in products.items()
    ]


VENUE = KrakenFutures
