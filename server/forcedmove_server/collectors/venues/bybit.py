"""Bybit v5 public streams (https://bybit-exchange.github.io/docs/v5/ws/connect).

``publicTrade``, ``allLiquidation`` and ``tickers`` of linear and inverse contracts, ``orderbook.50`` for depth. Linear
sizes are coins, inverse ones US dollars. Of ``allLiquidation``, ``S`` is the side of the *position*: Buy is a long; its
price is the bankruptcy price. ``openInterest`` counts both sides since 2026-06, ``singleOpenInterest`` one; ccxt reads
the former, and passes the side of a liquidation on as if it were that of an order, so both are read here.

The topics ``trade`` and ``liquidation``, retired with v2, are read too: recordings have them, and every field of theirs
has a certain meaning. ``instrument_info`` and ``orderBookL2`` of v2 come out as unknown.
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
    from_iso,
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
    Pong,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_POSITION = {"Buy": 0, "Sell": 1}
_DEPTH = 50
_STREAMED_TRADES = (b'{"topic":"publicTrade.', b'{"topic": "publicTrade.')
_LINEAR = re.compile(r"(?P<coin>[^\W_a-z]+?)(?P<quote>USDT(-\d{1,2}[A-Z]{3}\d\d)?|PERP|-\d{1,2}[A-Z]{3}\d\d)")
_INVERSE = re.compile(r"(?P<coin>[A-Z0-9]+)USD([FGHJKMNQUVXZ]\d\d)?")


#: 2026-06-11: documented to count both sides from here on
_TWO_SIDED_SINCE_NS = 1_781_136_000 * 10**9


class _Envelope(msgspec.Struct):
    topic: str = ""
    type: str = ""
    ts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    op: str = ""
    success: bool | None = None
    ret_msg: str | None = None
    req_id: Id | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    time: int = 0


class _Trade(msgspec.Struct):
    T: Milliseconds
    s: str
    S: Literal["Buy", "Sell"]
    v: Positive
    p: Positive
    i: Id


class _StreamedTrades(msgspec.Struct):
    data: list[_Trade]


class _Liquidation(msgspec.Struct):
    T: int
    s: str
    S: str
    v: Number
    p: Number
    i: Id = ""


class _OldTrade(msgspec.Struct):
    timestamp: str
    symbol: str
    side: Literal["Buy", "Sell"]
    size: Positive
    price: Positive
    trade_id: Id
    trade_time_ms: int | None = None  # since 2020


class _OldLiquidation(msgspec.Struct):
    symbol: str
    side: str
    price: Number
    size: Number | None = None
    qty: Number | None = None
    updatedTime: int | None = None
    time: int | None = None
    id: Id = ""


class _Ticker(msgspec.Struct):
    symbol: str
    markPrice: Number = ""
    openInterest: Number | None = None
    singleOpenInterest: Number | None = None


class _Book(msgspec.Struct):
    s: str
    b: list[tuple[Number, Number]]
    a: list[tuple[Number, Number]]
    u: int


class _Result(msgspec.Struct):
    """What a REST answer is of; spot and options share symbols and field names with futures."""

    category: str = ""
    symbol: str = ""
    rows: list[msgspec.Raw] = msgspec.field(name="list", default_factory=list)


class _Row(msgspec.Struct):
    """A ticker, a trade or a moment of open interest: which one it is, its fields say; a trade is an execution."""

    symbol: str = ""
    lastPrice: Number = ""
    markPrice: Number = ""
    openInterest: Number | None = None
    singleOpenInterest: Number | None = None
    timestamp: Number = ""
    execId: Id = ""


class _Execution(msgspec.Struct):
    time: Milliseconds
    symbol: str
    side: Literal["Buy", "Sell"]
    size: Positive
    price: Positive
    execId: Id


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_streamed_trades = msgspec.json.Decoder(_StreamedTrades, strict=False)
_liquidations = msgspec.json.Decoder(list[_Liquidation], strict=False)
_old_trades = msgspec.json.Decoder(list[_OldTrade], strict=False)
_old_liquidations = msgspec.json.Decoder(_OldLiquidation | list[_OldLiquidation], strict=False)
_ticker = msgspec.json.Decoder(_Ticker, strict=False)
_result = msgspec.json.Decoder(_Result, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_execution = msgspec.json.Decoder(_Execution, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)


def _stream(contract_type: ContractType) -> Stream:
    return Stream(
        str(contract_type),
        f"wss://stream.bybit.com/v5/public/{contract_type}",
        ALL_CHANNELS,
        contract_type,
        topics_per_connection=400,
        topics_per_message=10,
        messages_per_s=5.0,
        ping_s=20.0,
    )


class Bybit(Venue):
    """Linear (USDT, USDC) and inverse perpetuals."""

    name = "bybit"
    exchanges = ("bybit",)
    streams = (_stream(ContractType.LINEAR), _stream(ContractType.INVERSE))
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": ["linear", "inverse"]}}
    rest_weight_per_s = 20.0  # the limit is 600 calls in 5 s

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSDT``, ``BTCPERP`` (USDC) and their dated futures are linear, ``BTCUSD`` and ``BTCUSDZ26`` inverse."""
        if match := _LINEAR.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], "USDT" if match["quote"][:4] == "USDT" else "USDC")
        if match := _INVERSE.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], "USD", inverse=True)
        return None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Four topics a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"publicTrade.{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"tickers.{listing.native_id}", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"allLiquidation.{listing.native_id}", (Channel.LIQUIDATIONS,), ids)
            yield Topic(f"orderbook.{_DEPTH}.{listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "subscribe", "args": [...]}``."""
        return (_request("subscribe", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"op": "unsubscribe", "args": [...]}``."""
        return (_request("unsubscribe", topics, request_id),)

    def ping(self) -> str:
        """``{"op": "ping"}``."""
        return '{"op":"ping"}'

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /v5/market/tickers``."""
        url = f"https://api.bybit.com/v5/market/tickers?category={contract_type}"
        yield Poll(Channel.OPEN_INTEREST, url, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer: tickers, open interest, recent trades."""
        if message.startswith(_STREAMED_TRADES):  # in one step; any other way to write them is read below
            return self._trades(_streamed_trades.decode(message).data)
        envelope = _envelope.decode(message)
        kind = envelope.topic.partition(".")[0]
        match kind:
            case "publicTrade":
                return self._trades(_trades.decode(envelope.data))
            case "tickers":
                records: list[Record] = []
                self._ticker(_ticker.decode(envelope.data), from_ms(envelope.ts, "ts"), records)
                return records
            case "allLiquidation":
                return self._liquidations(_liquidations.decode(envelope.data))
            case "orderbook":
                return self._book(envelope)
            case "trade":
                return self._old_trades(envelope.data)
            case "liquidation":
                return self._old_liquidations(envelope.data)
            case "":
                return self._answer(envelope)
        return [Unknown(kind)]

    def _answer(self, envelope: _Envelope) -> list[Record]:
        request_id = request_number(envelope.req_id)
        if envelope.op == "pong" or envelope.ret_msg == "pong":
            return [Pong()]
        if envelope.op in ("subscribe", "unsubscribe"):
            if envelope.success:
                return [Subscribed(request_id=request_id)]
            return [Refused(envelope.ret_msg or "no reason given", request_id=request_id)]
        if bytes(envelope.result)[:1] == b"{":
            return self._rest(_result.decode(envelope.result), envelope.time)
        return [Unknown(envelope.op or "no topic")]

    def _rest(self, result: _Result, time: int) -> list[Record]:
        if result.category not in ("linear", "inverse") or not result.rows or bytes(result.rows[0])[:1] != b"{":
            return [Unknown(f"REST answer of category {result.category!r}")]
        records: list[Record] = []
        for content in reversed(result.rows):  # the newest comes first
            row = _row.decode(content)
            if given(row.execId):
                one = _execution.decode(content)
                records += self._trades([_Trade(one.time, one.symbol, one.side, one.size, one.price, one.execId)])
            elif row.timestamp and given(row.openInterest):
                ticker = _Ticker(result.symbol, "", row.openInterest, row.singleOpenInterest)
                self._ticker(ticker, from_ms(row.timestamp, "timestamp"), records)
            elif given(row.lastPrice):  # positions have a mark price too
                ticker = _Ticker(row.symbol, row.markPrice, row.openInterest, row.singleOpenInterest)
                self._ticker(ticker, from_ms(time), records)
        return records or [Unknown("REST answer")]

    def _trades(self, trades: Iterable[_Trade]) -> list[Record]:
        records: list[Record] = []
        for trade in trades:
            listing = self.listings.get(trade.s)
            if listing is None:
                records.append(Unlisted(trade.s))
                continue
            price, quantity = trade.p / listing.units, trade.v * listing.contract
            aggressor = 1 if trade.S == "Buy" else -1
            records.append(Trade(listing, trade.T * 1_000_000, price, quantity, aggressor, trade.i))
        return records

    def _old_trades(self, content: msgspec.Raw) -> list[Record]:
        return self._trades(
            _Trade(
                _old_time(row),
                row.symbol,
                row.side,
                row.size,
                row.price,
                row.trade_id,
            )
            for row in _old_trades.decode(content)
        )

    def _liquidations(self, liquidations: Iterable[_Liquidation]) -> list[Record]:
        records: list[Record] = []
        for row in liquidations:
            listing = self.listed(row.s, records)
            if listing is not None:
                records.append(
                    Liquidation(
                        listing,
                        from_ms(row.T, "T"),
                        positive(row.p, "p") / listing.units,
                        positive(row.v, "v") * listing.contract,
                        choice(row.S, _POSITION, "S"),
                        row.i,
                    )
                )
        return records

    def _old_liquidations(self, content: msgspec.Raw) -> list[Record]:
        found = _old_liquidations.decode(content)
        return self._liquidations(
            _Liquidation(
                row.updatedTime or row.time or 0, row.symbol, row.side, row.size or row.qty or 0, row.price, row.id
            )
            for row in (found if isinstance(found, list) else [found])
        )

    def _ticker(self, ticker: _Ticker, time_ns: int, records: list[Record]) -> None:
        """A delta has only what changed."""
        listing = self.listed(ticker.symbol, records)
        if listing is None:
            return
        if given(ticker.markPrice):
            records.append(Mark(listing, time_ns, positive(ticker.markPrice, "markPrice") / listing.units))
        # Whether messages older than the one-sided field counted one side is not established; since then a message
        # without it is a delta in which one side, being rounded, did not change.
        if given(ticker.singleOpenInterest):
            one_side = not_negative(ticker.singleOpenInterest, "singleOpenInterest")
        elif given(ticker.openInterest):
            sides = 2 if time_ns >= _TWO_SIDED_SINCE_NS else 1
            one_side = not_negative(ticker.openInterest, "openInterest") / sides
        else:
            return
        records.append(OpenInterest(listing, time_ns, one_side * listing.contract))

    def _book(self, envelope: _Envelope) -> list[Record]:
        book = _book.decode(envelope.data)
        records: list[Record] = []
        listing = self.listed(book.s, records)
        if listing is not None:
            snapshot = envelope.type == "snapshot" or book.u == 1  # 1: the service restarted
            records.append(
                Book(
                    listing,
                    from_ms(envelope.ts, "ts"),
                    levels(book.b, listing.units, listing.contract),
                    levels(book.a, listing.units, listing.contract),
                    snapshot,
                    book.u,
                    -1 if snapshot else book.u - 1,
                )
            )
        return records


def _old_time(row: _OldTrade) -> int:
    milliseconds = row.trade_time_ms or 0
    time_ns = from_ms(milliseconds, "trade_time_ms") if milliseconds else from_iso(row.timestamp, "timestamp")
    return time_ns // 1_000_000


def _request(op: str, topics: Sequence[str], request_id: int) -> str:
    return msgspec.json.encode({"op": op, "req_id": str(request_id), "args": list(topics)}).decode()


VENUE = Bybit
