"""Gate futures: websocket v4 and REST (https://www.gate.com/docs/developers/futures/ws/en/, .../apiv4/en/).

``futures.trades``, ``futures.tickers`` (mark and open interest) and ``futures.order_book`` (whole books of 20 levels)
of each contract; the list ``liq_orders`` is polled, for all contracts at once. Sizes are contracts: of
``quanto_multiplier`` coins where USDT is the margin, of one US dollar for BTC_USD. On the websocket they are decimal
text, because the connection asks for that with a header; without it fractions are cut off. A trade's sign is the
taker's side. Trades marked ``is_internal`` are left out: positions taken over by the insurance fund or by deleveraging,
at prices that no book had.

In ``liq_orders`` the sign of ``size`` is that of the whole *position*, the sign of ``order_size`` that of the order
which closed a step of it; older lists have the former only. ccxt calls a positive size a purchase. The topic
``futures.public_liquidates`` is not used: it tells one liquidation a second and contract, and nothing says whether its
``size`` is the position or the order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Number,
    from_ms,
    from_s,
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
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_ID = re.compile(r"(?P<coin>[A-Z0-9]+)_USDT(?:_\d{8})?|(?P<inverse>BTC)_USD(?:_\d{8})?")
_BOOK = "futures.order_book"
_LEVELS = "20"
#: rows of a list of liquidations: more than usually happen between two calls, less than a market's memory of ids holds
_LIQUIDATIONS = 250
_BEGINNING_OF_MS = 1e11  # REST answers have seconds in create_time_ms


class _Error(msgspec.Struct):
    code: Id = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    channel: str = ""
    event: str = ""
    time: Number = 0
    time_ms: int = 0
    id: Id | None = None
    error: _Error | None = None
    payload: list[Id] | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct):
    contract: str
    id: int
    price: Number
    size: Number
    create_time: Number | None = None
    create_time_ms: Number | None = None
    is_internal: bool = False


class _Ticker(msgspec.Struct):
    contract: str
    mark_price: Number = ""
    total_size: Number | None = None


class _Liquidated(msgspec.Struct):
    contract: str
    size: Number
    fill_price: Number
    order_price: Number
    time: int
    order_size: Number | None = None


class _Level(msgspec.Struct):
    p: Number
    s: Number


class _Whole(msgspec.Struct):
    contract: str
    bids: list[_Level]
    asks: list[_Level]
    t: int = 0
    id: int = -1


class _Change(msgspec.Struct):
    s: str
    t: int
    U: int
    u: int
    b: list[_Level]
    a: list[_Level]


class _Row(msgspec.Struct):
    """What tells one REST list from another."""

    contract: str | None = None
    total_size: Number | None = None
    order_price: Number | None = None
    create_time: Number | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_tickers = msgspec.json.Decoder(_Ticker | list[_Ticker | list[_Ticker]], strict=False)
_liquidated = msgspec.json.Decoder(list[_Liquidated], strict=False)
_whole = msgspec.json.Decoder(_Whole, strict=False)
_change = msgspec.json.Decoder(_Change, strict=False)
_rows = msgspec.json.Decoder(list[_Row | list[Any]], strict=False)


def _stream(contract_type: ContractType, settle: str) -> Stream:
    return Stream(
        str(contract_type),
        f"wss://fx-ws.gateio.ws/v4/ws/{settle}",
        frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH}),
        contract_type,
        topics_per_connection=400,  # the venue names no limit
        topics_per_message=20,
        messages_per_s=5.0,
        ping_s=10.0,
        headers={"X-Gate-Size-Decimal": "1"},
    )


class Gate(Venue):
    """USDT perpetuals, and BTC_USD."""

    name = "gate"
    exchanges = ("gate",)
    streams = (_stream(ContractType.LINEAR, "usdt"), _stream(ContractType.INVERSE, "btc"))
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": ["swap"]}}

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC_USDT`` is linear, ``BTC_USD`` inverse; others in USD were quanto contracts. Dated ones end in a day."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        if match["inverse"]:
            return listing_of(cls.name, native_id, "BTC", "USD", inverse=True)
        return listing_of(
            cls.name, native_id, match["coin"], "USDT", contract_size=linear_contract_size(cls.name, match["coin"])
        )

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Leave out what is neither settled in its quote nor in its base."""
        if market.get("inverse") and market.get("base") != market.get("settle"):
            return None
        return super().adopt(market)

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market, by channel, so that a request is for few channels."""
        for channel, feeds in (
            ("futures.trades", (Channel.TRADES,)),
            ("futures.tickers", (Channel.MARK_PRICES, Channel.OPEN_INTEREST)),
            (_BOOK, (Channel.DEPTH,)),
        ):
            for listing in listings:
                yield Topic(f"{channel}:{listing.native_id}", feeds, (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One message per channel, and one per book."""
        return _requests("subscribe", topics, request_id)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """As for subscriptions."""
        return _requests("unsubscribe", topics, request_id)

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """The latest liquidations of all contracts; 200 calls in 10 s are allowed."""
        settle = "btc" if contract_type is ContractType.INVERSE else "usdt"
        url = f"https://api.gateio.ws/api/v4/futures/{settle}/liq_orders?limit={_LIQUIDATIONS}"
        yield Poll(Channel.LIQUIDATIONS, url, contract_type=contract_type, interval_s=4.0, page=_LIQUIDATIONS)

    def ping(self) -> str:
        """``{"channel": "futures.ping"}`` with a time."""
        return f'{{"time":{int(time.time())},"channel":"futures.ping"}}'

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST list whose rows name their contracts."""
        if message.lstrip()[:1] == b"[":
            return self._list(message)
        envelope = _envelope.decode(message)
        if envelope.event in ("subscribe", "unsubscribe"):
            return _answer(envelope)
        match envelope.channel, envelope.event:
            case "futures.trades", "update":
                return self._trades(_trades.decode(envelope.result), False)
            case "futures.tickers", "update":
                return self._tickers(envelope.result, _time(envelope))
            case "futures.order_book", "all":
                return self._whole(envelope)
            case "futures.order_book_update", "update":
                return self._change(envelope)
            case "futures.pong", _:
                return [Pong()]
        if envelope.error is not None:
            return [Refused(f"{envelope.error.code} {envelope.error.message}".strip())]
        return [Unknown(f"{envelope.channel} {envelope.event}".strip() or "no channel")]

    def _list(self, message: bytes) -> list[Record]:
        rows = _rows.decode(message)
        if not rows:
            return []
        first = rows[0]
        if isinstance(first, _Row) and first.contract is not None:
            if first.total_size is not None:
                return self._tickers(message, 0)
            if first.order_price is not None:
                return self._liquidations(message)
            if first.create_time is not None:
                return self._trades(_trades.decode(message), True)
        return [Unknown("list")]

    def _trades(self, trades: Sequence[_Trade], replayed: bool) -> list[Record]:
        records: list[Record] = []
        for trade in trades:
            listing = self.listed(trade.contract, records)
            if listing is None or trade.is_internal:
                continue
            size = float(trade.size)
            when = trade.create_time_ms or trade.create_time or 0
            records.append(
                Trade(
                    listing,
                    from_ms(when, "create_time") if float(when) > _BEGINNING_OF_MS else from_s(when, "create_time"),
                    positive(trade.price, "price") / listing.units,
                    positive(abs(size), "size") * listing.contract,
                    1 if size > 0 else -1,
                    trade.id,
                    replayed=replayed,
                )
            )
        return records

    def _tickers(self, content: bytes | msgspec.Raw, time_ns: int) -> list[Record]:
        """Tickers have come as a list, as a list in a list, and as one object."""
        found = _tickers.decode(content)
        records: list[Record] = []
        for one in found if isinstance(found, list) else [found]:
            for ticker in one if isinstance(one, list) else [one]:
                listing = self.listed(ticker.contract, records)
                if listing is None:
                    continue
                mark = not_negative(ticker.mark_price or 0, "mark_price")
                if mark:
                    records.append(Mark(listing, time_ns, mark / listing.units))
                if given(ticker.total_size):
                    quantity = not_negative(ticker.total_size, "total_size") * listing.contract
                    records.append(OpenInterest(listing, time_ns, quantity))
        return records

    def _liquidations(self, content: bytes) -> list[Record]:
        """The list begins with the latest; it is the past, of which what happened since the start is new."""
        records: list[Record] = []
        for row in reversed(_liquidated.decode(content)):
            listing = self.listed(row.contract, records)
            if listing is None:
                continue
            order, position = float(row.order_size or 0), float(row.size)
            price = not_negative(row.fill_price, "fill_price") or positive(row.order_price, "order_price")
            records.append(
                Liquidation(
                    listing,
                    from_s(row.time),
                    price / listing.units,
                    positive(abs(order or position), "size") * listing.contract,
                    int(order > 0 if order else position < 0),
                    f"{row.time} {order or -position} {float(row.fill_price):.15g} {float(row.order_price):.15g}",
                    replayed=True,
                )
            )
        return records

    def _whole(self, envelope: _Envelope) -> list[Record]:
        book = _whole.decode(envelope.result)
        time_ns = from_ms(book.t, "t") if book.t else _time(envelope)  # a book without orders has no time
        return self._book(book.contract, time_ns, book.bids, book.asks, -1 if book.id <= 0 else book.id, None)

    def _change(self, envelope: _Envelope) -> list[Record]:
        change = _change.decode(envelope.result)
        return self._book(change.s, from_ms(change.t, "t"), change.b, change.a, change.u, change.U - 1)

    def _book(
        self, native_id: str, time_ns: int, bids: list[_Level], asks: list[_Level], sequence: int, previous: int | None
    ) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            records.append(
                Book(
                    listing,
                    time_ns,
                    levels(((one.p, one.s) for one in bids), listing.units, listing.contract),
                    levels(((one.p, one.s) for one in asks), listing.units, listing.contract),
                    previous is None,
                    sequence,
                    -1 if previous is None else previous,
                )
            )
        return records


def _time(envelope: _Envelope) -> int:
    return from_ms(envelope.time_ms, "time_ms") if envelope.time_ms else from_s(envelope.time)


def _answer(envelope: _Envelope) -> list[Record]:
    """Newer answers repeat what was asked for; older ones have no more than the id.

    The end of a subscription confirms and refuses no topic: it may have been asked for again.
    """
    begins = envelope.event == "subscribe"
    asked = envelope.payload or [] if begins else []
    topics = tuple(f"{envelope.channel}:{name}" for name in (asked[:1] if envelope.channel == _BOOK else asked))
    request_id = -1 if topics else request_number(envelope.id)
    if envelope.error is None:
        return [Subscribed(topics, request_id)] if begins else []
    return [Refused(f"{envelope.error.code} {envelope.error.message}".strip(), topics, request_id)]


def _requests(event: str, topics: Sequence[str], request_id: int) -> list[str]:
    wanted: dict[tuple[str, str], list[str]] = {}
    for topic in topics:
        channel, _, name = topic.partition(":")
        if channel == _BOOK:
            wanted[channel, name] = [name, _LEVELS, "0"]
        else:
            wanted.setdefault((channel, ""), []).append(name)
    now_s = int(time.time())
    return [
        msgspec.json.encode(
            {"id": request_id, "time": now_s, "channel": channel, "event": event, "payload": payload}
        ).decode()
        for (channel, _), payload in wanted.items()
    ]


VENUE = Gate
