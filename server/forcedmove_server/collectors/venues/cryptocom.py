"""Crypto.com Exchange v1 (https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html), USD perpetuals.

``trade``, ``ticker`` (open interest), ``mark`` and ``book`` of 50 levels, a snapshot every 500 ms. Sizes are contracts
of 1 coin; ``s`` is the taker's side. Figures are text, and were numbers in 2022. The first message of a trade channel
repeats the past, newest first. The venue's heartbeat has to be answered within 5 s. No liquidations are published.
ccxt subscribes to changes of books, whose numbers have to be checked; nothing of it is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Milliseconds,
    Number,
    Positive,
    from_ms,
    levels,
    not_negative,
    positive,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Level,
    Mark,
    OpenInterest,
    Record,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_ID = re.compile(r"(?P<coin>[A-Z0-9]+)USD-(PERP|\d{6}(m\d+)?)")
_DEPTH = 50
_TICKERS = "https://api.crypto.com/exchange/v1/public/get-tickers"
#: a batch of topics needs two requests: books have parameters of their own
_REQUESTS = 2


class _Result(msgspec.Struct):
    channel: str = ""
    subscription: str = ""
    instrument_name: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    method: str = ""
    id: Id | None = None
    code: Id = 0
    message: str = ""
    channel: str = ""
    result: _Result | None = None


class _Trade(msgspec.Struct, gc=False):
    i: str
    s: Literal["BUY", "SELL", "buy", "sell"]
    p: Positive
    q: Positive
    t: Milliseconds
    d: int


class _Ticker(msgspec.Struct):
    i: str
    t: int
    oi: Number | None = None


class _Mark(msgspec.Struct):
    v: Number
    t: int


class _Sides(msgspec.Struct):
    bids: list[list[Number]] = []
    asks: list[list[Number]] = []


class _Book(_Sides):
    """A snapshot, or what changed: then the sides are under ``update``."""

    t: int = 0
    u: int = -1
    pu: int = -1
    s: int = -1  # the number of 2022
    update: _Sides | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_tickers = msgspec.json.Decoder(list[_Ticker], strict=False)
_marks = msgspec.json.Decoder(list[_Mark], strict=False)
_books = msgspec.json.Decoder(list[_Book], strict=False)


class CryptoCom(Venue):
    """USD perpetuals."""

    name = "cryptocom"
    exchanges = ("cryptocom",)
    streams = (
        Stream(
            "market",
            "wss://stream.crypto.com/exchange/v1/market",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH}),
            ContractType.LINEAR,
            topics_per_connection=200,  # the limit is 400
            topics_per_message=20,
            messages_per_s=2.0,  # the limit is 100, but in the first second of a connection it is smaller
            silence_s=45.0,  # a heartbeat comes every 30 s
        ),
    )

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Remembers what each request asked for, and which trade channels have sent something."""
        super().__init__(listings)
        self._asked: dict[int, tuple[str, ...]] = {}
        self._begun: set[str] = set()

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSD-PERP``, and with a date in place of PERP."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USD") if match else None

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Four channels a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trade.{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"ticker.{listing.native_id}", (Channel.OPEN_INTEREST,), ids)
            yield Topic(f"mark.{listing.native_id}", (Channel.MARK_PRICES,), ids)
            yield Topic(f"book.{listing.native_id}.{_DEPTH}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``subscribe``: one for books, that wants snapshots, and one for all else."""
        books = [topic for topic in topics if topic.startswith("book.")]
        others = [topic for topic in topics if not topic.startswith("book.")]
        requests = []
        for number, channels in enumerate((others, books), request_id * _REQUESTS):
            if channels:
                self._asked[number] = tuple(channels)
                self._begun.difference_update(channels)
                params: dict[str, Any] = {"channels": channels}
                if channels is books:
                    params |= {"book_subscription_type": "SNAPSHOT", "book_update_frequency": 500}
                requests.append(_request("subscribe", number, params))
        return requests

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``unsubscribe``."""
        return (_request("unsubscribe", request_id * _REQUESTS, {"channels": list(topics)}),)

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /public/get-tickers``: open interest of all, without marks."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, _TICKERS, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, a heartbeat, or a REST answer: tickers, trades, a book."""
        envelope = _envelope.decode(message)
        if envelope.method == "public/heartbeat":
            return [Reply(msgspec.json.encode({"id": envelope.id, "method": "public/respond-heartbeat"}).decode())]
        number = int(envelope.id) if envelope.id is not None else -1
        if int(envelope.code):
            reason = f"{envelope.message or 'no reason given'} ({envelope.code})"
            return [Refused(reason, self._topics(envelope.channel, number))]
        result = envelope.result
        if result is None:
            return self._answer(envelope.method, self._topics(envelope.channel, number))
        match envelope.method, result.channel:
            case "subscribe", "trade":
                replayed = result.subscription not in self._begun
                self._begun.add(result.subscription)
                return self._trades(_trades.decode(result.data), replayed)
            case "subscribe", "ticker":
                return self._tickers(_tickers.decode(result.data))
            case "subscribe", "mark":
                return self._marks(result.instrument_name, _marks.decode(result.data))
            case ("subscribe", "book" | "book.update") | ("public/get-book", _):
                return self._books(result.instrument_name, _books.decode(result.data))
            case "public/get-trades", _:
                return self._trades(_trades.decode(result.data), True)
            case "public/get-tickers", _:  # spot too
                return self._tickers(row for row in _tickers.decode(result.data) if _ID.fullmatch(row.i))
        return [Unknown(result.channel or envelope.method)]

    def _answer(self, method: str, topics: tuple[str, ...]) -> list[Record]:
        match method:
            case "subscribe":
                return [Subscribed(topics)]
            case "unsubscribe":
                return [Subscribed()]
        return [Unknown(method or "no method")]

    def _topics(self, channel: str, number: int) -> tuple[str, ...]:
        """Return what an answer is about: the channel that it names, or all of a request."""
        return (channel,) if channel else self._asked.pop(number, ())

    def _trades(self, trades: Sequence[_Trade], replayed: bool) -> list[Record]:
        records: list[Record] = []
        for trade in reversed(trades):
            listing = self.listed(trade.i, records)
            if listing is None:
                continue
            time_ns, price, quantity = trade.t * 1_000_000, trade.p / listing.units, trade.q * listing.contract
            aggressor = 1 if trade.s in ("BUY", "buy") else -1
            records.append(Trade(listing, time_ns, price, quantity, aggressor, trade.d, replayed=replayed))
        return records

    def _tickers(self, tickers: Iterable[_Ticker]) -> list[Record]:
        records: list[Record] = []
        for ticker in tickers:
            listing = self.listed(ticker.i, records)
            if listing is not None and ticker.oi is not None:
                interest = not_negative(ticker.oi, "oi") * listing.contract
                records.append(OpenInterest(listing, from_ms(ticker.t, "t"), interest))
        return records

    def _marks(self, native_id: str, marks: Iterable[_Mark]) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            records += [Mark(listing, from_ms(mark.t, "t"), positive(mark.v, "v") / listing.units) for mark in marks]
        return records

    def _books(self, native_id: str, books: Iterable[_Book]) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is None:
            return records
        for book in books:
            sides = book.update or book
            snapshot = book.update is None
            at = from_ms(book.t, "t")
            number, previous = max(book.u, book.s), -1 if snapshot else book.pu
            bids, asks = _levels(sides.bids, listing), _levels(sides.asks, listing)
            records.append(Book(listing, at, bids, asks, snapshot, number, previous))
        return records


def _levels(rows: Iterable[list[Number]], listing: Listing) -> tuple[Level, ...]:
    """``[price, quantity, orders]``."""
    pairs = []
    for row in rows:
        if len(row) < 2:
            raise ValueError(f"level = {row!r}: must have a price and a quantity")
        pairs.append((row[0], row[1]))
    return levels(pairs, listing.units, listing.contract)


def _request(method: str, number: int, params: Mapping[str, Any]) -> str:
    return msgspec.json.encode({"id": number, "method": method, "params": params}).decode()


VENUE = CryptoCom
