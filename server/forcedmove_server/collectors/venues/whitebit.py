"""WhiteBIT public websocket (https://docs.whitebit.com/websocket/market-streams/overview), ``_PERP`` markets.

``trades``, ``depth`` (a snapshot of 20 levels, then changes) and ``premiumIndex`` (mark of all markets twice a second);
open interest of all by one REST call, in coins (by magnitude: 46,533,000 ADA). Sizes are coins, times seconds with a
fraction, ``type`` is the taker's side. A ``trades_subscribe`` replaces the one before, so each names all markets of the
connection, and each is answered with up to 100 past trades a market; trade ids tell them apart. A change of a book
names the ``update_id`` that it follows; a quiet book is sent anew each 10 s. No liquidations are published.
ccxt still connects to api.whitebit.com, which ends on 2027-03-01, and looks for marks under names that are not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from forcedmove_server.collectors.fields import Id, Number, Positive, Seconds, from_s, levels, not_negative
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
    Unlisted,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_LEVELS = 20
_FUTURES = "https://whitebit.com/api/v4/public/futures"
_ID = re.compile(r"(?P<coin>[^_\s]+)_PERP")
_PUSHED_TRADES = re.compile(rb'\{"method": ?"trades_update", ?"params":')
#: requests that one batch of topics may need; the id of request k of batch n is n * 1000 + k
_REQUESTS = 1000


class _Envelope(msgspec.Struct):
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"[]")
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct, gc=False):
    id: int
    time: Seconds
    price: Positive
    amount: Positive
    type: Literal["buy", "sell"]


class _Trades(msgspec.Struct, array_like=True, gc=False):
    market: str
    trades: list[_Trade]


class _PushedTrades(msgspec.Struct, gc=False):
    params: _Trades


class _Book(msgspec.Struct):
    update_id: int
    past_update_id: int = -1
    timestamp: Number = 0
    event_time: Number = 0
    bids: list[tuple[Number, Number]] = []
    asks: list[tuple[Number, Number]] = []


class _Status(msgspec.Struct):
    status: str = ""


class _Error(msgspec.Struct):
    code: Id = 0
    message: str = ""


class _Futures(msgspec.Struct):
    """A row of the list of futures; ``mark_price`` is empty while there is none."""

    ticker_id: str = ""
    open_interest: Number | None = None
    mark_price: Number = ""


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_params = msgspec.json.Decoder(list[msgspec.Raw])
_name = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool)
_trades = msgspec.json.Decoder(_Trades, strict=False)
_pushed_trades = msgspec.json.Decoder(_PushedTrades, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_premium = msgspec.json.Decoder(list[Number | None], strict=False)
_status = msgspec.json.Decoder(_Status, strict=False)
_error = msgspec.json.Decoder(_Error, strict=False)
_futures = msgspec.json.Decoder(list[_Futures], strict=False)


class WhiteBit(Venue):
    """USDT perpetuals."""

    name = "whitebit"
    exchanges = ("whitebit",)
    streams = (
        Stream(
            "public",
            "wss://wss.whitebit.com/ws",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.DEPTH}),
            ContractType.LINEAR,
            topics_per_connection=400,  # no limit, but 200 markets are what the documentation speaks of
            topics_per_message=100,
            messages_per_s=20.0,  # the limit is 12,000 in 10 s
            ping_s=20.0,  # a connection that sends nothing for 60 s is closed
            silence_s=45.0,
        ),
    )
    rest_weight_per_s = 20.0  # the limit is 2000 in 10 s

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Remembers which trades were asked for, since each request has to name all, and what each request was for."""
        super().__init__(listings)
        self._traded: dict[str, None] = {}
        self._awaiting: set[str] = set()
        self._asked: dict[int, tuple[str, ...]] = {}

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC_PERP``; everything else is spot."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USDT") if match else None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """One topic for the marks of all, two a market; trades first, so that few requests name them."""
        yield Topic("premiumIndex", (Channel.MARK_PRICES,))
        for listing in listings:
            yield Topic(f"trades {listing.native_id}", (Channel.TRADES,), (listing.native_id,))
        for listing in listings:
            yield Topic(f"depth {listing.native_id}", (Channel.DEPTH,), (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One request for trades, that names all markets so far; one for each book; ``true`` keeps the other books."""
        requests: list[str] = []
        traded = [topic for topic in topics if topic.startswith("trades ")]
        if traded:
            self._traded |= dict.fromkeys(topic.partition(" ")[2] for topic in traded)
            requests.append(self._ask(request_id, 0, traded, "trades_subscribe", list(self._traded)))
            self._awaiting |= set(self._traded)
        for topic in topics:
            channel, _, native_id = topic.partition(" ")
            if channel != "trades":
                params = [native_id, _LEVELS, "0", True] if native_id else []
                requests.append(self._ask(request_id, len(requests), [topic], f"{channel}_subscribe", params))
        return requests

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Trades of the markets that stay are asked for again. No message ends a single book."""
        left = [topic.partition(" ")[2] for topic in topics if topic.startswith("trades ")]
        for native_id in left:
            self._traded.pop(native_id, None)
            self._awaiting.discard(native_id)
        requests = []
        if left:
            self._awaiting |= set(self._traded)
            method = "trades_subscribe" if self._traded else "trades_unsubscribe"
            requests.append(self._ask(request_id, 0, (), method, list(self._traded)))
        if "premiumIndex" in topics:
            requests.append(self._ask(request_id, len(requests), (), "premiumIndex_unsubscribe", []))
        return requests

    def ping(self) -> str:
        """``{"id": 0, "method": "ping", "params": []}``."""
        return '{"id":0,"method":"ping","params":[]}'

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """All markets in one call."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, _FUTURES, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or the REST list of futures."""
        if _PUSHED_TRADES.match(message):  # most messages: in one step, and as below if they are written otherwise
            return self._trades(_pushed_trades.decode(message).params)
        envelope = _envelope.decode(message)
        match envelope.method:
            case "trades_update":
                return self._trades(_trades.decode(envelope.params))
            case "depth_update":
                return self._book(envelope.params)
            case "premiumIndex_update":
                return self._marks(envelope.params)
            case "":
                return self._answer(envelope)
        return [Unknown(envelope.method)]

    def _answer(self, envelope: _Envelope) -> list[Record]:
        result = bytes(envelope.result)
        if result[:1] == b"[" and envelope.id is None:
            return self._futures(envelope.result)
        if result == b'"pong"':
            return [Pong()]
        number = -1 if envelope.id is None else envelope.id
        topics = self._asked.pop(number, ())
        request_id = -1 if number < 0 else number // _REQUESTS
        if bytes(envelope.error) != b"null":
            error = _error.decode(envelope.error)
            return [Refused(f"{error.code}: {error.message}", topics, request_id)]
        if result[:1] == b"{" and _status.decode(result).status == "success":
            return [Subscribed(topics, request_id)]
        return [Unknown("no method")]

    def _trades(self, pushed: _Trades) -> list[Record]:
        """The first of a market after a request is of the past, newest first."""
        listing = self.listings.get(pushed.market)
        if listing is None:
            return [Unlisted(pushed.market)]
        awaited = pushed.market in self._awaiting
        if awaited:
            self._awaiting.discard(pushed.market)
        records: list[Record] = []
        for trade in reversed(pushed.trades):
            time_ns = round(trade.time * 1e6) * 1_000
            price, quantity = trade.price / listing.units, trade.amount * listing.coin
            aggressor = 1 if trade.type == "buy" else -1
            records.append(Trade(listing, time_ns, price, quantity, aggressor, trade.id, replayed=awaited))
        return records

    def _book(self, content: msgspec.Raw) -> list[Record]:
        params = _fields(content, 3)
        snapshot, book = _flag.decode(params[0]), _book.decode(params[1])
        records: list[Record] = []
        listing = self.listed(_name.decode(params[2]), records)
        if listing is not None:
            at = from_s(book.event_time or book.timestamp, "event_time")
            bids, asks = (levels(side, listing.units, listing.coin) for side in (book.bids, book.asks))
            previous = -1 if snapshot else book.past_update_id
            records.append(Book(listing, at, bids, asks, snapshot, book.update_id, previous))
        return records

    def _marks(self, content: msgspec.Raw) -> list[Record]:
        """Rows of market, mark, index, funding rate, time of the next funding in ms, and time of sending in seconds."""
        records: list[Record] = []
        for row in _fields(content, 0):
            values = _premium.decode(row)
            if len(values) < 3:
                raise ValueError(f"params: a row of {len(values)} values is too short")
            listing = self.listed(str(values[0]), records)
            mark = not_negative(values[1] or 0, "mark")
            if listing is not None and mark:
                sent = values[5] if len(values) > 5 else None
                records.append(Mark(listing, from_s(sent, "time") if sent else 0, mark / listing.units))
        return records

    def _futures(self, content: msgspec.Raw) -> list[Record]:
        records: list[Record] = []
        for row in _futures.decode(content):
            if not row.ticker_id:
                return [Unknown("REST answer")]
            listing = self.listed(row.ticker_id, records)
            if listing is None:
                continue
            mark = not_negative(row.mark_price or 0, "mark_price")
            if mark:
                records.append(Mark(listing, 0, mark / listing.units))
            if row.open_interest is not None:
                records.append(
                    OpenInterest(listing, 0, not_negative(row.open_interest, "open_interest") * listing.coin)
                )
        return records

    def _ask(self, request_id: int, number: int, topics: Sequence[str], method: str, params: list[Any]) -> str:
        own_id = request_id * _REQUESTS + number
        if topics:
            self._asked[own_id] = tuple(topics)
        return msgspec.json.encode({"id": own_id, "method": method, "params": params}).decode()


def _fields(content: msgspec.Raw, least: int) -> list[msgspec.Raw]:
    params = _params.decode(content)
    if len(params) < least:
        raise ValueError(f"params: {len(params)} of at least {least} are there")
    return params


VENUE = WhiteBit
