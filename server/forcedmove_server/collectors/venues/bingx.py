"""BingX perpetual swaps, public websocket (https://bingx-api.github.io/docs-v3/, Swap, Websocket Market Data).

``@trade``, ``@markPrice`` (each second) and ``@depth20@500ms`` (whole books) of USDT and USDC contracts; open interest
by a REST call for each market, in USDT (3.3e9 of BTC-USDT in 2022 is more than there are bitcoins). Every frame is
gzip; the venue's ping is the text ``Ping``. Sizes are coins. ``m`` says that the buyer was the maker, so the taker
sold. Trades have no id, so that what they say is their id; none are repeated on a subscription. No liquidations are
published. ccxt asks for books of 100 levels, and takes contracts of status 25 for active: those are paused, have no
mark, and the venue refuses their topics. Coin-margined contracts (``BTC-USD``) can be read but are not collected: they
number 20, on a host of their own, and their open interest is told in coins, which is no quantity of theirs without a
price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import (
    ContentIds,
    Id,
    Milliseconds,
    Number,
    Positive,
    from_ms,
    levels,
    not_negative,
    positive,
    request_number,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterestValue,
    Record,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import inverse_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_DEPTH = "depth20@500ms"
_OPEN_INTEREST = "https://open-api.bingx.com/openApi/swap/v2/quote/openInterest?symbol="
_STREAMED_TRADES = re.compile(rb'\{"code": ?0, ?"dataType": ?"[^"@]+@trade", ?"data": ?\[')
_PAUSED = "25"
_ID = re.compile(r"(?P<coin>[^-\s]+)-(?P<quote>USDT|USDC|USD)")


class _Envelope(msgspec.Struct):
    code: Id = 0
    id: Id | None = None
    msg: str | None = None
    dataType: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    ts: int = 0


class _Trade(msgspec.Struct):
    q: Positive
    p: Positive
    T: Milliseconds
    m: bool
    s: str


class _StreamedTrades(msgspec.Struct):
    data: list[_Trade]


class _Mark(msgspec.Struct):
    s: str
    p: Number
    E: int


class _Book(msgspec.Struct):
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class _Row(msgspec.Struct):
    """A row of REST answers; what it is of, its fields say."""

    symbol: str = ""
    openInterest: Number | None = None
    markPrice: Number | None = None
    time: int = 0


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_trade = msgspec.json.Decoder(_Trade, strict=False)
_streamed_trades = msgspec.json.Decoder(_StreamedTrades, strict=False)
_mark = msgspec.json.Decoder(_Mark, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_rows = msgspec.json.Decoder(list[_Row], strict=False)


class BingX(Venue):
    """USDT and USDC perpetuals."""

    name = "bingx"
    exchanges = ("bingx",)
    streams = (
        Stream(
            "swap",
            "wss://open-api-swap.bingx.com/swap-market",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.DEPTH}),
            ContractType.LINEAR,
            topics_per_connection=198,  # the limit is 200
            topics_per_message=1,
            messages_per_s=8.0,  # fewer than 10 are asked for
            silence_s=20.0,  # the venue pings every 5 s
        ),
    )
    rest_weight_per_s = 20.0  # the limit is 500 in 10 s

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-USDT``, ``BTC-USDC`` are linear, ``BTC-USD`` inverse; spot has the same ids."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        inverse = match["quote"] == "USD"
        size = inverse_contract_size(match["coin"]) if inverse else 1.0
        return listing_of(cls.name, native_id, match["coin"], match["quote"], inverse=inverse, contract_size=size)

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Leave out what is coin-margined or paused."""
        paused = str((market.get("info") or {}).get("status")) == _PAUSED
        return None if market.get("inverse") or paused else super().adopt(market)

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"{listing.native_id}@trade", (Channel.TRADES,), ids)
            yield Topic(f"{listing.native_id}@markPrice", (Channel.MARK_PRICES,), ids)
            yield Topic(f"{listing.native_id}@{_DEPTH}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"id": "7", "reqType": "sub", "dataType": "BTC-USDT@trade"}``; a message asks for one topic."""
        return [_request("sub", topic, request_id) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """As :meth:`subscribe`, with ``unsub``."""
        return [_request("unsub", topic, request_id) for topic in topics]

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """One call a market."""
        if contract_type is ContractType.LINEAR:
            for listing in listings:
                url = f"{_OPEN_INTEREST}{listing.native_id}"
                yield Poll(Channel.OPEN_INTEREST, url, (listing.native_id,), contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a ping, a push, an answer to a request, or a REST answer."""
        if message == b"Ping":
            return [Reply("Pong")]
        if _STREAMED_TRADES.match(message):  # in one step; any other way to write them is read below
            return self._trades(_streamed_trades.decode(message).data)
        envelope = _envelope.decode(message)
        if str(envelope.code) != "0":
            return [Refused(f"{envelope.code}: {envelope.msg}", request_id=request_number(envelope.id))]
        native_id, _, channel = envelope.dataType.partition("@")
        match channel.partition("@")[0].rstrip("0123456789"):
            case "trade":
                single = bytes(envelope.data)[:1] == b"{"
                return self._trades([_trade.decode(envelope.data)] if single else _trades.decode(envelope.data))
            case "markPrice":
                return self._mark(_mark.decode(envelope.data))
            case "depth" if envelope.ts:
                return self._book(native_id, _book.decode(envelope.data), from_ms(envelope.ts, "ts"))
            case "" if envelope.id is not None:
                return [Subscribed(request_id=request_number(envelope.id))]
            case "" if bytes(envelope.data)[:1] in b"{[" and not envelope.dataType:
                return self._rest(envelope.data)
        return [Unknown(channel or "no dataType")]

    def _trades(self, trades: Sequence[_Trade]) -> list[Record]:
        records: list[Record] = []
        ids = ContentIds()
        for trade in trades:
            listing = self.listings.get(trade.s)
            if listing is None:
                records.append(Unlisted(trade.s))
                continue
            price, quantity = trade.p / listing.units, trade.q * listing.contract
            time_ns, aggressor = trade.T * 1_000_000, -1 if trade.m else 1
            trade_id = ids.of(time_ns, price, quantity, aggressor)
            records.append(Trade(listing, time_ns, price, quantity, aggressor, trade_id))
        return records

    def _mark(self, mark: _Mark) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(mark.s, records)
        if listing is not None:
            records.append(Mark(listing, from_ms(mark.E, "E"), positive(mark.p, "p") / listing.units))
        return records

    def _book(self, native_id: str, book: _Book, time_ns: int) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.contract) for side in (book.bids, book.asks))
            records.append(Book(listing, time_ns, bids, asks, True))
        return records

    def _rest(self, content: msgspec.Raw) -> list[Record]:
        """Open interest of a market, or marks; ``updateTime`` of marks is the last settlement, so they have no time."""
        rows = _rows.decode(content) if bytes(content)[:1] == b"[" else [_row.decode(content)]
        records: list[Record] = []
        for row in rows:
            if not row.symbol or (row.openInterest is None and row.markPrice is None):
                return [Unknown("REST answer")]
            listing = self.listed(row.symbol, records)
            if listing is None:
                continue
            mark = not_negative(row.markPrice or 0, "markPrice")
            if mark:
                records.append(Mark(listing, 0, mark / listing.units))
            if row.openInterest is not None:
                if listing.inverse:
                    return [Unknown("open interest in coins")]
                value = not_negative(row.openInterest, "openInterest")
                records.append(OpenInterestValue(listing, from_ms(row.time, "time"), value))
        return records


def _request(kind: str, topic: str, request_id: int) -> str:
    return msgspec.json.encode({"id": str(request_id), "reqType": kind, "dataType": topic}).decode()


VENUE = BingX
