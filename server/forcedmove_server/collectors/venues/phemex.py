"""Phemex public websocket (https://phemex-docs.github.io/, USDS-M and COIN-M Perpetual Websocket API).

``trade_p``, ``orderbook_p`` and the market-wide ``perp_market24h_pack_p`` (mark and open interest) of USDT and USDC
contracts, whose decimals are text and whose sizes are coins; ``trade``, ``orderbook`` and ``market24h`` of
coin-margined ones, whose prices are integers in 1/10000 dollar and whose sizes are contracts of one dollar. Times are
nanoseconds. A trade's side is the taker's. Trades have no id, so that what they say is their id. A subscription begins
with a snapshot of past trades. Book sequences are shared by groups of symbols, so they find no holes; each book is sent
anew every 60 s. Ids that begin with ``s`` are spot, ``c`` coin-margined; other ids in USD are the old dollar-settled
contracts, all delisted, whose contract sizes are not known here. An open interest of 0 is what frames of 2022 have
throughout, so it means none. No liquidations are published.
ccxt asks for coin-margined topics of USDC contracts, which the venue refuses, and gives their contract size as 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from forcedmove_server.collectors.fields import (
    ContentIds,
    Id,
    Nanoseconds,
    Number,
    Positive,
    from_ns,
    levels,
    not_negative,
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
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_SCALE = 1e4
_LINEAR = re.compile(r"u?(?P<coin>[A-Z0-9]+?)(?P<quote>USDT|USDC)")
_DOLLAR = re.compile(r"(?P<kind>[cu]?)(?P<coin>[A-Z0-9]+)USD")
_FIELDS = (
    "symbol",
    "openRp",
    "highRp",
    "lowRp",
    "lastRp",
    "volumeRq",
    "turnoverRv",
    "openInterestRv",
    "indexRp",
    "markRp",
    "fundingRateRr",
    "predFundingRateRr",
)

#: of a trade: time, the taker's side, price, size
_Side = Literal["Buy", "Sell"]
_Scaled = Annotated[int, msgspec.Meta(gt=0, lt=10**18)]


class _Sides(msgspec.Struct):
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class _ScaledSides(msgspec.Struct):
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


class _Ticker(msgspec.Struct):
    """Tickers of both families, of the websocket and of REST; names that end in Ep are scaled."""

    symbol: str = ""
    markPrice: int = 0
    markEp: int = 0
    openInterest: int = 0
    markRp: Number = 0
    markPriceRp: Number = 0
    openInterestRv: Number = 0
    timestamp: Number = 0


class _Message(msgspec.Struct):
    id: Id | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")
    symbol: str = ""
    type: str = ""
    sequence: int = -1
    timestamp: Number = 0
    trades_p: list[msgspec.Raw] | None = None
    trades: list[msgspec.Raw] | None = None
    orderbook_p: _Sides | None = None
    book: _ScaledSides | None = None
    market24h: _Ticker | None = None
    method: str = ""
    fields: list[str] | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Result(_Ticker):
    status: str = ""


class _Error(msgspec.Struct):
    code: Id = 0
    message: str = ""


_message = msgspec.json.Decoder(_Message, strict=False)
_trade = msgspec.json.Decoder(tuple[Nanoseconds, _Side, Positive, Positive], strict=False)
_scaled_trade = msgspec.json.Decoder(tuple[Nanoseconds, _Side, _Scaled, _Scaled], strict=False)
_result = msgspec.json.Decoder(_Result, strict=False)
_tickers = msgspec.json.Decoder(list[_Ticker], strict=False)
_rows = msgspec.json.Decoder(list[list[Number]], strict=False)
_error = msgspec.json.Decoder(_Error, strict=False)


def _stream(contract_type: ContractType) -> Stream:
    # Documented are 20 topics and 5 connections; 101 topics and 6 connections were accepted in September 2026.
    return Stream(
        str(contract_type),
        "wss://ws.phemex.com",
        frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH}),
        contract_type,
        topics_per_connection=90,
        topics_per_message=1,
        messages_per_s=10.0,  # the limit is 20
        ping_s=5.0,  # a connection that sends nothing for 30 s is closed
        silence_s=20.0,
    )


class Phemex(Venue):
    """USDT, USDC and coin-margined perpetuals."""

    name = "phemex"
    exchanges = ("phemex",)
    streams = (_stream(ContractType.LINEAR), _stream(ContractType.INVERSE))
    connections_per_s = 0.5  # the limit is 200 in 5 minutes

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Names of ticker fields stay as the last snapshot on the connection gave them; its updates leave them out."""
        super().__init__(listings)
        self._fields: Sequence[str] = _FIELDS

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTCUSDT``, ``u1000PEPEUSDT`` are linear; ``BTCUSD``, ``cETHUSD`` inverse; ``ETHUSD`` was dollar-settled."""
        if match := _LINEAR.fullmatch(native_id):
            return listing_of(cls.name, native_id, match["coin"], match["quote"])
        if match := _DOLLAR.fullmatch(native_id):
            inverse = match["kind"] == "c" or native_id == "BTCUSD"
            size = 1.0 if inverse else None
            return listing_of(cls.name, native_id, match["coin"], "USD", inverse=inverse, contract_size=size)
        return None

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """``baseId`` may be USD, or be written ``1000 SHIB``."""
        return str(market["base"])

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Two topics a market, and one for all; ``true`` and 30 are a book of 30 levels each 120 ms."""
        inverse = stream.contract_type is ContractType.INVERSE
        tickers = "market24h" if inverse else "perp_market24h_pack_p"
        yield Topic(tickers, (Channel.MARK_PRICES, Channel.OPEN_INTEREST))
        suffix = "" if inverse else "_p"
        for listing in listings:
            if inverse == _is_scaled(listing):
                yield Topic(f"trade{suffix} {listing.native_id}", (Channel.TRADES,), (listing.native_id,))
                yield Topic(f"orderbook{suffix} {listing.native_id}", (Channel.DEPTH,), (listing.native_id,))

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"id": 7, "method": "trade_p.subscribe", "params": ["BTCUSDT"]}``; a message names one market."""
        return [_request(topic, "subscribe", request_id) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Nothing for books: the venue would end all of the connection."""
        return [_request(t, "unsubscribe", request_id) for t in topics if not t.startswith("orderbook")]

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """Tickers of all markets; the websocket brings the same each second or three."""
        path = "md/ticker/24hr/all" if contract_type is ContractType.INVERSE else "md/v3/ticker/24hr/all"
        yield Poll(Channel.OPEN_INTEREST, f"https://api.phemex.com/{path}", contract_type=contract_type)

    def ping(self) -> str:
        """``{"id": 0, "method": "server.ping", "params": []}``."""
        return '{"id":0,"method":"server.ping","params":[]}'

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or REST tickers."""
        content = _message.decode(message)
        if content.trades_p is not None:
            return self._trades(content, content.trades_p, 1.0)
        if content.orderbook_p is not None:
            return self._book(content, content.orderbook_p.bids, content.orderbook_p.asks, 1.0)
        if content.trades is not None:
            return self._trades(content, content.trades, _SCALE)
        if content.book is not None:
            return self._book(content, content.book.bids, content.book.asks, _SCALE)
        records: list[Record] = []
        if content.market24h is not None:
            self._ticker(content.market24h, content.timestamp, records)
            return records
        if content.method == "perp_market24h_pack_p.update":
            return self._pack(content)
        return self._answer(content)

    def _answer(self, message: _Message) -> list[Record]:
        request_id = request_number(message.id)
        result = bytes(message.result)
        records: list[Record] = []
        if bytes(message.error) != b"null":
            error = _error.decode(message.error)
            return [Refused(f"{error.code}: {error.message}", request_id=request_id)]
        if result == b'"pong"':
            return [Pong()]
        if result[:1] == b"[":
            for ticker in _tickers.decode(message.result):
                self._ticker(ticker, ticker.timestamp, records)
        elif result[:1] == b"{":
            answer = _result.decode(message.result)
            if answer.status == "success":
                return [Subscribed(request_id=request_id)]
            if answer.symbol:
                self._ticker(answer, answer.timestamp, records)
        return records or [Unknown(message.method or "no known field")]

    def _trades(self, message: _Message, rows: Sequence[msgspec.Raw], scale: float) -> list[Record]:
        records: list[Record] = []
        listing = self._of(message.symbol, scale, records)
        if listing is None:
            return records
        units, contract, snapshot = listing.units * scale, listing.contract, message.type == "snapshot"
        read = (_trade if scale == 1.0 else _scaled_trade).decode
        ids = ContentIds()
        for row in rows:
            time_ns, side, price, size = read(row)
            aggressor = 1 if side == "Buy" else -1
            trade_id = ids.of(time_ns, price, size, aggressor)
            records.append(
                Trade(listing, time_ns, price / units, size * contract, aggressor, trade_id, replayed=snapshot)
            )
        return records

    def _book(self, message: _Message, bids: Sequence[Any], asks: Sequence[Any], scale: float) -> list[Record]:
        records: list[Record] = []
        listing = self._of(message.symbol, scale, records)
        if listing is not None:
            units = listing.units * scale
            records.append(
                Book(
                    listing,
                    from_ns(message.timestamp, "timestamp"),
                    levels(bids, units, listing.contract),
                    levels(asks, units, listing.contract),
                    message.type == "snapshot",
                    message.sequence,
                )
            )
        return records

    def _pack(self, message: _Message) -> list[Record]:
        """All markets' tickers in rows; the order of their columns is told with the first."""
        columns = self._fields if message.fields is None else message.fields
        places = [columns.index(name) for name in ("symbol", "markRp", "openInterestRv")]
        self._fields = columns
        records: list[Record] = []
        for row in _rows.decode(message.data):
            if len(row) < len(columns):
                raise ValueError(f"data: a row of {len(row)} values has {len(columns)} fields")
            symbol, mark, interest = (row[place] for place in places)
            ticker = _Ticker(str(symbol), markRp=mark, openInterestRv=interest)
            self._ticker(ticker, message.timestamp, records)
        return records

    def _ticker(self, ticker: _Ticker, timestamp: Number, records: list[Record]) -> None:
        """Marks and open interest; what is 0 or missing is not there."""
        scaled = ticker.markPrice or ticker.markEp
        listing = self._of(ticker.symbol, _SCALE if scaled or ticker.openInterest else 1.0, records)
        if listing is None:
            return
        at = from_ns(timestamp, "timestamp")
        mark = (
            positive(scaled, "mark") / _SCALE if scaled else not_negative(ticker.markRp or ticker.markPriceRp, "mark")
        )
        if mark:
            records.append(Mark(listing, at, mark / listing.units))
        interest = not_negative(ticker.openInterest or ticker.openInterestRv, "openInterest")
        if interest:
            records.append(OpenInterest(listing, at, interest * listing.contract))

    def _of(self, symbol: str, scale: float, records: list[Record]) -> Listing | None:
        listing = self.listed(symbol, records)
        if listing is not None and _is_scaled(listing) != (scale != 1.0):
            raise ValueError(f"symbol = {symbol!r}: is not written in the units of this message")
        return listing


def _is_scaled(listing: Listing) -> bool:
    return listing.instrument.quote == "USD"


def _request(topic: str, action: str, request_id: int) -> str:
    method, _, native_id = topic.partition(" ")
    params: list[Any] = [native_id] if native_id else []
    if method.startswith("orderbook"):
        params += [True, 30] if method == "orderbook_p" else []
    return msgspec.json.encode({"id": request_id, "method": f"{method}.{action}", "params": params}).decode()


VENUE = Phemex
