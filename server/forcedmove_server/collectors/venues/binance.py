"""Binance USD-M and COIN-M futures (https://developers.binance.com/docs/derivatives): one venue of two systems.

``<symbol>@aggTrade``, mark prices once a second, ``forceOrder`` and ``@depth20``. Since 2026-03 the USD-M streams are
on two paths: ``/public`` has the books, ``/market`` the rest, and a stream asked for on the other path stays silent
without an error. Quantities are coins on USD-M and contracts on COIN-M (trades, liquidations, books and open interest).
``m`` says that the buyer was the maker, so that the taker sold. ``S`` of ``forceOrder`` is the side of the *order*:
SELL closes a long. It is sampled: at most one order a symbol and second. Read are ``z`` (all that was filled) and
``ap`` (the average fill); ccxt takes ``l``, the last fill alone. Open interest has no stream and one call a symbol.

Aggregate trades of a symbol are numbered without holes (``a``; in recorded sessions each is one more than the last).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

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
    positive,
    request_number,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import inverse_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_POSITION = {"SELL": 0, "BUY": 1}
#: executions that are no trade of two traders; of ``@trade`` only, they are never aggregated
_NO_TRADE = frozenset({"NA", "INSURANCE_FUND", "ADL"})
_LINEAR = re.compile(r"(?P<coin>[^\W_a-z]+?)(?P<quote>USDT|USDC|FDUSD)(_\d{6})?")
_INVERSE = re.compile(r"(?P<coin>[A-Z0-9]+)USD_(PERP|\d{6})")
_TOP = re.compile(r"depth\d+")
_STREAMED_TRADE = re.compile(rb'\{"stream": ?"[a-z0-9_]+@aggTrade"')


class _Envelope(msgspec.Struct):
    """A message of a combined stream, the event inside it, an answer to a request, or a REST answer."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str = ""
    id: Id | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    msg: str | None = None
    bids: msgspec.Raw = msgspec.Raw(b"")


class _AggregateTrade(msgspec.Struct):
    s: str
    p: Positive
    q: Positive
    T: Milliseconds
    m: bool
    a: int = -1
    e: str = ""


class _StreamedTrade(msgspec.Struct):
    data: _AggregateTrade


class _SingleTrade(msgspec.Struct):
    s: str
    p: Positive
    q: Positive
    T: Milliseconds
    m: bool
    t: int
    X: str | None = "MARKET"


class _Order(msgspec.Struct):
    s: str
    S: str
    ap: Number
    z: Number
    T: int


class _ForcedOrder(msgspec.Struct):
    o: _Order


class _BookUpdate(msgspec.Struct):
    s: str
    T: int
    u: int
    pu: int
    b: list[tuple[Number, Number]]
    a: list[tuple[Number, Number]]


class _BookAnswer(msgspec.Struct):
    lastUpdateId: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]
    symbol: str = ""
    T: int = 0


class _Row(msgspec.Struct):
    """A mark price of a stream (one-letter names) or what a REST answer says of one symbol."""

    e: str = ""
    E: int = 0
    s: str = ""
    p: Number = 0.0
    symbol: str = ""
    time: int = 0
    markPrice: Number = ""
    openInterest: Number = ""
    sumOpenInterest: Number = ""
    timestamp: int = 0


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_aggregate_trade = msgspec.json.Decoder(_AggregateTrade, strict=False)
_streamed_trade = msgspec.json.Decoder(_StreamedTrade, strict=False)
_single_trade = msgspec.json.Decoder(_SingleTrade, strict=False)
_forced_order = msgspec.json.Decoder(_ForcedOrder, strict=False)
_book_update = msgspec.json.Decoder(_BookUpdate, strict=False)
_book_answer = msgspec.json.Decoder(_BookAnswer, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_rows = msgspec.json.Decoder(list[_Row], strict=False)

_BOOKS = frozenset({Channel.DEPTH})
_EVENTS = frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.LIQUIDATIONS})


def stream_of(name: str, url: str, channels: frozenset[Channel], contract_type: ContractType) -> Stream:
    """Describe a connection: 200 topics, the venues' own pings are those of the websocket itself.

    Binance allows 1024 topics, Aster 200, both 10 messages a second. Mark prices come every second.
    """
    return Stream(
        name,
        url,
        channels,
        contract_type,
        topics_per_connection=200,
        topics_per_message=50,
        silence_s=60.0,
        channel_silence_s={Channel.MARK_PRICES: 20.0},
    )


