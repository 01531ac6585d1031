"""Gate futures websocket v4 (https://www.gate.com/docs/developers/futures/ws/en/)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.gate import Gate
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    milliseconds,
    native_contracts,
    native_price,
    plain,
    rows,
)

_NOW_MS = 1_790_000_000_123
_CHANNELS = ("futures.trades", "futures.tickers", "futures.order_book")


class GateSession(EmulatedSession):
    """One answer per request; a book is sent whole when it is subscribed to."""

    venue: GateEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["channel"] == "futures.ping":
            return (_said("futures.pong", "", None),)
        channel, event = request["channel"], request["event"]
        names = request["payload"][:1] if channel == "futures.order_book" else request["payload"]
        wrong = [name for name in names if not self._exists(channel, name)]
        if channel not in _CHANNELS or wrong:
            error = {"code": 2, "message": f"unknown contract {wrong[0]}" if wrong else "unknown channel"}
            return (_said(channel, event, None, id=request["id"], error=error),)
        replies: list[Content] = [_said(channel, event, {"status": "success"}, id=request["id"], error=None)]
        for name in names:
            if event == "unsubscribe":
                self.topics.discard(f"{channel}:{name}")
                continue
            self.topics.add(f"{channel}:{name}")
            if channel == "futures.order_book" and name in self.venue.books:
                replies.append(_book(self.venue.books[name], 7))
        return replies

    def _exists(self, channel: str, name: str) -> bool:
        listing = self.venue.listings.get(name)
        return listing is not None and listing.inverse == self.path.endswith("btc")


class GateEmulator(EmulatedVenue):
    """USDT perpetuals and BTC_USD."""

    collector = Gate
    hosts = frozenset({"fx-ws.gateio.ws", "api.gateio.ws"})
    session = GateSession

    def __init__(self, native_ids: Sequence[str]) -> None:
        super().__init__(native_ids)
        self.liquidations: deque[Liquidation] = deque(maxlen=1000)

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}_USDT" for s in symbols] + [f"{s}_USD" for s in symbols if s == "BTC"]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/api/v4/spot/currencies":
            return Answer([])
        for settle, inverse in (("usdt", False), ("btc", True)):
            if request.path == f"/api/v4/futures/{settle}/contracts":
                return Answer([self._contract(key) for key, one in self.listings.items() if one.inverse == inverse])
            if request.path == f"/api/v4/futures/{settle}/liq_orders":
                found = [event for event in self.liquidations if event.listing.inverse == inverse]
                return Answer([_liquidated(event) for event in found[: int(request.query["limit"])]])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            sign = "" if event.aggressor > 0 else "-"
            row: dict[str, Any] = {
                "size": sign + native_contracts(event),
                "id": event.trade_id,
                "create_time": at // 1000,
            }
            row |= {"create_time_ms": at, "price": native_price(event), "contract": key}
            return (Message(f"futures.trades:{key}", _said("futures.trades", "update", [row], at)),)
        if isinstance(event, Liquidation):
            self.liquidations.appendleft(event)
            return ()
        if isinstance(event, Mark | OpenInterest):
            mark = event if isinstance(event, Mark) else self.marks.get(key)
            interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
            row = {"contract": key, "last": "1", "index_price": "1", "funding_rate": "0.0001"}
            row |= {"mark_price": native_price(mark)} if mark else {}
            row |= {"total_size": native_contracts(interest)} if interest else {}
            return (Message(f"futures.tickers:{key}", _said("futures.tickers", "update", [row], at)),)
        if isinstance(event, Book):
            return (Message(f"futures.order_book:{key}", _book(event, self.next_number(f"book {key}"))),)
        raise AssertionError(event)

    def _contract(self, key: str) -> dict[str, Any]:
        listing = self.listings[key]
        return {
            "name": key,
            "type": "inverse" if listing.inverse else "direct",
            # a multiplier of 0 is how the venue says one dollar
            "quanto_multiplier": "0" if listing.inverse else plain(listing.instrument.contract_size),
            "mark_price": "60000",
            "order_price_deviate": "0.5",
            "order_price_round": "0.1",
            "order_size_min": 1,
            "order_size_max": 1_000_000,
            "enable_decimal": False,
            "leverage_min": "1",
            "leverage_max": "100",
            "in_delisting": False,
            "status": "trading",
            "create_time": 1_600_000_000,
        }


def _liquidated(event: Liquidation) -> dict[str, Any]:
    """The position was three times what this order closed of it."""
    contracts = event.quantity / event.listing.contract
    position, order = ("", "-") if event.side == 0 else ("-", "")
    return {
        "time": milliseconds(event.time_ns) // 1000,
        "contract": event.listing.native_id,
        "size": position + plain(3 * contracts),
        "order_size": order + plain(contracts),
        "fill_price": native_price(event),
        "order_price": native_price(event),
        "left": "0",
    }


def _said(channel: str, event: str, result: Any, at: int = _NOW_MS, **more: Any) -> str:
    return json.dumps({"time": at // 1000, "time_ms": at, "channel": channel, "event": event, **more, "result": result})


def _book(book: Book, number: int) -> str:
    def side(found: Sequence[Level]) -> list[dict[str, str]]:
        return [{"p": price, "s": size} for price, size in rows(found, book.listing)]

    at = milliseconds(book.time_ns)
    result = {"t": at, "id": number, "contract": book.listing.native_id, "l": "20"}
    return _said("futures.order_book", "all", {**result, "bids": side(book.bids), "asks": side(book.asks)}, at)


EMULATOR = GateEmulator
