"""HTX (Huobi) swaps (https://www.htx.com/en-us/opend/newApiPages/).

Three kinds of connections: ``linear-swap-ws`` and ``swap-ws`` for ``trade.detail`` and ``depth.step6`` (20 levels, not
merged), ``*-notification`` for ``public.*.liquidation_orders``, ``ws_index`` for candles of the mark price, whose close
is the mark. Open interest is polled, all markets in one call. Every frame is gzip. Amounts and volumes are contracts:
``contract_size`` coins on linear swaps, US dollars on inverse ones.

**Trades and open interest count both sides, and are halved here**; ccxt halves neither. The documentation says "Sum of
both buy and sell sides" of ``amount`` in ``trade.detail``, and of ``volume`` and ``amount`` in ``swap_open_interest``.
All 18 trades recorded between 2020 and 2023 have an even ``amount``, and their ``quantity`` and ``trade_turnover`` are
of the same doubled amount. Recorded open interest is even in 2022 and 2026 (BTC-USDT 32,476,092); that of BTC-USD in
June 2020 is odd (1,711,705) and can be no such sum, so that older open interest may be one side. Sizes of liquidations
(227, 231 and 479 are recorded) and of book levels are of one side.

Messages state coins beside contracts (``quantity`` of trades, ``amount`` of liquidations and of open interest); they
are used for linear contracts whose size is not known.

``direction`` is the taker's; recorded trades with an empty one are left out. Of a liquidation it is the side of the
closing order, and its price is the bankruptcy price. A subscription begins with the last trade, however old (39 minutes
in one of the recordings), as it was sent then and before the subscription is confirmed: it is replayed.
"""

from __future__ import annotations

import math
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
    one_id,
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
    Reply,
    Reset,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import inverse_contract_size, linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_CLOSED_BY = {"sell": 0, "buy": 1}
_BOTH_SIDES = 2.0
_ID = re.compile(r"(?P<coin>[A-Z0-9]+)-USDT(?:-\d{6})?|(?P<inverse>[A-Z0-9]+?)(?:-USD|\d{6})")
_CHANNEL = re.compile(r"market\.([A-Za-z0-9_-]+)\.(.+)")
_TRADED = re.compile(r"market\.([A-Za-z0-9_-]+)\.trade\.detail")
_STREAMED_TRADES = re.compile(rb'\{"ch": ?"market\.([A-Za-z0-9_-]+)\.trade\.detail"')
_LIQUIDATED = "public.*.liquidation_orders"
_ALREADY = 2014  # subscribed before
_HOST = "api.hbdm.com"
_NOTHING = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    ch: str = ""
    op: str = ""
    topic: str = ""
    ts: Number = 0
    tick: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    ping: Id | None = None
    id: Id | None = None
    subbed: str | None = None
    unsubbed: str | None = None
    status: str = ""
    code: int = 0
    err_code: Id = msgspec.field(default=0, name="err-code")
    err_msg: str | None = msgspec.field(default=None, name="err-msg")


class _Trade(msgspec.Struct, gc=False):
    amount: Positive
    ts: Milliseconds
    id: int
    price: Positive
    direction: Literal["buy", "sell", ""]
    quantity: Number | None = None  # in coins, since 2021


class _Trades(msgspec.Struct, gc=False):
    data: list[_Trade]


class _StreamedTrades(msgspec.Struct, gc=False):
    tick: _Trades | None = None


class _Candle(msgspec.Struct):
    close: Number


class _Level(msgspec.Struct, array_like=True):
    price: Number
    size: Number


class _Book(msgspec.Struct):
    ts: int
    version: int = -1
    event: str = ""
    bids: list[_Level] | None = None
    asks: list[_Level] | None = None


class _Row(msgspec.Struct):
    """A row of open interest, or a liquidation: that has a direction."""

    contract_code: str = ""
    volume: Number | None = None
    direction: str | None = None
    price: Number = 0
    created_at: Number = 0
    query_id: Id = ""
    amount: Number | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(_Trades, strict=False)
