"""Bitget's public streams of the unified account, v3 (https://www.bitget.com/docs/uta/quick-start).

``publicTrade``, ``ticker`` (mark price and open interest), ``books`` and ``liquidation`` of USDT-M, USDC-M and coin-M
perpetuals. Coin-M's ids end in ``_CM``; the older line without the suffix was retired in 2026-09. Sizes are coins on
linear contracts and US dollars on coin-M. Of ``liquidation``, which is of all symbols of a product, ``side`` is that of
the *position* (buy is a long) and ``amount`` a value in the quote coin. Documentation first had all liquidations pushed
together every 20 s, later the largest of each symbol and side once a second. ccxt has no liquidations of Bitget.

The documentation names no unit of open interest: coins, counted on one side, are assumed on all three products.

The streams of v2 and v1 have other names for the same fields. Recordings of linear contracts are read; older coin-M
ids are not described, as their sizes were coins. ``books`` that begin anew (``pseq`` 0) ask for a new connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Milliseconds,
    Number,
    Positive,
    choice,
    from_ms,
    given,
    levels,
    not_negative,
    one_id,
    positive,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_POSITION = {"buy": 0, "sell": 1}
#: products with futures; ``mc`` is v1's name of all of them
_PRODUCTS = frozenset({"usdt-futures", "usdc-futures", "coin-futures", "mc"})
_LINEAR = re.compile(r"(?P<coin>[^\W_a-z]+?)(?P<quote>USDT|PERP)")
_INVERSE = re.compile(r"(?P<coin>[A-Z0-9]+?)(USD_CM|CM[FGHJKMNQUVXZ]\d\d)")
#: how the usual message of trades begins
_STREAMED_TRADES = tuple(
    f'{{"action":{_}"update",{_}"arg":{_}{{"instType":{_}"{product}-futures",{_}"topic":{_}"publicTrade"'.encode()
    for product in ("usdt", "usdc", "coin")
    for _ in ("", " ")
)

Levels = list[tuple[Number, Number]]


class _Arg(msgspec.Struct):
    instType: str = ""
    topic: str = ""
    symbol: str = ""
    channel: str = ""
    instId: str = ""


class _Envelope(msgspec.Struct):
    action: str = ""
    arg: _Arg | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    ts: int = 0
    event: str = ""
    code: Id = ""
    msg: str | None = None


class _Trade(msgspec.Struct):
    i: Id
    p: Positive
    v: Positive
    S: Literal["buy", "sell"]
    T: Milliseconds


class _TradesArg(msgspec.Struct):
    symbol: str


class _StreamedTrades(msgspec.Struct):
    arg: _TradesArg
    data: list[_Trade]


class _OldTrade(msgspec.Struct):
    price: Positive
    size: Positive
    side: Literal["buy", "sell"]
    ts: Milliseconds
    tradeId: Id = ""


#: v1's rows
_OldestTrade = tuple[Milliseconds, Positive, Positive, Literal["buy", "sell"]]


class _Ticker(msgspec.Struct):
    """A push, or a row of a REST answer."""

    symbol: str = ""
    ts: Number = ""
    markPrice: Number | None = None
    openInterest: Number | None = None
    holdingAmount: Number | None = None
    holding: Number | None = None
    systemTime: int = 0


class _Tickers(msgspec.Struct):
    rows: list[_Ticker] = msgspec.field(name="list", default_factory=list)
    ts: Number = ""


class _Liquidation(msgspec.Struct):
    symbol: str
    side: str
    price: Number
    amount: Number
    ts: int


class _Book(msgspec.Struct):
    ts: int
    a: Levels = []
    b: Levels = []
    asks: Levels = []
    bids: Levels = []
    seq: int = -1
    pseq: int = -1


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_streamed_trades = msgspec.json.Decoder(_StreamedTrades, strict=False)
_old_trades = msgspec.json.Decoder(list[_OldTrade | _OldestTrade], strict=False)
_tickers = msgspec.json.Decoder(list[_Ticker], strict=False)
_ticker_list = msgspec.json.Decoder(_Tickers, strict=False)
_liquidations = msgspec.json.Decoder(list[_Liquidation], strict=False)
_books = msgspec.json.Decoder(list[_Book], strict=False)


class Bitget(Venue):
    """Linear (USDT, USDC) and coin-margined perpetuals."""

    name = "bitget"
    exchanges = ("bitget",)
    streams = (
        # 240 requests an hour, 1000 topics and 10 messages a second are the limits of a connection; it has been seen
        # to close after a request of 25 topics.
        Stream(
            "public",
            "wss://ws.bitget.com/v3/ws/public",
            ALL_CHANNELS,
            topics_per_connection=200,
            topics_per_message=10,
            messages_per_s=2.0,
            ping_s=25.0,
            silence_s=60.0,
        ),
    )
    ccxt_options: ClassVar[Mapping[str, Any]] = {"uta": True}
    connections_per_s = 0.9  # 300 in 5 minutes

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSDT`` and ``BTCPERP`` (USDC) are linear, ``BTCUSD_CM`` and ``BTCCMZ26`` inverse contracts of 1 USD."""
        if match := _LINEAR.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], "USDC" if match["quote"] == "PERP" else "USDT")
        if match := _INVERSE.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], "USD", inverse=True)
        return None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market, and one of liquidations a product; ``usdt-futures/ticker/BTCUSDT``."""
        products: dict[str, list[str]] = {}
        for listing in listings:
            products.setdefault(_product(listing), []).append(listing.native_id)
        for product, ids in products.items():
            yield Topic(f"{product}/liquidation", (Channel.LIQUIDATIONS,), tuple(ids))
        for listing in listings:
            product, one = _product(listing), (listing.native_id,)
            yield Topic(f"{product}/publicTrade/{listing.native_id}", (Channel.TRADES,), one)
            channels = (Channel.MARK_PRICES, Channel.OPEN_INTEREST)
            yield Topic(f"{product}/ticker/{listing.native_id}", channels, one)
            yield Topic(f"{product}/books/{listing.native_id}", (Channel.DEPTH,), one)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "subscribe", "args": [{"instType", "topic", "symbol"}]}``, each answered on its own."""
        return (_request("subscribe", topics),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "unsubscribe", ...}``."""
        return (_request("unsubscribe", topics),)

    def ping(self) -> str:
        """Without a ``ping`` in 2 minutes the venue closes the connection, whatever it sends meanwhile."""
        return "ping"

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer with tickers or open interest."""
        if message == b"pong":
            return [Pong()]
        if message.startswith(_STREAMED_TRADES):  # in one step; any other way to write them is read below
            push = _streamed_trades.decode(message)
            return self._trades(push.arg.symbol, push.data, False)
        envelope = _envelope.decode(message)
        arg = envelope.arg
        if envelope.event:
            return self._answer(envelope, arg)
        if arg is None:
            return self._rest(envelope)
        kind, native_id = arg.topic or arg.channel, arg.symbol or arg.instId
        if arg.instType.lower() not in _PRODUCTS:  # spot has the same symbols
            return [Unknown(f"{kind} of {arg.instType}")]
        replayed = envelope.action == "snapshot"
        match kind:
            case "publicTrade":
                return self._trades(native_id, _trades.decode(envelope.data), replayed)
            case "trade":
                return self._trades(native_id, map(_renamed, _old_trades.decode(envelope.data)), replayed)
            case "ticker":
                records: list[Record] = []
                for ticker in _tickers.decode(envelope.data):
                    time = int(ticker.ts or envelope.ts or ticker.systemTime)
                    self._ticker(native_id, ticker, from_ms(time, "ts"), records)
                return records
            case "liquidation":
                return self._liquidations(_liquidations.decode(envelope.data), replayed)
        if kind.startswith("books"):
            return self._book(native_id, _books.decode(envelope.data), replayed)
        return [Unknown(kind)]

    def _answer(self, envelope: _Envelope, arg: _Arg | None) -> list[Record]:
        topics = () if arg is None else (_name(arg),)
        match envelope.event:
            case "subscribe":
                return [Subscribed(topics)]
            case "unsubscribe":
                return []
            case "error":
                return [Refused(f"{envelope.code}: {envelope.msg}", topics)]
        return [Unknown(envelope.event)]

    def _rest(self, envelope: _Envelope) -> list[Record]:
        start = bytes(envelope.data)[:2]
        if start == b"[{":
            found = _Tickers(_tickers.decode(envelope.data))
        elif start[:1] == b"{":
            found = _ticker_list.decode(envelope.data)
        else:
            found = _Tickers()
        records: list[Record] = []
        for row in found.rows:
            if row.symbol and (given(row.markPrice) or given(row.openInterest)):
                self._ticker(row.symbol, row, from_ms(int(row.ts or found.ts), "ts"), records)
        return records or [Unknown("REST answer")]

    def _trades(self, native_id: str, trades: Iterable[_Trade], replayed: bool) -> list[Record]:
        listing = self.listings.get(native_id)
        if listing is None:
            return [Unlisted(native_id)]
        records: list[Record] = []
        for trade in trades:
            price, quantity = trade.p / listing.units, trade.v * listing.contract
            aggressor = 1 if trade.S == "buy" else -1
            trade_id = one_id(trade.i)
            records.append(Trade(listing, trade.T * 1_000_000, price, quantity, aggressor, trade_id, -1, replayed))
        return records

    def _ticker(self, native_id: str, ticker: _Ticker, time_ns: int, records: list[Record]) -> None:
        listing = self.listed(native_id, records)
        if listing is None:
            return
        mark = not_negative(ticker.markPrice or "0", "markPrice")
        if mark:
            records.append(Mark(listing, time_ns, positive(mark, "markPrice") / listing.units))
        interest = next(filter(given, (ticker.openInterest, ticker.holdingAmount, ticker.holding)), None)
        if interest is not None and (mark or not listing.inverse):
            coins = not_negative(interest, "openInterest")
            quantity = not_negative(coins * mark, "openInterest") if listing.inverse else coins * listing.coin
            records.append(OpenInterest(listing, time_ns, quantity))

    def _liquidations(self, rows: Iterable[_Liquidation], replayed: bool) -> list[Record]:
        records: list[Record] = []
        for row in rows:
            listing = self.listed(row.symbol, records)
            if listing is not None:
                price = positive(row.price, "price") / listing.units
                value = positive(row.amount, "amount")
                quantity = value if listing.inverse else positive(value / price, "amount / price")
                side = choice(row.side, _POSITION, "side")
                records.append(Liquidation(listing, from_ms(row.ts, "ts"), price, quantity, side, replayed=replayed))
        return records

    def _book(self, native_id: str, books: Iterable[_Book], snapshot: bool) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        for book in books:
            sequence, previous = book.seq, book.pseq
            if not snapshot and previous == 0:
                return [Reset(f"the numbers of {native_id}'s book begin anew")]
            bids = levels(book.b or book.bids, listing.units, listing.contract)
            asks = levels(book.a or book.asks, listing.units, listing.contract)
            previous = -1 if snapshot else previous
            records.append(Book(listing, from_ms(book.ts, "ts"), bids, asks, snapshot, sequence, previous))
        return records


def _product(listing: Listing) -> str:
    return "coin-futures" if listing.inverse else f"{listing.instrument.quote.lower()}-futures"


def _name(arg: _Arg) -> str:
    return "/".join(part for part in (arg.instType, arg.topic or arg.channel, arg.symbol or arg.instId) if part)


def _renamed(row: _OldTrade | _OldestTrade) -> _Trade:
    if isinstance(row, _OldTrade):
        return _Trade(row.tradeId, row.price, row.size, row.side, row.ts)
    time, price, size, side = row
    return _Trade("", price, size, side, time)


def _request(op: str, topics: Sequence[str]) -> str:
    args = [dict(zip(("instType", "topic", "symbol"), topic.split("/"), strict=False)) for topic in topics]
    return msgspec.json.encode({"op": op, "args": args}).decode()


VENUE = Bitget
