"""MEXC futures (https://www.mexc.com/api-docs/futures/websocket-api).

``sub.deal``, ``sub.ticker`` (fair price, which is the mark, and open interest, once a second) and ``sub.depth.full``
(20 levels) of each contract. There is no public feed of liquidations. Quantities are contracts: of ``contractSize``
coins, or US dollars on inverse contracts. ``T`` is the taker's side. ``holdVol`` counts one side as far as is known.

A push of deals has been one object and is a list now; ids of deals came later. Deals also say whether they opened or
closed positions (``O``), which is always 3, no change, in what was recorded. Answers to subscriptions repeat neither
the contract nor an id: they confirm nothing in particular, and a topic is live when its data come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import Number, from_ms, levels, not_negative, positive
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
from forcedmove_server.collectors.venue import Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_TAKER = {1: 1, 2: -1}
_ID = re.compile(r"(?P<coin>[A-Z0-9]+)_(?P<quote>USDT|USDC|USD)")
_INVERSE_SIZE = {"BTC": 100.0}
_LEVELS = 20


class _Envelope(msgspec.Struct):
    channel: str = ""
    symbol: str = ""
    ts: Number = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    success: bool | None = None


class _Deal(msgspec.Struct):
    p: Number
    v: Number
    T: int
    t: int
    i: int | None = None


class _Ticker(msgspec.Struct):
    symbol: str
    timestamp: int = 0
    fairPrice: Number | None = None
    holdVol: Number | None = None


class _Fair(msgspec.Struct):
    price: Number
    symbol: str = ""


class _Level(msgspec.Struct, array_like=True):
    price: Number
    size: Number


class _Book(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]
    version: int = -1
    cts: int | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_deals = msgspec.json.Decoder(_Deal | list[_Deal], strict=False)
_tickers = msgspec.json.Decoder(_Ticker | list[_Ticker], strict=False)
_fair = msgspec.json.Decoder(_Fair, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_text = msgspec.json.Decoder(str)


class Mexc(Venue):
    """USDT, USDC and coin-margined perpetuals."""

    name = "mexc"
    exchanges = ("mexc",)
    streams = (
        Stream(
            "futures",
            "wss://contract.mexc.com/edge",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH}),
            topics_per_connection=150,  # the venue names no limit
            topics_per_message=20,
            messages_per_s=5.0,
            ping_s=15.0,  # the venue hangs up after a minute without one
        ),
    )

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC_USDT`` is linear, ``BTC_USD`` inverse."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        coin, quote = match["coin"], match["quote"]
        if quote == "USD":
            return listing_of(cls.name, native_id, coin, quote, inverse=True, contract_size=_INVERSE_SIZE.get(coin))
        size = linear_contract_size(cls.name, coin) if quote == "USDT" else None
        return listing_of(cls.name, native_id, coin, quote, contract_size=size)

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"deal:{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"ticker:{listing.native_id}", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"depth.full:{listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "sub.deal", "param": {"symbol": "BTC_USDT"}}``, one message per topic."""
        return [_request("sub", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "unsub.deal", "param": {"symbol": "BTC_USDT"}}``; the documented word for books differs."""
        return [_request("usub" if topic.startswith("depth.full") else "unsub", topic) for topic in topics]

    def ping(self) -> str:
        """``{"method": "ping"}``."""
        return '{"method":"ping"}'

    def read(self, message: bytes) -> list[Record]:
        """Read a push, an answer to a request, or REST tickers."""
        envelope = _envelope.decode(message)
        match envelope.channel:
            case "push.deal":
                return self._deals(envelope)
            case "push.ticker" | "push.tickers":
                return self._tickers(envelope)
            case "push.fair.price":
                return self._fair_price(envelope)
            case "push.depth.full" | "push.depth":
                return self._depth(envelope)
            case "pong":
                return [Pong()]
            case "rs.error":
                return [Refused(_text.decode(envelope.data))]
            case "":
                return self._rest(envelope)
        if envelope.channel.startswith(("rs.sub.", "rs.unsub.", "rs.usub.")):
            return [Subscribed()]
        return [Unknown(envelope.channel)]

    def _rest(self, envelope: _Envelope) -> list[Record]:
        found = msgspec.json.decode(envelope.data)
        first = found[0] if isinstance(found, list) and found else found
        if envelope.success and isinstance(first, dict) and {"symbol", "fairPrice", "holdVol"} <= first.keys():
            return self._tickers(envelope)
        return [Unknown("answer" if envelope.success is not None else "no channel")]

    def _deals(self, envelope: _Envelope) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(envelope.symbol, records)
        if listing is None:
            return records
        found = _deals.decode(envelope.data)
        for deal in found if isinstance(found, list) else [found]:
            if deal.T not in _TAKER:
                raise ValueError(f"T = {deal.T!r}: must be 1 or 2")
            records.append(
                Trade(
                    listing,
                    from_ms(deal.t, "t"),
                    positive(deal.p, "p") / listing.units,
                    positive(deal.v, "v") * listing.contract,
                    _TAKER[deal.T],
                    "" if deal.i is None else deal.i,
                )
            )
        return records

    def _tickers(self, envelope: _Envelope) -> list[Record]:
        """The list of all tickers has no open interest."""
        found = _tickers.decode(envelope.data)
        records: list[Record] = []
        for ticker in found if isinstance(found, list) else [found]:
            listing = self.listed(ticker.symbol, records)
            if listing is None:
                continue
            time_ns = from_ms(ticker.timestamp or envelope.ts, "timestamp")
            if price := not_negative(ticker.fairPrice or 0, "fairPrice"):
                records.append(Mark(listing, time_ns, price / listing.units))
            if ticker.holdVol is not None:
                quantity = not_negative(ticker.holdVol, "holdVol") * listing.contract
                records.append(OpenInterest(listing, time_ns, quantity))
        return records

    def _fair_price(self, envelope: _Envelope) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(envelope.symbol, records)
        if listing is not None:
            price = positive(_fair.decode(envelope.data).price, "price") / listing.units
            records.append(Mark(listing, from_ms(envelope.ts, "ts"), price))
        return records

    def _depth(self, envelope: _Envelope) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(envelope.symbol, records)
        if listing is not None:
            book = _book.decode(envelope.data)
            whole = envelope.channel.endswith(".full")  # versions of changes count by one
            records.append(
                Book(
                    listing,
                    from_ms(book.cts or envelope.ts, "ts"),
                    levels(((one.price, one.size) for one in book.bids), listing.units, listing.contract),
                    levels(((one.price, one.size) for one in book.asks), listing.units, listing.contract),
                    whole,
                    book.version,
                    -1 if whole else book.version - 1,
                )
            )
        return records


def _request(word: str, topic: str) -> str:
    channel, _, symbol = topic.partition(":")
    param: dict[str, Any] = {"symbol": symbol}
    if channel == "depth.full":
        param["limit"] = _LEVELS
    return msgspec.json.encode({"method": f"{word}.{channel}", "param": param}).decode()


VENUE = Mexc