_streamed_trades = msgspec.json.Decoder(_StreamedTrades, strict=False)
_candle = msgspec.json.Decoder(_Candle, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_rows = msgspec.json.Decoder(_Row | list[_Row], strict=False)


def _stream(name: str, path: str, channels: set[Channel], contract_type: ContractType | None) -> Stream:
    return Stream(
        name,
        f"wss://{_HOST}/{path}",
        frozenset(channels),
        contract_type,
        topics_per_connection=200,  # the venue names no limit
        topics_per_message=20,
        messages_per_s=4.0,
        silence_s=30.0,  # the venue sends a ping every 5 s
    )


class Htx(Venue):
    """USDT-margined and coin-margined swaps."""

    name = "htx"
    exchanges = ("htx",)
    streams = (
        _stream("linear", "linear-swap-ws", {Channel.TRADES, Channel.DEPTH}, ContractType.LINEAR),
        _stream("inverse", "swap-ws", {Channel.TRADES, Channel.DEPTH}, ContractType.INVERSE),
        _stream("linear liquidations", "linear-swap-notification", {Channel.LIQUIDATIONS}, ContractType.LINEAR),
        _stream("inverse liquidations", "swap-notification", {Channel.LIQUIDATIONS}, ContractType.INVERSE),
        _stream("marks", "ws_index", {Channel.MARK_PRICES}, None),
    )
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": {"spot": False}}}
    rest_weight_per_s = 5.0  # the limit is 800 calls a second

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Remembers which subscriptions to trades have brought none yet."""
        super().__init__(listings)
        #: by native id, before when their first one is of the past: once confirmed, before that; until then, always
        self._past_ns: dict[str, float] = {}

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-USDT`` and ``BTC-USDT-261225`` are linear, ``BTC-USD`` and ``BTC261225`` inverse."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        if coin := match["inverse"]:
            return listing_of(cls.name, native_id, coin, "USD", inverse=True, contract_size=inverse_contract_size(coin))
        size = linear_contract_size(cls.name, match["coin"])
        return listing_of(cls.name, native_id, match["coin"], "USDT", contract_size=size)

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """ccxt has lower-case ids."""
        return str(market.get("baseId") or market["base"]).upper()

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """One topic for all liquidations; three topics a market on the other streams."""
        if Channel.LIQUIDATIONS in stream.channels:
            yield Topic(_LIQUIDATED, (Channel.LIQUIDATIONS,))
            return
        for listing in listings:
            ids = (listing.native_id,)
            if Channel.MARK_PRICES in stream.channels:
                yield Topic(f"market.{listing.native_id}.mark_price.1min", (Channel.MARK_PRICES,), ids)
            else:
                yield Topic(f"market.{listing.native_id}.trade.detail", (Channel.TRADES,), ids)
                yield Topic(f"market.{listing.native_id}.depth.step6", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One message per topic, of a form of its own on the notification streams."""
        self._past_ns.update((match[1], math.inf) for topic in topics if (match := _TRADED.fullmatch(topic)))
        return [_request("sub", topic, request_id) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """As for subscriptions."""
        return [_request("unsub", topic, request_id) for topic in topics]

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """Open interest of all markets of a type."""
        path = "swap-api" if contract_type is ContractType.INVERSE else "linear-swap-api"
        url = f"https://{_HOST}/{path}/v1/swap_open_interest"
        yield Poll(Channel.OPEN_INTEREST, url, contract_type=contract_type, interval_s=3.0)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, a ping, an answer to a request, or a REST answer that names its contracts."""
        named = _STREAMED_TRADES.match(message)
        if named and (listing := self.listings.get(named[1].decode())):  # in one step; any other way is read below
            tick = _streamed_trades.decode(message).tick
            if tick is not None:
                return self._traded(listing, tick)
        envelope = _envelope.decode(message)
        if match := _CHANNEL.fullmatch(envelope.ch):
            return self._push(match[1], match[2], envelope)
        if envelope.ping is not None:
            return [_reply({"pong": envelope.ping})]
        if envelope.op:
            return self._operation(envelope)
        if envelope.subbed:
            traded = _TRADED.fullmatch(envelope.subbed)
            if traded and traded[1] in self._past_ns:
                self._past_ns[traded[1]] = from_ms(envelope.ts, "ts") if envelope.ts else 0.0
            return [Subscribed((envelope.subbed,))]
        if envelope.unsubbed:
            return []
        if envelope.status == "error":
            return [Refused(_reason(envelope), request_id=request_number(envelope.id))]
        if envelope.data != _NOTHING and (envelope.status == "ok" or envelope.code == 200):
            return self._answer(envelope)
        return [Unknown(envelope.ch or "no channel")]

    def _push(self, native_id: str, kind: str, envelope: _Envelope) -> list[Record]:
        records: list[Record] = []
        if envelope.tick == _NOTHING or not kind.startswith(("trade.detail", "depth.", "mark_price.")):
            return [Unknown(kind)]
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        if kind.startswith("mark_price."):
            price = positive(_candle.decode(envelope.tick).close, "close") / listing.units
            return [Mark(listing, from_ms(envelope.ts, "ts"), price)]
        if kind.startswith("depth."):
            return [_depth(listing, envelope.tick)]
        return self._traded(listing, _trades.decode(envelope.tick))

    def _traded(self, listing: Listing, trades: _Trades) -> list[Record]:
        records: list[Record] = []
        contract = listing.contract / _BOTH_SIDES
        sized = not math.isnan(contract)
        past_ns = self._past_ns.pop(listing.native_id, 0.0)
        for trade in trades.data:
            if trade.direction:
                time_ns, price, amount = trade.ts * 1_000_000, trade.price / listing.units, trade.amount
                quantity = amount * contract if sized else model_quantity(listing, amount, trade.quantity) / _BOTH_SIDES
                aggressor = 1 if trade.direction == "buy" else -1
                records.append(Trade(listing, time_ns, price, quantity, aggressor, trade.id, -1, time_ns < past_ns))
        return records

    def _operation(self, envelope: _Envelope) -> list[Record]:
        match envelope.op:
            case "ping":
                return [_reply({"op": "pong", "ts": envelope.ts})]  # the time is text here, and goes back as it came
            case "notify" if envelope.topic.endswith(".liquidation_orders"):
                return self._liquidations(_found(envelope.data), False)
            case "notify":
                return [Unknown(envelope.topic.rpartition(".")[2])]
            case "sub":
                if one_id(envelope.err_code) in (0, _ALREADY):
                    return [Subscribed((envelope.topic,))]
                return [Refused(_reason(envelope), (envelope.topic,))]
            case "unsub":  # its topic may have been asked for again: nothing is said of that
                return [Refused(_reason(envelope))] if one_id(envelope.err_code) else []
            case "close" | "error":
                return [Reset(_reason(envelope) if one_id(envelope.err_code) else envelope.op)]
        return [Unknown(envelope.op)]

    def _answer(self, envelope: _Envelope) -> list[Record]:
        """Read a list of open interest or of liquidations."""
        rows = _found(envelope.data)
        if rows and rows[0].direction is not None:
            return self._liquidations(rows, True)
        records: list[Record] = []
        for row in rows:
            if row.volume is None:
                return [Unknown("answer")]
            listing = self.listed(row.contract_code, records)
            if listing is not None:
                both = model_quantity(listing, not_negative(row.volume, "volume"), row.amount)
                records.append(OpenInterest(listing, from_ms(envelope.ts, "ts"), both / _BOTH_SIDES))
        return records

    def _liquidations(self, rows: Sequence[_Row], replayed: bool) -> list[Record]:
        records: list[Record] = []
        for row in rows:
            listing = self.listed(row.contract_code, records)
            if listing is not None:
                records.append(
                    Liquidation(
                        listing,
                        from_ms(row.created_at, "created_at"),
                        positive(row.price, "price") / listing.units,
                        model_quantity(listing, positive(row.volume or 0, "volume"), row.amount),
                        choice(row.direction or "", _CLOSED_BY, "direction"),
                        one_id(row.query_id),
                        replayed,
                    )
                )
        return records


def _depth(listing: Listing, content: msgspec.Raw) -> Book:
    book = _book.decode(content)
    changes = book.event == "update"  # of the topics for faster books, whose versions count by one
    return Book(
        listing,
        from_ms(book.ts, "ts"),
        levels(((one.price, one.size) for one in book.bids or ()), listing.units, listing.contract),
        levels(((one.price, one.size) for one in book.asks or ()), listing.units, listing.contract),
        not changes,
        book.version,
        book.version - 1 if changes else -1,
    )


def _found(content: msgspec.Raw) -> list[_Row]:
    rows = _rows.decode(content)
    return rows if isinstance(rows, list) else [rows]


def _reason(envelope: _Envelope) -> str:
    return f"{envelope.err_code} {envelope.err_msg or ''}".strip()


def _reply(content: Mapping[str, Any]) -> Reply:
    return Reply(msgspec.json.encode(content).decode())


def _request(op: str, topic: str, request_id: int) -> str:
    if topic.startswith("public."):
        return msgspec.json.encode({"op": op, "cid": str(request_id), "topic": topic}).decode()
    return msgspec.json.encode({op: topic, "id": str(request_id)}).decode()


VENUE = Htx