class BinanceFutures(Venue):
    """The wire of Binance's futures, which others have adopted."""

    #: where USD-M and COIN-M answer REST calls
    rest: ClassVar[Mapping[ContractType, str]]
    #: USD-M's stream of all mark prices; COIN-M documents them by symbol only
    all_marks: ClassVar[str] = "!markPrice@arr@1s"
    #: whether aggregate trades are known to be numbered without holes
    numbered: ClassVar[bool] = False

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Trades and books by symbol; liquidations, and USD-M's mark prices, of all symbols at once."""
        if Channel.LIQUIDATIONS in stream.channels:
            yield Topic("!forceOrder@arr", (Channel.LIQUIDATIONS,))
        for_all = stream.contract_type is ContractType.LINEAR
        if Channel.MARK_PRICES in stream.channels and for_all:
            yield Topic(self.all_marks, (Channel.MARK_PRICES,))
        for listing in listings:
            name, ids = listing.native_id.lower(), (listing.native_id,)
            if Channel.TRADES in stream.channels:
                yield Topic(f"{name}@aggTrade", (Channel.TRADES,), ids)
            if Channel.MARK_PRICES in stream.channels and not for_all:
                yield Topic(f"{name}@markPrice@1s", (Channel.MARK_PRICES,), ids)
            if Channel.DEPTH in stream.channels:
                yield Topic(f"{name}@depth20@500ms", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "SUBSCRIBE", "params": [...], "id": 1}``; names that do not exist are accepted too."""
        return (_request("SUBSCRIBE", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "UNSUBSCRIBE", ...}``."""
        return (_request("UNSUBSCRIBE", topics, request_id),)

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """Open interest, a call a symbol, of weight 1."""
        for listing in listings:
            url = f"{self.rest[contract_type]}/openInterest?symbol={quote(listing.native_id)}"
            yield Poll(Channel.OPEN_INTEREST, url, (listing.native_id,), contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read an event with or without its stream's name, an answer to a request, or a REST answer."""
        if _STREAMED_TRADE.match(message):  # most messages: in one step, and as below if they are written otherwise
            trade = _streamed_trade.decode(message).data
            if trade.e == "aggTrade":
                return self._aggregate_trade(trade)
        if message[:1] == b"[":
            return self._rows(_rows.decode(message))
        envelope = _envelope.decode(message)
        stream = envelope.stream
        if stream:
            message = bytes(envelope.data)
            if message[:1] == b"[":
                return self._rows(_rows.decode(message))
            envelope = _envelope.decode(message)
        match envelope.e:
            case "aggTrade":
                return self._aggregate_trade(_aggregate_trade.decode(message))
            case "trade":
                return self._single_trade(_single_trade.decode(message))
            case "markPriceUpdate":
                return self._rows([_row.decode(message)])
            case "forceOrder":
                return self._forced_order(_forced_order.decode(message).o)
            case "depthUpdate" if stream:  # the event alone does not say whether it is a snapshot
                kind = stream.partition("@")[2].partition("@")[0]
                if kind == "depth" or _TOP.fullmatch(kind):
                    return self._book_update(_book_update.decode(message), snapshot=kind != "depth")
            case "":
                return self._answer(envelope, stream, message)
        return [Unknown(envelope.e)]

    def _answer(self, envelope: _Envelope, stream: str, message: bytes) -> list[Record]:
        request_id = request_number(envelope.id)
        if bytes(envelope.result) == b"null":
            return [Subscribed(request_id=request_id)]
        if bytes(envelope.error) or envelope.msg:
            reason = envelope.msg or bytes(envelope.error).decode(errors="replace")
            return [Refused(reason, request_id=request_id)]
        if bytes(envelope.bids):
            return self._book_answer(_book_answer.decode(message), stream)
        return self._rows([_row.decode(message)])

    def _aggregate_trade(self, trade: _AggregateTrade) -> list[Record]:
        return self._trade(trade, trade.a if trade.a >= 0 else "", trade.a if self.numbered else -1)

    def _single_trade(self, trade: _SingleTrade) -> list[Record]:
        return [] if trade.X in _NO_TRADE else self._trade(trade, trade.t, -1)

    def _trade(self, trade: _AggregateTrade | _SingleTrade, trade_id: int | str, sequence: int) -> list[Record]:
        listing = self.listings.get(trade.s)
        if listing is None:
            return [Unlisted(trade.s)]
        price, quantity = trade.p / listing.units, trade.q * listing.contract
        return [Trade(listing, trade.T * 1_000_000, price, quantity, -1 if trade.m else 1, trade_id, sequence)]

    def _forced_order(self, order: _Order) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(order.s, records)
        if listing is not None and not_negative(order.z, "z"):  # else nothing of it was filled
            records.append(
                Liquidation(
                    listing,
                    from_ms(order.T, "T"),
                    positive(order.ap, "ap") / listing.units,
                    positive(order.z, "z") * listing.contract,
                    choice(order.S, _POSITION, "S"),
                )
            )
        return records

    def _book_update(self, update: _BookUpdate, snapshot: bool) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(update.s, records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.contract) for side in (update.b, update.a))
            previous = -1 if snapshot else update.pu
            records.append(Book(listing, from_ms(update.T, "T"), bids, asks, snapshot, update.u, previous))
        return records

    def _book_answer(self, answer: _BookAnswer, stream: str) -> list[Record]:
        """USD-M's answer does not name its symbol; recorders put it in the name of a stream."""
        native_id = answer.symbol or stream.partition("@")[0].upper()
        if not native_id:
            return [Unknown("order book without a symbol")]
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.contract) for side in (answer.bids, answer.asks))
            time_ns = from_ms(answer.T, "T") if answer.T else 0
            records.append(Book(listing, time_ns, bids, asks, True, answer.lastUpdateId))
        return records

    def _rows(self, rows: Sequence[_Row]) -> list[Record]:
        records: list[Record] = []
        for row in rows:
            if row.e == "markPriceUpdate":
                self._mark(row.s, row.p, from_ms(row.E, "E"), records)
            elif row.e:
                return [Unknown(row.e)]
            elif given(row.markPrice) and row.time:  # positions have a mark price too, but no time
                self._mark(row.symbol, row.markPrice, from_ms(row.time), records)
            elif row.symbol and (given(row.openInterest) or given(row.sumOpenInterest)):
                listing = self.listed(row.symbol, records)
                if listing is not None:
                    open_now = row.openInterest if given(row.openInterest) else row.sumOpenInterest
                    quantity = not_negative(open_now, "openInterest")
                    time_ns = from_ms(row.time or row.timestamp)
                    records.append(OpenInterest(listing, time_ns, quantity * listing.contract))
        return records if records or (rows and rows[0].e) else [Unknown("REST answer")]

    def _mark(self, native_id: str, price: Number, time_ns: int, records: list[Record]) -> None:
        listing = self.listed(native_id, records)
        if listing is not None and not_negative(price, "mark price"):  # 0 before a market's first trade
            records.append(Mark(listing, time_ns, positive(price, "mark price") / listing.units))


