"""Lighter's public feeds (https://apidocs.lighter.xyz/docs/websocket-reference).

``trade/1`` and ``order_book/1`` of each market, ``market_stats/all`` of all; markets have numbers. Sizes are coins.
``is_maker_ask`` says that the taker bought. ``liquidation_trades`` are trades too, whose taker is the liquidated
account: the sign of ``taker_position_size_before`` is the side that was closed, the price a fill. Of a deleveraging
nobody says which of the two accounts was bankrupt, and a settlement is no trade: both are left out. A subscription to
trades begins with some of the past, the newest first.

``open_interest`` is US dollars on the websocket (value / mark is a whole number of lots in recordings) and coins in
``orderBookDetails``; ccxt takes the former for coins. A message of a book names the nonce of the one before it.
Which coins the numbers of the oldest markets stand for is known here; discovery tells the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from forcedmove_server.collectors.fields import Milliseconds, Number, Positive, from_ms, given, levels, not_negative
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Pong,
    Record,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_COINS = {
    "0": "ETH",
    "1": "BTC",
    "2": "SOL",
    "3": "DOGE",
    "4": "1000PEPE",
    "7": "XRP",
    "8": "LINK",
    "9": "AVAX",
    "16": "SUI",
    "24": "HYPE",
    "25": "BNB",
    "39": "ADA",
}
_STATS = "market_stats/all"
#: ids of the first markets as texts, whose making takes longer than finding the listing
_NATIVE_IDS = {number: str(number) for number in range(1_024)}
#: a push of trades, whose type comes first or last
_TYPE_FIRST = (b'{"type":"update/trade"', b'{"type": "update/trade"')
_TYPE_LAST = (b'"type":"update/trade"}', b'"type": "update/trade"}')
_ALREADY_SUBSCRIBED, _NOT_SUBSCRIBED = 30003, 30002


class _Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Envelope(msgspec.Struct):
    type: str = ""
    channel: str = ""
    timestamp: int = 0
    market_stats: msgspec.Raw = msgspec.Raw(b"null")
    order_book: msgspec.Raw = msgspec.Raw(b"null")
    trades: msgspec.Raw = msgspec.Raw(b"null")
    order_book_details: msgspec.Raw = msgspec.Raw(b"null")  # of a REST answer, which has no type
    error: _Fault | None = None


class _Trade(msgspec.Struct, gc=False):
    trade_id: int
    market_id: int
    size: Positive
    price: Positive
    is_maker_ask: bool
    timestamp: Milliseconds
    type: str | None = None
    taker_position_size_before: Number | None = None


class _Trades(msgspec.Struct, gc=False):
    trades: list[_Trade] | None = None
    liquidation_trades: list[_Trade] | None = None


class _Stats(msgspec.Struct):
    market_id: int | None = None
    mark_price: Number = ""
    open_interest: Number = ""


class _Detail(msgspec.Struct):
    market_id: int
    open_interest: Number | None = None


class _Level(msgspec.Struct):
    price: Number
    size: Number


class _Book(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    nonce: int = -1
    begin_nonce: int = -1


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(_Trades, strict=False)
_stats = msgspec.json.Decoder(_Stats, strict=False)
_all_stats = msgspec.json.Decoder(dict[str, _Stats], strict=False)
_details = msgspec.json.Decoder(list[_Detail], strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)


class Lighter(Venue):
    """USDC-margined perpetuals."""

    name = "lighter"
    exchanges = ("lighter",)
    streams = (
        Stream(
            "public",
            "wss://mainnet.zklighter.elliot.ai/stream?readonly=true",  # answers in every region
            ALL_CHANNELS,
            topics_per_connection=400,  # of 500
            messages_per_s=3.0,  # 200 a minute from one address
            ping_s=30.0,  # the venue closes after two minutes in which it was sent nothing
            silence_s=75.0,
        ),
    )
    connections_per_s = 0.5
    rest_weight_per_s = 0.5  # 60 calls a minute without an account

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """A number; those of the oldest markets are known."""
        coin = _COINS.get(native_id)
        return listing_of(cls.name, native_id, coin, "USDC") if coin else None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """``market_stats/all`` once, ``trade/1`` and ``order_book/1`` of each market."""
        yield Topic(_STATS, (Channel.MARK_PRICES, Channel.OPEN_INTEREST))
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trade/{listing.native_id}", (Channel.TRADES, Channel.LIQUIDATIONS), ids)
            yield Topic(f"order_book/{listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Ask for each topic in a message of its own; the answer names it."""
        return [_request("subscribe", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Give up each topic in a message of its own."""
        return [_request("unsubscribe", topic) for topic in topics]

    def ping(self) -> str:
        """``{"type": "ping"}``; the venue has pings of the same form."""
        return '{"type":"ping"}'

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /api/v1/orderBookDetails``: open interest of all markets, in coins."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, "https://mainnet.zklighter.elliot.ai/api/v1/orderBookDetails")

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer: ``orderBookDetails``, ``recentTrades``."""
        if message.startswith(_TYPE_FIRST) or message.endswith(_TYPE_LAST):  # most messages: in one step
            return self._trades(message, False)
        envelope = _envelope.decode(message)
        kind, _, channel = envelope.type.partition("/")
        match kind:
            case "update":
                return self._push(message, envelope, channel, begins=False)
            case "subscribed":
                accepted = Subscribed((envelope.channel.replace(":", "/"),))
                return [accepted, *self._push(message, envelope, channel, begins=True)]
            case "ping":
                return [Reply('{"type":"pong"}')]
            case "pong":
                return [Pong()]
            case "connected":
                return []
            case "unsubscribed":
                return [Subscribed()]
            case "" if envelope.error is not None:
                return [_refusal(envelope.error)]
            case "" if bytes(envelope.order_book_details)[:1] == b"[":
                return self._details(_details.decode(envelope.order_book_details))
            case "" if bytes(envelope.trades)[:1] == b"[":
                return self._trades(message, replayed=False)
        return [Unknown(kind or "no type")]

    def _push(self, message: bytes, envelope: _Envelope, channel: str, *, begins: bool) -> list[Record]:
        match channel:
            case "trade":
                return self._trades(message, replayed=begins)
            case "market_stats":
                return self._market_stats(envelope)
            case "order_book":
                return self._book(envelope, begins)
        return [Unknown(channel or "no channel")]

    def _trades(self, message: bytes, replayed: bool) -> list[Record]:
        found = _trades.decode(message)
        rows = found.trades or []
        if found.liquidation_trades:
            rows += found.liquidation_trades
        if len(rows) > 1:
            rows.sort(key=attrgetter("trade_id"))
        records: list[Record] = []
        for row in rows:
            ordinary = row.type in (None, "trade")
            if not ordinary and row.type != "liquidation":
                continue
            native_id = _NATIVE_IDS.get(row.market_id) or str(row.market_id)
            listing = self.listings.get(native_id)
            if listing is None:
                records.append(Unlisted(native_id))
                continue
            time_ns, price, quantity = row.timestamp * 1_000_000, row.price / listing.units, row.size * listing.coin
            aggressor = 1 if row.is_maker_ask else -1
            records.append(Trade(listing, time_ns, price, quantity, aggressor, row.trade_id, -1, replayed))
            if not ordinary:
                position = float(row.taker_position_size_before or 0.0) or -aggressor
                side = 0 if position > 0.0 else 1
                records.append(Liquidation(listing, time_ns, price, quantity, side, row.trade_id, replayed))
        return records

    def _market_stats(self, envelope: _Envelope) -> list[Record]:
        one = _stats.decode(envelope.market_stats)
        found = [one] if one.market_id is not None else _all_stats.decode(envelope.market_stats).values()
        time_ns = from_ms(envelope.timestamp, "timestamp") if envelope.timestamp else 0  # older messages have none
        records: list[Record] = []
        for stats in found:
            listing = self.listed(str(stats.market_id), records)
            if listing is None:
                continue
            price = not_negative(stats.mark_price or "0", "mark_price") / listing.units
            if price:
                records.append(Mark(listing, time_ns, price))
            if given(stats.open_interest):
                value = not_negative(stats.open_interest, "open_interest")
                if price:
                    records.append(OpenInterest(listing, time_ns, not_negative(value / price, "open_interest")))
                else:
                    records.append(OpenInterestValue(listing, time_ns, value))
        return records

    def _details(self, details: Iterable[_Detail]) -> list[Record]:
        records: list[Record] = []
        for detail in details:
            listing = self.listed(str(detail.market_id), records)
            if listing is not None and detail.open_interest is not None:
                quantity = not_negative(detail.open_interest, "open_interest") * listing.coin
                records.append(OpenInterest(listing, 0, quantity))
        return records

    def _book(self, envelope: _Envelope, begins: bool) -> list[Record]:
        book = _book.decode(envelope.order_book)
        records: list[Record] = []
        listing = self.listed(envelope.channel.partition(":")[2], records)
        if listing is not None:
            bids, asks = (
                levels(((row.price, row.size) for row in side), listing.units, listing.coin)
                for side in (book.bids, book.asks)
            )
            time_ns = from_ms(envelope.timestamp, "timestamp") if envelope.timestamp else 0
            previous = -1 if begins else book.begin_nonce
            records.append(Book(listing, time_ns, bids, asks, begins, book.nonce, previous))
        return records


def _request(kind: str, topic: str) -> str:
    return msgspec.json.encode({"type": kind, "channel": topic}).decode()


def _refusal(fault: _Fault) -> Record:
    """``Already Subscribed to : market_stats:all``, which does no harm, ``Invalid Channel:  (trade:7000)``."""
    named = fault.message.rpartition(" ")[2].strip("()").replace(":", "/")
    topics = (named,) if "/" in named else ()
    if fault.code in (_ALREADY_SUBSCRIBED, _NOT_SUBSCRIBED):
        return Subscribed(topics if fault.code == _ALREADY_SUBSCRIBED else ())
    return Refused(fault.message or f"code {fault.code}", topics)


VENUE = Lighter
