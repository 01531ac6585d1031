"""dYdX v4's indexer (https://docs.dydx.xyz/indexer-client/websockets).

``v4_trades`` and ``v4_orderbook`` of each market, ``v4_markets`` of all: oracle prices, which are what liquidates here,
and open interest. Sizes are coins; ``side`` is the taker's. A trade of type LIQUIDATED is a liquidation that was
matched on the book, so that it counts as both, and the taker closed the position; DELEVERAGED was settled with other
positions instead and is no trade. ``openInterest`` is read; what ``baseOpenInterest`` counts is not established.

A subscription begins with what the REST answer has: trades of the past, the whole book. Book messages have neither a
time nor a number of their own, and a book may be crossed for a moment. The venue pings with frames of the protocol.
Tickers that name a pool (``NAME,raydium,...-USD``) are not described. ``v3_trades`` and ``v3_markets`` of recordings
are read too, since their fields are the same; ``v3_orderbook`` is not: it numbers levels, not messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Number,
    Positive,
    from_datetime,
    from_iso,
    given,
    levels,
    not_negative,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Record,
    Refused,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_FORCED = ("LIQUIDATED", "DELEVERAGED")
_ID = re.compile(r"(?P<coin>[A-Za-z0-9]+)-USD")
_NAMED = re.compile(r"\((v4_\w+)-([^)\s]+)\)")
_PUSHED_TRADES = re.compile(rb'\{"type": ?"channel_data",[^{]*\{"trades":')
_URL = "wss://indexer.dydx.trade/v4/ws"
_MARKETS = "v4_markets"


class _Envelope(msgspec.Struct):
    type: str = ""
    channel: str = ""
    id: str = ""
    contents: msgspec.Raw = msgspec.Raw(b"null")
    message: str = ""
    markets: msgspec.Raw = msgspec.Raw(b"null")  # of a REST answer, which has no type


class _Trade(msgspec.Struct, gc=False):
    side: Literal["BUY", "SELL"]
    size: Positive
    price: Positive
    createdAt: datetime
    id: Id = ""
    type: str | None = None
    liquidation: bool = False  # what v3 has instead of a type


class _Trades(msgspec.Struct, gc=False):
    trades: list[_Trade]


class _PushedTrades(msgspec.Struct, gc=False):
    contents: _Trades
    channel: str = ""
    id: str = ""


class _Market(msgspec.Struct):
    oraclePrice: Number | None = None
    openInterest: Number | None = None
    effectiveAt: str = ""


class _Markets(msgspec.Struct):
    markets: dict[str, _Market] = {}
    trading: dict[str, _Market] = {}
    oraclePrices: dict[str, _Market] = {}


class _Level(msgspec.Struct):
    price: Number
    size: Number


class _Snapshot(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]


class _Changes(msgspec.Struct):
    bids: list[tuple[Number, Number]] = []
    asks: list[tuple[Number, Number]] = []


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_batch = msgspec.json.Decoder(list[msgspec.Raw])
_trades = msgspec.json.Decoder(_Trades, strict=False)
_pushed_trades = msgspec.json.Decoder(_PushedTrades, strict=False)
_markets = msgspec.json.Decoder(_Markets, strict=False)
_by_ticker = msgspec.json.Decoder(dict[str, _Market], strict=False)
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)
_changes = msgspec.json.Decoder(_Changes, strict=False)


class Dydx(Venue):
    """USDC-margined perpetuals, quoted in USD."""

    name = "dydx"
    exchanges = ("dydx",)
    # A connection takes 32 subscriptions of one channel, hence one kind of connection per channel.
    streams = (
        Stream("markets", _URL, frozenset({Channel.MARK_PRICES, Channel.OPEN_INTEREST}), messages_per_s=10.0),
        Stream(
            "trades",
            _URL,
            frozenset({Channel.TRADES, Channel.LIQUIDATIONS}),
            topics_per_connection=32,
            messages_per_s=10.0,
        ),
        Stream("orderbook", _URL, frozenset({Channel.DEPTH}), topics_per_connection=32, messages_per_s=10.0),
    )

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-USD``."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USDC") if match else None

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Leave out tickers that name a pool: their coins need not be those of the same name elsewhere."""
        return super().adopt(market) if _ID.fullmatch(cls.native_id_of(market)) else None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """``v4_markets`` once, ``v4_trades:BTC-USD`` and ``v4_orderbook:BTC-USD`` of each market."""
        if stream.name == "markets":
            yield Topic(_MARKETS, (Channel.MARK_PRICES, Channel.OPEN_INTEREST))
            return
        channels = (Channel.DEPTH,) if stream.name == "orderbook" else (Channel.TRADES, Channel.LIQUIDATIONS)
        for listing in listings:
            yield Topic(f"v4_{stream.name}:{listing.native_id}", channels, (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Ask for each topic in a message of its own; the answer names it."""
        return [_request("subscribe", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Give up each topic in a message of its own."""
        return [_request("unsubscribe", topic) for topic in topics]

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /v4/perpetualMarkets``."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, "https://indexer.dydx.trade/v4/perpetualMarkets")

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or the REST answer ``perpetualMarkets``."""
        if _PUSHED_TRADES.match(message):  # most messages: in one step, and as below if they are written otherwise
            pushed = _pushed_trades.decode(message)
            if pushed.channel == "v4_trades":
                return self._trades(pushed.id, pushed.contents.trades, False)
        envelope = _envelope.decode(message)
        match envelope.type:
            case "channel_data":
                return self._contents(envelope, envelope.contents, begins=False)
            case "channel_batch_data":
                return [
                    r for one in _batch.decode(envelope.contents) for r in self._contents(envelope, one, begins=False)
                ]
            case "subscribed":
                name = envelope.channel if envelope.channel == _MARKETS else f"{envelope.channel}:{envelope.id}"
                return [Subscribed((name,)), *self._contents(envelope, envelope.contents, begins=True)]
            case "unsubscribed":
                return [Subscribed()]
            case "connected":
                return []
            case "error":
                return [_error(envelope.message)]
            case "" if bytes(envelope.markets)[:1] == b"{":
                return self._states(_by_ticker.decode(envelope.markets))
        return [Unknown(envelope.type or "no type")]

    def _contents(self, envelope: _Envelope, contents: msgspec.Raw, *, begins: bool) -> list[Record]:
        match envelope.channel:
            case "v4_trades" | "v3_trades":
                trades = _trades.decode(contents).trades
                return self._trades(envelope.id, reversed(trades) if begins else trades, begins)
            case "v4_markets" | "v3_markets":
                found = _markets.decode(contents)
                return [
                    *self._states(found.markets),
                    *self._states(found.trading),
                    *self._states(found.oraclePrices),
                ]
            case "v4_orderbook":
                return self._book(envelope.id, contents, begins)
        return [Unknown(envelope.channel or "no channel")]

    def _trades(self, native_id: str, trades: Iterable[_Trade], replayed: bool) -> list[Record]:
        listing = self.listings.get(native_id)
        if listing is None:
            return [Unlisted(native_id)]
        records: list[Record] = []
        for trade in trades:
            time_ns = from_datetime(trade.createdAt, "createdAt")
            price, quantity = trade.price / listing.units, trade.size * listing.coin
            bought = trade.side == "BUY"
            if trade.type != "DELEVERAGED":
                aggressor = 1 if bought else -1
                records.append(Trade(listing, time_ns, price, quantity, aggressor, trade.id, replayed=replayed))
            if trade.liquidation or trade.type in _FORCED:
                side = 1 if bought else 0
                records.append(Liquidation(listing, time_ns, price, quantity, side, trade.id, replayed))
        return records

    def _states(self, markets: Mapping[str, _Market]) -> list[Record]:
        records: list[Record] = []
        for native_id, market in markets.items():
            price = not_negative(market.oraclePrice or "0", "oraclePrice")
            if not price and not given(market.openInterest):
                continue  # an update of something else
            listing = self.listed(native_id, records)
            if listing is None:
                continue
            if price:
                time_ns = from_iso(market.effectiveAt, "effectiveAt") if market.effectiveAt else 0
                records.append(Mark(listing, time_ns, price / listing.units))
            if market.openInterest is not None and given(market.openInterest):
                quantity = not_negative(market.openInterest, "openInterest") * listing.coin
                records.append(OpenInterest(listing, 0, quantity))
        return records

    def _book(self, native_id: str, contents: msgspec.Raw, begins: bool) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        if begins:
            whole = _snapshot.decode(contents)
            bids, asks = ([(level.price, level.size) for level in side] for side in (whole.bids, whole.asks))
        else:
            changes = _changes.decode(contents)
            bids, asks = changes.bids, changes.asks
        units, coin = listing.units, listing.coin
        records.append(Book(listing, 0, levels(bids, units, coin), levels(asks, units, coin), begins))
        return records


def _request(kind: str, topic: str) -> str:
    channel, _, native_id = topic.partition(":")
    request = {"type": kind, "channel": channel, **({"id": native_id} if native_id else {})}
    return msgspec.json.encode(request).decode()


def _error(text: str) -> Record:
    """A refusal names the subscription in brackets; one that is there already does no harm."""
    topics = tuple(f"{channel}:{native_id}" for channel, native_id in _NAMED.findall(text))
    if "reconnect" in text:
        return Reset(text)
    return Subscribed(topics) if "already subscribed" in text else Refused(text, topics)


VENUE = Dydx
