"""Hyperliquid's public feeds (https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket).

``trades``, ``activeAssetCtx`` (mark and open interest, without a time) and ``l2Book`` (20 levels a side, whole, about
every half second) of each coin of the venue's own dex. Sizes are listed coins; a ``k`` in front of one is a thousand.
``side`` is the taker's: B bought, A sold. ``tid`` is a hash, so that it tells trades of one coin apart but counts
nothing. What follows a subscription may begin with trades of the recent past, which nothing marks: the first message
of a coin counts as replayed, which leaves out only what is older than the collector.

Nobody publishes liquidations: they appear in the fills of single addresses, which are not read here. HIP-3 dexes
(``dex:COIN``) have collateral of their own, which ids do not tell; they and spot (``@107``, ``PURR/USDC``) are not
described. ``allDexsAssetCtxs`` names no coins. ccxt takes the index of a coin for its id; messages have its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from forcedmove_server.collectors.fields import (
    Milliseconds,
    Number,
    Positive,
    choice,
    from_ms,
    levels,
    not_negative,
    positive,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_TAKER = {"B": 1, "A": -1}
_COIN = re.compile(r"[A-Za-z0-9]+")
_CHANNELS = {
    "trades": (Channel.TRADES,),
    "activeAssetCtx": (Channel.MARK_PRICES, Channel.OPEN_INTEREST),
    "l2Book": (Channel.DEPTH,),
}


class _Envelope(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    levels: msgspec.Raw = msgspec.Raw(b"null")  # a book's REST answer has no channel


class _Trade(msgspec.Struct):
    coin: str
    side: str
    px: Positive
    sz: Positive
    time: Milliseconds
    tid: int


class _Context(msgspec.Struct):
    markPx: Number | None = None
    openInterest: Number | None = None


class _Named(msgspec.Struct):
    coin: str
    ctx: _Context


class _Level(msgspec.Struct):
    px: Number
    sz: Number


class _Book(msgspec.Struct):
    coin: str
    time: int
    levels: tuple[list[_Level], list[_Level]]


class _Subscription(msgspec.Struct):
    type: str = ""
    coin: str = ""


class _Accepted(msgspec.Struct):
    method: str
    subscription: _Subscription


class _Coin(msgspec.Struct):
    name: str


class _Universe(msgspec.Struct):
    universe: list[_Coin]


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_named = msgspec.json.Decoder(_Named, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_accepted = msgspec.json.Decoder(_Accepted, strict=False)
_text = msgspec.json.Decoder(str)
_subscription = msgspec.json.Decoder(_Subscription, strict=False)
_universe = msgspec.json.Decoder(_Universe, strict=False)
_contexts = msgspec.json.Decoder(list[_Context], strict=False)
_rows = msgspec.json.Decoder(list[msgspec.Raw])


class Hyperliquid(Venue):
    """USDC-margined perpetuals of the venue's own dex."""

    name = "hyperliquid"
    exchanges = ("hyperliquid",)
    streams = (
        Stream(
            "public",
            "wss://api.hyperliquid.xyz/ws",
            frozenset(Channel) - {Channel.LIQUIDATIONS},
            topics_per_connection=300,  # of 1000 per address; 10 connections
            messages_per_s=15.0,  # the limit is 2000 a minute
            ping_s=20.0,  # the venue closes after a minute in which it sent nothing
            silence_s=45.0,
        ),
    )
    connections_per_s = 0.5  # the limit is 30 a minute
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": ["swap"]}}

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Coins of trades that were just subscribed to are remembered until their first message."""
        super().__init__(listings)
        self._fresh: set[str] = set()

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC``, ``kPEPE``: a plain name is a perpetual."""
        return listing_of(cls.name, native_id, native_id, "USDC") if _COIN.fullmatch(native_id) else None

    @classmethod
    def native_id_of(cls, market: Mapping[str, Any]) -> str:
        """Coin of the market: ccxt's id is an index."""
        return str(market["baseName"])

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """Coin as the venue writes it, with its ``k``."""
        return str(market["baseName"])

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a coin: ``trades:BTC``, ``activeAssetCtx:BTC``, ``l2Book:BTC``."""
        for listing in listings:
            for kind, channels in _CHANNELS.items():
                yield Topic(f"{kind}:{listing.native_id}", channels, (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Ask for each topic in a message of its own."""
        return [_request("subscribe", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Give up each topic in a message of its own."""
        return [_request("unsubscribe", topic) for topic in topics]

    def ping(self) -> str:
        """``{"method": "ping"}``."""
        return '{"method":"ping"}'

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``POST /info`` with ``metaAndAssetCtxs``: the contexts of all coins."""
        if contract_type is ContractType.LINEAR:
            body = '{"type":"metaAndAssetCtxs"}'
            yield Poll(Channel.OPEN_INTEREST, "https://api.hyperliquid.xyz/info", method="POST", body=body)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer: recent trades, a book, ``metaAndAssetCtxs``."""
        if message[:1] == b"[":
            return self._rest(_rows.decode(message), message)
        envelope = _envelope.decode(message)
        match envelope.channel:
            case "trades":
                return self._trades(_trades.decode(envelope.data))
            case "activeAssetCtx":
                named = _named.decode(envelope.data)
                records: list[Record] = []
                self._context(named.coin, named.ctx, records)
                return records
            case "l2Book":
                return self._book(_book.decode(envelope.data))
            case "subscriptionResponse":
                return self._accept(_accepted.decode(envelope.data))
            case "pong":
                return [Pong()]
            case "error":
                return [_error(_text.decode(envelope.data))]
            case "" if bytes(envelope.levels)[:1] == b"[":
                return self._book(_book.decode(message))
        return [Unknown(envelope.channel or "no channel")]

    def _rest(self, rows: list[msgspec.Raw], message: bytes) -> list[Record]:
        kinds = [bytes(row)[:1] for row in rows]
        if kinds == [b"{", b"["]:
            coins, contexts = _universe.decode(rows[0]).universe, _contexts.decode(rows[1])
            records: list[Record] = []
            for coin, context in zip(coins, contexts, strict=True):
                self._context(coin.name, context, records)
            return records
        if rows and b'"tid"' in bytes(rows[0]) and b'"oid"' not in bytes(rows[0]):  # with an order: an account's fills
            return self._trades(reversed(_trades.decode(message)))  # the newest comes first
        return [Unknown("REST answer")]

    def _accept(self, accepted: _Accepted) -> list[Record]:
        if accepted.method != "subscribe":
            return [Subscribed()]
        subscription = accepted.subscription
        if subscription.type == "trades":
            self._fresh.add(subscription.coin)
        return [Subscribed((f"{subscription.type}:{subscription.coin}",))]

    def _trades(self, trades: Iterable[_Trade]) -> list[Record]:
        records: list[Record] = []
        replayed: set[str] = set()
        for trade in trades:
            listing = self.listed(trade.coin, records)
            if self._fresh and trade.coin in self._fresh:
                self._fresh.discard(trade.coin)
                replayed.add(trade.coin)
            if listing is not None:
                records.append(
                    Trade(
                        listing,
                        trade.time * 1_000_000,
                        trade.px / listing.units,
                        trade.sz * listing.coin,
                        choice(trade.side, _TAKER, "side"),
                        trade.tid,
                        replayed=trade.coin in replayed,
                    )
                )
        return records

    def _context(self, coin: str, context: _Context, records: list[Record]) -> None:
        listing = self.listed(coin, records)
        if listing is None:
            return
        if context.markPx is not None and not_negative(context.markPx, "markPx"):
            records.append(Mark(listing, 0, positive(context.markPx, "markPx") / listing.units))
        if context.openInterest is not None:
            quantity = not_negative(context.openInterest, "openInterest") * listing.coin
            records.append(OpenInterest(listing, 0, quantity))

    def _book(self, book: _Book) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(book.coin, records)
        if listing is not None:
            bids, asks = (
                levels(((row.px, row.sz) for row in side), listing.units, listing.coin) for side in book.levels
            )
            records.append(Book(listing, from_ms(book.time), bids, asks, True))
        return records


def _request(method: str, topic: str) -> str:
    kind, _, coin = topic.partition(":")
    return msgspec.json.encode({"method": method, "subscription": {"type": kind, "coin": coin}}).decode()


def _error(text: str) -> Record:
    """A refusal quotes the subscription; one that is there already does no harm."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        asked = _subscription.decode(text[begin : end + 1])
    except msgspec.MsgspecError:
        asked = _Subscription()
    topics = (f"{asked.type}:{asked.coin}",) if asked.type and asked.coin else ()
    return Subscribed(topics) if text.startswith("Already subscribed") else Refused(text, topics)


VENUE = Hyperliquid
