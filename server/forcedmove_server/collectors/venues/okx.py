"""OKX v5 public channels (https://www.okx.com/docs-v5/en/).

``trades``, ``mark-price``, ``open-interest`` and ``books`` of each swap, ``liquidation-orders`` of all of them. Sizes
are contracts: of ``ctVal`` coins on linear swaps, of ``ctVal`` US dollars on inverse ones; open interest comes in coins
too (``oiCcy``), which are used where ``ctVal`` is not known. ``trades`` adds up the fills
of one taker at one price and names the last of their ids, so that ids have holes by design; ``side`` is the taker's.

A liquidation says the side of the closing order and, where the account keeps both sides, ``posSide``; in net mode only
the order tells. Its price is the bankruptcy price, and the venue publishes a sample. ccxt keeps the first of
``details`` only. Instruments of the X-Perp kind (``BTC-USD_UM_XPERP-310404``) are not described: nothing seen here says
what their contract is. A connection may send 480 requests an hour, so that topics are asked for by the dozen.
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
    levels,
    model_quantity,
    not_negative,
    positive,
    request_number,
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
from forcedmove_server.market.contract_sizes import inverse_contract_size, linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

#: side of the position from its own word, or from the order that closed it
_POSITION = {"long": 0, "short": 1}
_CLOSED_BY = {"sell": 0, "buy": 1}
_ID = re.compile(r"(?P<coin>[A-Z0-9]+)-(?P<quote>USDT|USDC|USD)-(?:SWAP|\d{6})")
_NO_SUCH = re.compile(r"channel:([\w-]+),inst(?:Id|Type):(\S+) doesn")
_STREAMED_TRADES = (b'{"arg":{"channel":"trades","', b'{"arg": {"channel": "trades", "')
_SWAPS = "liquidation-orders:SWAP"


class _Arg(msgspec.Struct):
    channel: str = ""
    instId: str = ""
    instType: str = ""


class _Envelope(msgspec.Struct):
    arg: _Arg | None = None
    action: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")
    event: str = ""
    code: Id = ""
    msg: str = ""
    id: Id = ""
    table: str = ""


class _Trade(msgspec.Struct):
    instId: str
    tradeId: int
    px: Positive
    sz: Positive
    side: Literal["buy", "sell"]
    ts: Milliseconds


class _StreamedTrades(msgspec.Struct):
    data: list[_Trade] = []


class _Mark(msgspec.Struct):
    instId: str
    markPx: Number
    ts: int


class _Interest(msgspec.Struct):
    instId: str
    oi: Number
    ts: int
    oiCcy: Number | None = None


class _Detail(msgspec.Struct):
    side: str
    bkPx: Number
    sz: Number
    ts: int
    posSide: str | None = None


class _Liquidated(msgspec.Struct):
    instId: str
    details: list[_Detail]


class _Level(msgspec.Struct, array_like=True):
    price: Number
    size: Number


class _Book(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]
    ts: int
    seqId: int = -1
    prevSeqId: int = -1


class _Row(msgspec.Struct):
    """What tells one REST answer from another."""

    markPx: Number | None = None
    oi: Number | None = None
    tradeId: Id | None = None
    details: list[Any] | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_streamed_trades = msgspec.json.Decoder(_StreamedTrades, strict=False)
_marks = msgspec.json.Decoder(list[_Mark], strict=False)
_interest = msgspec.json.Decoder(list[_Interest], strict=False)
_liquidated = msgspec.json.Decoder(list[_Liquidated], strict=False)
_books = msgspec.json.Decoder(list[_Book], strict=False)
_rows = msgspec.json.Decoder(list[_Row | list[Any]], strict=False)


class Okx(Venue):
    """Linear (USDT, USDC) and inverse swaps."""

    name = "okx"
    exchanges = ("okx",)
    streams = (
        Stream(
            "public",
            "wss://ws.okx.com/ws/v5/public",  # port 443; the documentation also names 8443
            ALL_CHANNELS,
            topics_per_connection=400,
            topics_per_message=50,  # a request may have 64 KB
            messages_per_s=2.0,
            ping_s=20.0,  # the venue hangs up after 30 s of silence
        ),
    )
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": ["swap"]}}
    connections_per_s = 2.0  # the limit is 3

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-USDT-SWAP`` and ``BTC-USDC-SWAP`` are linear, ``BTC-USD-SWAP`` inverse, ``BTC-USDT-261225`` dated."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        coin, quote = match["coin"], match["quote"]
        if quote == "USD":
            size: float | None = inverse_contract_size(coin)
            return listing_of(cls.name, native_id, coin, quote, inverse=True, contract_size=size)
        size = linear_contract_size(cls.name, coin) if quote == "USDT" else None  # USDC contracts have other sizes
        return listing_of(cls.name, native_id, coin, quote, contract_size=size)

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Four topics a market, and one for the liquidations of all."""
        yield Topic(_SWAPS, (Channel.LIQUIDATIONS,))
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trades:{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"mark-price:{listing.native_id}", (Channel.MARK_PRICES,), ids)
            yield Topic(f"open-interest:{listing.native_id}", (Channel.OPEN_INTEREST,), ids)
            yield Topic(f"books:{listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "subscribe", "args": [{"channel": ..., "instId": ...}]}``."""
        return (_request("subscribe", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "unsubscribe", "args": [...]}``."""
        return (_request("unsubscribe", topics, request_id),)

    def ping(self) -> str:
        """The text ``ping``, which is not JSON."""
        return "ping"

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer whose rows name their instruments."""
        if message == b"pong":
            return [Pong()]
        if message.startswith(_STREAMED_TRADES) and (trades := _streamed_trades.decode(message).data):
            return self._trades(trades, False)  # in one step; any other way to write them is read below
        envelope = _envelope.decode(message)
        if envelope.event:
            return self._event(envelope)
        if envelope.arg is None:
            return self._answer(envelope)
        match envelope.arg.channel:
            case "trades" | "trades-all":
                return self._trades(_trades.decode(envelope.data), False)
            case "mark-price":
                return self._marks(envelope.data)
            case "open-interest":
                return self._open_interest(envelope.data)
            case "liquidation-orders":
                return self._liquidations(envelope.data)
            case "books" | "books5" | "books-l2-tbt" | "books50-l2-tbt":
                return self._book(envelope, envelope.arg.instId)
        return [Unknown(envelope.arg.channel)]

    def _event(self, envelope: _Envelope) -> list[Record]:
        topics = (_topic(envelope.arg),) if envelope.arg else ()
        match envelope.event:
            case "subscribe":
                return [Subscribed(topics)]
            case "unsubscribe":
                return []
            case "error":
                if named := _NO_SUCH.search(envelope.msg):
                    topics = (f"{named[1]}:{named[2]}",)
                request_id = request_number(envelope.id)
                reason = f"{envelope.code} {envelope.msg}".strip()
                return [Refused(reason, topics, -1 if topics else request_id)]
            case "notice":
                return [Reset(envelope.msg or str(envelope.code))]
        return [Unknown(envelope.event)]

    def _answer(self, envelope: _Envelope) -> list[Record]:
        """Read a REST answer; its rows are the same as those of the channels."""
        if envelope.table:
            return [Unknown(envelope.table)]
        rows = _rows.decode(envelope.data)
        first = rows[0] if rows else None
        if not isinstance(first, _Row):
            return [Unknown("answer")]
        if first.markPx is not None and first.tradeId is None:
            return self._marks(envelope.data)
        if first.oi is not None:
            return self._open_interest(envelope.data)
        if first.details is not None:
            return self._liquidations(envelope.data)
        if first.tradeId is not None and first.markPx is None:  # those of options have a mark too
            return self._trades(_trades.decode(envelope.data), True)
        return [Unknown("answer")]

    def _trades(self, trades: Iterable[_Trade], replayed: bool) -> list[Record]:
        records: list[Record] = []
        for trade in trades:
            listing = self.listings.get(trade.instId)
            if listing is None:
                records.append(Unlisted(trade.instId))
                continue
            price, quantity = trade.px / listing.units, trade.sz * listing.contract
            aggressor = 1 if trade.side == "buy" else -1
            records.append(
                Trade(listing, trade.ts * 1_000_000, price, quantity, aggressor, trade.tradeId, -1, replayed)
            )
        return records

    def _marks(self, content: msgspec.Raw) -> list[Record]:
        records: list[Record] = []
        for mark in _marks.decode(content):
            listing = self.listed(mark.instId, records)
            if listing is not None:
                price = positive(mark.markPx, "markPx") / listing.units
                records.append(Mark(listing, from_ms(mark.ts, "ts"), price))
        return records

    def _open_interest(self, content: msgspec.Raw) -> list[Record]:
        records: list[Record] = []
        for row in _interest.decode(content):
            listing = self.listed(row.instId, records)
            if listing is not None:
                quantity = model_quantity(listing, not_negative(row.oi, "oi"), row.oiCcy)
                records.append(OpenInterest(listing, from_ms(row.ts, "ts"), quantity))
        return records

    def _liquidations(self, content: msgspec.Raw) -> list[Record]:
        records: list[Record] = []
        for row in _liquidated.decode(content):
            listing = self.listed(row.instId, records)
            if listing is None:
                continue
            for one in row.details:
                side = _POSITION.get(one.posSide or "")
                records.append(
                    Liquidation(
                        listing,
                        from_ms(one.ts, "ts"),
                        positive(one.bkPx, "bkPx") / listing.units,
                        positive(one.sz, "sz") * listing.contract,
                        choice(one.side, _CLOSED_BY, "side") if side is None else side,
                    )
                )
        return records

    def _book(self, envelope: _Envelope, native_id: str) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        snapshot = envelope.action != "update"
        for book in _books.decode(envelope.data):
            # After maintenance numbers begin anew: the message says so by a number below the one it follows.
            renumbered = book.prevSeqId > book.seqId
            records.append(
                Book(
                    listing,
                    from_ms(book.ts, "ts"),
                    levels(((one.price, one.size) for one in book.bids), listing.units, listing.contract),
                    levels(((one.price, one.size) for one in book.asks), listing.units, listing.contract),
                    snapshot,
                    -1 if renumbered else book.seqId,
                    -1 if snapshot else book.prevSeqId,
                )
            )
        return records


def _topic(arg: _Arg) -> str:
    return f"{arg.channel}:{arg.instId or arg.instType}"


def _request(op: str, topics: Sequence[str], request_id: int) -> str:
    args = []
    for topic in topics:
        channel, _, name = topic.partition(":")
        args.append({"channel": channel, "instType" if topic == _SWAPS else "instId": name})
    return msgspec.json.encode({"id": str(request_id), "op": op, "args": args}).decode()


VENUE = Okx
