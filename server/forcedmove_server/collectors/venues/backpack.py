"""Backpack's public streams (https://docs.backpack.exchange/#tag/Streams).

``trade``, ``markPrice`` and ``openInterest`` (every minute) of each perpetual, ``liquidation`` of all markets. Sizes
and open interest are coins, which ccxt files as a value; times are microseconds, as numbers or as text; ``m`` says that
the buyer was the maker. Trades are numbered one after the other in each market, those of liquidations included.

Of a liquidation the documentation says ``S``: Bid or Ask, the words for the side of an order everywhere in this API, so
that a Bid closes a short; no recorded message confirms it. The venue does not answer a subscription, and the first push
of a stream counts as the answer; a refusal has the number of its request. Depth streams begin with no snapshot: books
are polled. The venue pings with frames of the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Microseconds,
    Number,
    Positive,
    choice,
    from_ms,
    from_us,
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
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_CLOSED_BY = {"Ask": 0, "Bid": 1}
_ID = re.compile(r"(?P<coin>[A-Za-z0-9]+)_USDC_PERP")
_PUSHED_TRADE = re.compile(rb'\{("data": ?\{[^{}]*\}, ?)?"stream": ?"trade\.')
_REST = "https://api.backpack.exchange/api/v1"
_LEVELS = 50
_DEPTH_INTERVAL_S = 10.0
#: a time above this is in microseconds: in milliseconds it is the year 5138
_MICROSECONDS = 10**14


class _Fault(msgspec.Struct):
    code: Id = 0
    message: str = ""


class _Envelope(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    id: Id | None = None
    error: _Fault | None = None
    result: msgspec.Raw = msgspec.Raw(b"")


class _Trade(msgspec.Struct, gc=False):
    s: str
    p: Positive
    q: Positive
    t: int
    T: Microseconds
    m: bool


class _PushedTrade(msgspec.Struct, gc=False):
    stream: str
    data: _Trade


class _Liquidation(msgspec.Struct):
    s: str
    p: Number
    q: Number
    S: str
    E: int


class _Mark(msgspec.Struct):
    s: str
    p: Number
    E: int


class _Interest(msgspec.Struct):
    s: str
    o: Number
    E: int


class _Row(msgspec.Struct):
    """What a REST answer says of one market; a mark has no time."""

    symbol: str = ""
    openInterest: Number | None = None
    markPrice: Number | None = None
    timestamp: int = 0


class _Depth(msgspec.Struct):
    asks: list[tuple[Number, Number]]
    bids: list[tuple[Number, Number]]
    timestamp: int = 0


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trade = msgspec.json.Decoder(_Trade, strict=False)
_pushed_trade = msgspec.json.Decoder(_PushedTrade, strict=False)
_liquidation = msgspec.json.Decoder(_Liquidation, strict=False)
_mark = msgspec.json.Decoder(_Mark, strict=False)
_interest = msgspec.json.Decoder(_Interest, strict=False)
_rows = msgspec.json.Decoder(list[_Row], strict=False)
_depth = msgspec.json.Decoder(_Depth, strict=False)


class Backpack(Venue):
    """USDC-margined perpetuals."""

    name = "backpack"
    exchanges = ("backpack",)
    streams = (
        Stream(
            "public",
            "wss://ws.backpack.exchange",
            frozenset(Channel) - {Channel.DEPTH},
            topics_per_connection=200,  # nothing is documented
        ),
    )
    rest_weight_per_s = 5.0  # nothing is documented; ccxt makes 20 calls a second

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Streams that were heard on this connection are remembered."""
        super().__init__(listings)
        self._heard: set[str] = set()

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC_USDC_PERP``, ``kPEPE_USDC_PERP``."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USDC") if match else None

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Take perpetuals of coins: those of shares have a dot in their name."""
        return super().adopt(market) if _ID.fullmatch(cls.native_id_of(market)) else None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three streams a market, and one of all markets' liquidations."""
        yield Topic("liquidation", (Channel.LIQUIDATIONS,))
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trade.{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"markPrice.{listing.native_id}", (Channel.MARK_PRICES,), ids)
            yield Topic(f"openInterest.{listing.native_id}", (Channel.OPEN_INTEREST,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "SUBSCRIBE", "params": [...]}``."""
        return (_request("SUBSCRIBE", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "UNSUBSCRIBE", "params": [...]}``."""
        self._heard.difference_update(topics)
        return (_request("UNSUBSCRIBE", topics, request_id),)

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """Books, one market a call."""
        for listing in listings:
            url = f"{_REST}/depth?symbol={listing.native_id}&limit={_LEVELS}"
            yield Poll(Channel.DEPTH, url, (listing.native_id,), contract_type, interval_s=_DEPTH_INTERVAL_S)

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /api/v1/openInterest`` and ``/api/v1/markPrices``, each of all markets."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, f"{_REST}/openInterest")
            yield Poll(Channel.MARK_PRICES, f"{_REST}/markPrices")

    def read(self, message: bytes) -> list[Record]:
        """Read a push, a refusal, or a REST answer: open interest, mark prices."""
        if _PUSHED_TRADE.match(message):  # most messages: in one step, and as below if they are written otherwise
            pushed = _pushed_trade.decode(message)
            return self._heard_on(pushed.stream, self._trade(pushed.data))
        if message[:1] == b"[":
            return self._states(_rows.decode(message))
        envelope = _envelope.decode(message)
        request_id = request_number(envelope.id)
        if envelope.error is not None:
            return [Refused(envelope.error.message or f"code {envelope.error.code}", request_id=request_id)]
        if not envelope.stream:
            return [Subscribed(request_id=request_id)] if bytes(envelope.result) else [Unknown("no stream")]
        records: list[Record] = []
        kind = envelope.stream.partition(".")[0]
        match kind:
            case "trade":
                records = self._trade(_trade.decode(envelope.data))
            case "markPrice":
                mark = _mark.decode(envelope.data)
                listing = self.listed(mark.s, records)
                if listing is not None and not_negative(mark.p, "p"):
                    records.append(Mark(listing, from_us(mark.E, "E"), positive(mark.p, "p") / listing.units))
            case "openInterest":
                interest = _interest.decode(envelope.data)
                listing = self.listed(interest.s, records)
                if listing is not None:
                    quantity = not_negative(interest.o, "o") * listing.coin
                    records.append(OpenInterest(listing, from_us(interest.E, "E"), quantity))
            case "liquidation":
                self._liquidation(_liquidation.decode(envelope.data), records)
            case _:
                return [Unknown(kind)]
        return self._heard_on(envelope.stream, records)

    def read_answer(self, poll: Poll, answer: bytes) -> list[Record]:
        """Read a book, which does not say of which market it is, or what names its markets."""
        if poll.channel is not Channel.DEPTH:
            return self.read(answer)
        depth = _depth.decode(answer)
        records: list[Record] = []
        listing = self.listed(poll.native_ids[0], records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.coin) for side in (depth.bids, depth.asks))
            records.append(Book(listing, _time_ns(depth.timestamp), bids, asks, True))
        return records

    def _heard_on(self, stream: str, records: list[Record]) -> list[Record]:
        if stream not in self._heard:
            self._heard.add(stream)
            records.append(Subscribed((stream,)))
        return records

    def _trade(self, trade: _Trade) -> list[Record]:
        listing = self.listings.get(trade.s)
        if listing is None:
            return [Unlisted(trade.s)]
        price, quantity, number = trade.p / listing.units, trade.q * listing.coin, trade.t
        return [
            Trade(
                listing, trade.T * 1_000, price, quantity, -1 if trade.m else 1, number, number if number >= 0 else -1
            )
        ]

    def _liquidation(self, row: _Liquidation, records: list[Record]) -> None:
        listing = self.listed(row.s, records)
        if listing is not None:
            price, quantity = positive(row.p, "p") / listing.units, positive(row.q, "q") * listing.coin
            side = choice(row.S, _CLOSED_BY, "S")
            same = f"{row.E} {price:.15g} {quantity:.15g}"  # there is no id
            records.append(Liquidation(listing, from_us(row.E, "E"), price, quantity, side, same))

    def _states(self, rows: Iterable[_Row]) -> list[Record]:
        records: list[Record] = []
        for row in rows:
            if row.openInterest is None and row.markPrice is None:
                continue
            listing = self.listed(row.symbol, records)
            if listing is None:
                continue
            if row.markPrice is not None and not_negative(row.markPrice, "markPrice"):
                records.append(Mark(listing, 0, positive(row.markPrice, "markPrice") / listing.units))
            if row.openInterest is not None:
                quantity = not_negative(row.openInterest, "openInterest") * listing.coin
                records.append(OpenInterest(listing, _time_ns(row.timestamp), quantity))
        return records or [Unknown("REST answer")]


def _request(method: str, topics: Sequence[str], request_id: int) -> str:
    return msgspec.json.encode({"method": method, "params": list(topics), "id": request_id}).decode()


def _time_ns(timestamp: int) -> int:
    if not timestamp:
        return 0
    return from_us(timestamp, "timestamp") if timestamp > _MICROSECONDS else from_ms(timestamp, "timestamp")


VENUE = Backpack
