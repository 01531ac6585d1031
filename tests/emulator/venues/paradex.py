"""Paradex (https://docs.paradex.trade/ws/general-information/binary-encoding-sbe): JSON requests, binary pushes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.paradex import Paradex
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    milliseconds,
    native_coins,
    native_price,
)

_SNAPSHOTS = "snapshot@15@100ms"
_NULL = -(2**63)


class ParadexSession(EmulatedSession):
    """JSON-RPC: one channel a request, answered by its id."""

    venue: ParadexEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        channel = request["params"]["channel"]
        answer = {"jsonrpc": "2.0", "id": request["id"], "usIn": 1_790_000_000_000_000, "usDiff": 76}
        kind, _, rest = channel.partition(".")
        known = rest.partition(".")[0] in self.venue.listings and kind in ("trades", "markets_summary", "order_book")
        if not known or (request["method"] == "subscribe") == (channel in self.topics):
            fault = {"code": -32600, "message": f"invalid {request['method']} request", "data": "invalid channel"}
            return (json.dumps(answer | {"error": fault}),)
        replies: list[Content] = [json.dumps(answer | {"result": {"channel": channel}})]
        if request["method"] == "subscribe":
            self.topics.add(channel)
            replies += self.venue.state(channel)
        else:
            self.topics.discard(channel)
        return replies


class ParadexEmulator(EmulatedVenue):
    """Perpetuals; options are listed beside them."""

    collector = Paradex
    hosts = frozenset({"ws.api.prod.paradex.trade", "api.prod.paradex.trade"})
    session = ParadexSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{'k' if symbol in ('PEPE', 'BONK', 'SHIB') else ''}{symbol}-USD-PERP" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/v1/markets":
            option = _market("BTC-USD-96000-C") | {"asset_kind": "PERP_OPTION", "option_type": "CALL"}
            return Answer({"results": [*map(_market, self.listings), option | {"strike_price": "96000"}]})
        if request.path == "/v1/markets/summary":
            return Answer({"results": [self._summary_row(one) for one in self.listings.values()]})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade | Liquidation):
            return (Message(f"trades.{key}", _trade(event)),)
        if isinstance(event, Book):
            return (Message(f"order_book.{key}.{_SNAPSHOTS}", self._book(event)),)
        mark = event if isinstance(event, Mark) else self.marks.get(key)
        interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
        return (Message(f"markets_summary.{key}", self._summary(event.listing, event.time_ns, mark, interest)),)

    def state(self, channel: str) -> Sequence[Content]:
        """What a subscription begins with: a summary or a book, where there is one."""
        kind, key = channel.split(".")[:2]
        if kind == "markets_summary" and key in self.marks:
            mark = self.marks[key]
            return (self._summary(mark.listing, mark.time_ns, mark, self.interest.get(key)),)
        return (self._book(self.books[key]),) if kind == "order_book" and key in self.books else ()

    def _summary(self, listing: Listing, time_ns: int, mark: Mark | None, interest: OpenInterest | None) -> bytes:
        price = _mantissa(native_price(mark)) if mark else _NULL
        coins = _mantissa(native_coins(interest)) if interest else _NULL
        number = self.next_number("summary")
        first = (time_ns // 1_000, number, price, price, price, 1, coins)
        rest = (_NULL,) * (240 // 8 - len(first))  # funding, best prices, volumes, greeks: 240 bytes in version 1
        return _frame(4, struct.pack("<30q", *first, *rest), _text(listing.native_id))

    def _book(self, book: Book) -> bytes:
        best = (_NULL,) * 9
        block = struct.pack("<qqB9q", book.time_ns // 1_000, self.next_number("book"), 0, *best)
        groups = _levels(book.bids, book.listing) + _levels(book.asks, book.listing)
        return _frame(3, block, groups + _text(book.listing.native_id))

    def _summary_row(self, listing: Listing) -> dict[str, Any]:
        mark, interest = self.marks.get(listing.native_id), self.interest.get(listing.native_id)
        return {
            "symbol": listing.native_id,
            "mark_price": native_price(mark) if mark else "",
            "open_interest": native_coins(interest) if interest else "0",
            "created_at": milliseconds(mark.time_ns if mark else 1_790_000_000_000_000_000),
        }


def _frame(template: int, block: bytes, rest: bytes) -> bytes:
    return struct.pack("<HHHH", len(block), template, 1, 1) + block + rest


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _mantissa(number: str | float) -> int:
    return round(float(number) * 1e8)


def _trade(event: Trade | Liquidation) -> bytes:
    if isinstance(event, Trade):
        bought, kind, number = event.aggressor > 0, 1, event.trade_id
    else:
        bought, kind, number = event.side == 1, 2, event.liquidation_id  # a short is bought back
    at = event.time_ns // 1_000
    price, size = _mantissa(native_price(event)), _mantissa(native_coins(event))
    block = struct.pack("<qqqBqqqB", at, int(number), 1_790_000_000, 1 if bought else 2, price, size, at, kind)
    return _frame(1, block, _text(event.listing.native_id) + _text(f"1790000000123{number:0>15}"))


def _levels(side: Iterable[Level], listing: Listing) -> bytes:
    rows = [
        struct.pack("<qq", _mantissa(price * listing.units), _mantissa(size / listing.coin)) for price, size in side
    ]
    return struct.pack("<HH", 16, len(rows)) + b"".join(rows)


def _market(key: str) -> dict[str, Any]:
    return {
        "symbol": key,
        "base_currency": key.partition("-")[0],
        "quote_currency": "USD",
        "settlement_currency": "USDC",
        "order_size_increment": "0.001",
        "price_tick_size": "0.1",
        "min_notional": "100",
        "open_at": 1717065600000,
        "expiry_at": 0,
        "asset_kind": "PERP",
        "position_limit": "2000000",
        "max_order_size": "1000",
        "delta1_cross_margin_params": {"imf_base": "0.02", "imf_shift": "0", "imf_factor": "0", "mmf_factor": "0.5"},
    }


EMULATOR = ParadexEmulator
