"""KuCoin Futures, classic public streams (https://www.kucoin.com/docs-new/3470084w0 and its neighbours).

``/contractMarket/execution`` (trades), ``/contract/instrument`` (mark, each second), ``/contractMarket/level2Depth50``
(whole books when they change); open interest of all markets by one REST call. A connection needs a ticket. Sizes are
contracts: of ``multiplier`` base coins, on inverse markets of one US dollar (there the multiplier is printed as -1).
``side`` is the taker's. Trades and REST books have nanoseconds, everything else milliseconds. A trade's ``sequence``
grows but skips, as the documentation says, so it finds no holes. Bitcoin is XBT. No liquidations are published.
ccxt's ``watchOrderBook`` keeps level 2 changes over a REST snapshot; whole books of 50 levels need no such care.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Nanoseconds,
    Number,
    Positive,
    choice,
    from_ms,
    from_ns,
    levels,
    not_negative,
    one_id,
    positive,
    request_number,
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
    Unlisted,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.contract_sizes import linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.market.underlyings import underlying

_SIDES = {"buy": 1, "sell": -1}
_TRADES, _INSTRUMENT, _BOOK = "/contractMarket/execution", "/contract/instrument", "/contractMarket/level2Depth50"
_OPEN_INTEREST = "https://api.kucoin.com/api/ua/v1/market/open-interest"
_CONTRACTS = "https://api-futures.kucoin.com/api/v1/contracts/active"
_LINEAR = re.compile(r"(?P<coin>[A-Za-z0-9]+?)(?P<quote>USDT|USDC)M")
_INVERSE = re.compile(r"(?P<coin>[A-Za-z0-9]+?)(USDM|M[FGHJKMNQUVXZ]\d\d)")
_PUSHED_TRADE = re.compile(rb'\{"topic": ?"/contractMarket/execution:\w+", ?"type": ?"message", ?"subject": ?"match",')


class _Envelope(msgspec.Struct):
    type: str = ""
    topic: str = ""
    subject: str = ""
    id: Number | None = None
    code: Id | None = None
    msg: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: Literal["buy", "sell"]
    size: Positive
    price: Positive
    tradeId: Id
    ts: Nanoseconds


class _PushedTrade(msgspec.Struct, gc=False):
    data: _Trade


class _Mark(msgspec.Struct):
    markPrice: Number
    timestamp: int


class _Book(msgspec.Struct):
    sequence: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]
    ts: int


class _Change(msgspec.Struct):
    sequence: int
    change: str
    timestamp: int


class _Contract(msgspec.Struct):
    """A row of REST lists: open interest has a time, an instrument has a mark, a book has neither."""

    symbol: str = ""
    openInterest: Number | None = None
    markPrice: Number | None = None
    ts: int = 0
    bids: msgspec.Raw = msgspec.Raw(b"null")


class _Server(msgspec.Struct):
    endpoint: str


class _Ticket(msgspec.Struct):
    token: str
    instanceServers: list[_Server]


class _TicketAnswer(msgspec.Struct):
    data: _Ticket


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trade = msgspec.json.Decoder(_Trade, strict=False)
_pushed_trade = msgspec.json.Decoder(_PushedTrade, strict=False)
_mark = msgspec.json.Decoder(_Mark, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_change = msgspec.json.Decoder(_Change, strict=False)
_contract = msgspec.json.Decoder(_Contract, strict=False)
_contracts = msgspec.json.Decoder(list[_Contract], strict=False)
_ticket = msgspec.json.Decoder(_TicketAnswer)
_refusal = msgspec.json.Decoder(str)


class KucoinFutures(Venue):
    """Linear (USDT, USDC) and inverse perpetuals."""

    name = "kucoinfutures"
    exchanges = ("kucoinfutures",)
    streams = (
        Stream(
            "public",
            "wss://ws-api-futures.kucoin.com/",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.DEPTH}),
            topics_per_connection=300,
            topics_per_message=50,  # the limit is 100 symbols a message
            messages_per_s=5.0,  # the limit is 100 in 10 s
            ping_s=15.0,  # tickets say pingInterval 18000
            silence_s=40.0,
            ticket="https://api-futures.kucoin.com/api/v1/bullet-public",
        ),
    )
    ccxt_options: ClassVar[Mapping[str, Any]] = {"fetchMarkets": {"types": ["swap"], "fetchTickersFees": False}}
    rest_weight_per_s = 20.0  # the limit is 2000 in 30 s
    connections_per_s = 0.5  # the limit is 30 a minute

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``XBTUSDTM`` and ``XBTUSDCM`` are linear, ``XBTUSDM`` and the dated ``XBTMH26`` inverse."""
        if match := _LINEAR.fullmatch(native_id):
            base, units = underlying(match["coin"])
            size = linear_contract_size(cls.name, base)
            coins = size / units if size else None
            return listing_of(cls.name, native_id, match["coin"], match["quote"], contract_size=coins)
        if match := _INVERSE.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], "USD", inverse=True)
        return None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market, ordered by kind: a request names one kind and many markets."""
        kinds: tuple[tuple[str, Channel], ...] = (
            (_TRADES, Channel.TRADES),
            (_INSTRUMENT, Channel.MARK_PRICES),
            (_BOOK, Channel.DEPTH),
        )
        for kind, channel in kinds:
            for listing in listings:
                yield Topic(f"{kind}:{listing.native_id}", (channel,), (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One message for each kind of topic, with ``response`` so that it is acknowledged."""
        return _requests("subscribe", topics, request_id)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """As :meth:`subscribe`."""
        return _requests("unsubscribe", topics, request_id)

    def ping(self) -> str:
        """``{"id": "ping", "type": "ping"}``."""
        return '{"id":"ping","type":"ping"}'

    def connect_to(self, stream: Stream, ticket: bytes) -> str:
        """``instanceServers[0].endpoint`` with the ticket's token."""
        try:
            answer = _ticket.decode(ticket).data
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise MalformedMessage(self.name, ticket[:200], str(error)) from error
        if not answer.instanceServers or not answer.instanceServers[0].endpoint.startswith(("wss://", "ws://")):
            raise MalformedMessage(self.name, ticket[:200], "instanceServers: names no websocket endpoint")
        return f"{answer.instanceServers[0].endpoint}?{urlencode({'token': answer.token})}"

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """The same call, of all markets, whether they are linear or inverse."""
        yield Poll(Channel.OPEN_INTEREST, _OPEN_INTEREST, weight=20.0)

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """The list of contracts has marks too, but is a megabyte."""
        yield Poll(Channel.OPEN_INTEREST, _CONTRACTS, weight=3.0)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or a REST answer."""
        if _PUSHED_TRADE.match(message):  # most messages: in one step, and as below if they are written otherwise
            return self._trade(_pushed_trade.decode(message).data)
        envelope = _envelope.decode(message)
        kind, _, native_id = envelope.topic.partition(":")
        match envelope.subject:
            case "match":
                return self._trade(_trade.decode(envelope.data))
            case "mark.index.price":
                records: list[Record] = []
                mark = _mark.decode(envelope.data)
                listing = self.listed(native_id, records)
                if listing is not None:
                    at = from_ms(mark.timestamp, "timestamp")
                    records.append(Mark(listing, at, positive(mark.markPrice, "markPrice") / listing.units))
                return records
            case "level2" if kind == "/contractMarket/level2":
                return self._change(native_id, _change.decode(envelope.data))
            case "level2":
                book = _book.decode(envelope.data)
                return self._book(native_id, book, from_ms(book.ts, "ts"))
            case "funding.rate":
                return []  # comes with the mark
            case "":
                return self._answer(envelope)
        return self._rest(envelope.data, envelope.subject)  # REST answers that recorders wrapped as messages

    def _answer(self, envelope: _Envelope) -> list[Record]:
        request_id = request_number(str(envelope.id).partition(".")[0])
        match envelope.type:
            case "welcome":
                return []
            case "ack":
                return [Subscribed(request_id=request_id)]
            case "pong":
                return [Pong()]
            case "error":
                return [Refused(f"{envelope.code}: {_refusal.decode(envelope.data)}", request_id=request_id)]
            case "" if envelope.code is not None:
                if str(envelope.code) != "200000":
                    return [Refused(f"{envelope.code}: {envelope.msg}")]
                return self._rest(envelope.data, "REST answer")
        return [Unknown(envelope.type or "no topic")]

    def _trade(self, trade: _Trade) -> list[Record]:
        listing = self.listings.get(trade.symbol)
        if listing is None:
            return [Unlisted(trade.symbol)]
        price, quantity = trade.price / listing.units, trade.size * listing.contract
        trade_id = one_id(trade.tradeId)
        return [Trade(listing, trade.ts, price, quantity, 1 if trade.side == "buy" else -1, trade_id)]

    def _book(self, native_id: str, book: _Book, time_ns: int) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.contract) for side in (book.bids, book.asks))
            records.append(Book(listing, time_ns, bids, asks, True, book.sequence))
        return records

    def _change(self, native_id: str, change: _Change) -> list[Record]:
        """``change`` is price, side and what is left at that price; the sequence has no holes."""
        records: list[Record] = []
        fields = change.change.split(",")
        if len(fields) != 3:
            raise ValueError(f"change = {change.change!r}: must be a price, a side and a size")
        listing = self.listed(native_id, records)
        if listing is not None:
            side = levels([(fields[0], fields[2])], listing.units, listing.contract)
            bought = choice(fields[1], _SIDES, "change") > 0
            bids, asks = (side, ()) if bought else ((), side)
            at = from_ms(change.timestamp, "timestamp")
            records.append(Book(listing, at, bids, asks, False, change.sequence, change.sequence - 1))
        return records

    def _rest(self, content: msgspec.Raw, kind: str) -> list[Record]:
        """Open interest of all markets, a list of contracts, one contract, or a book."""
        rows = _contracts.decode(content) if bytes(content)[:1] == b"[" else [_contract.decode(content)]
        records: list[Record] = []
        for row in rows:
            if not row.symbol:
                return [Unknown(kind)]
            if bytes(row.bids) != b"null":
                book = _book.decode(content)
                return self._book(row.symbol, book, from_ns(book.ts, "ts"))
            if row.openInterest is None and row.markPrice is None:
                continue
            listing = self.listed(row.symbol, records)
            if listing is None:
                continue
            at = from_ms(row.ts, "ts") if row.ts else 0
            mark = not_negative(row.markPrice or 0, "markPrice")
            if mark:
                records.append(Mark(listing, at, mark / listing.units))
            if row.openInterest is not None:
                contracts = not_negative(row.openInterest, "openInterest")
                records.append(OpenInterest(listing, at, contracts * listing.contract))
        return records or [Unknown(kind)]


def _requests(kind: str, topics: Sequence[str], request_id: int) -> tuple[str, ...]:
    """Requests by kind of topic; ids are ``7.0``, ``7.1``, ... of request 7."""
    grouped: dict[str, list[str]] = {}
    for topic in topics:
        channel, _, native_id = topic.partition(":")
        grouped.setdefault(channel, []).append(native_id)
    return tuple(
        msgspec.json.encode(
            {
                "id": f"{request_id}.{number}",
                "type": kind,
                "topic": f"{channel}:{','.join(ids)}",
                "response": True,
            }
        ).decode()
        for number, (channel, ids) in enumerate(grouped.items())
    )


VENUE = KucoinFutures