class Binance(BinanceFutures):
    """USD-M (USDT, USDC) and COIN-M perpetuals."""

    name = "binance"
    exchanges = ("binanceusdm", "binancecoinm")
    streams = (
        stream_of("usdm-public", "wss://fstream.binance.com/public/stream", _BOOKS, ContractType.LINEAR),
        stream_of("usdm-market", "wss://fstream.binance.com/market/stream", _EVENTS, ContractType.LINEAR),
        stream_of("coinm", "wss://dstream.binance.com/stream", _BOOKS | _EVENTS, ContractType.INVERSE),
    )
    ccxt_options: ClassVar[Mapping[str, Any]] = {}  # each class asks for its own markets only
    rest: ClassVar[Mapping[ContractType, str]] = {
        ContractType.LINEAR: "https://fapi.binance.com/fapi/v1",
        ContractType.INVERSE: "https://dapi.binance.com/dapi/v1",
    }
    rest_weight_per_s = 20.0  # the limit is 2400 a minute, for each of the two
    connections_per_s = 0.9  # 300 in 5 minutes
    numbered = True

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSDT`` and ``BTCUSDT_261225`` are linear, ``BTCUSD_PERP`` and ``BTCUSD_261225`` inverse."""
        if match := _INVERSE.fullmatch(native_id):
            size = inverse_contract_size(match["coin"])
            return listing_of(cls.name, native_id, match["coin"], "USD", inverse=True, contract_size=size)
        if match := _LINEAR.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], match["quote"])
        return None


def _request(method: str, topics: Sequence[str], request_id: int) -> str:
    return msgspec.json.encode({"method": method, "params": list(topics), "id": request_id}).decode()


VENUE = Binance
