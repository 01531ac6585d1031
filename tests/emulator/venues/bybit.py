"""Bybit v5 (https://bybit-exchange.github.io/docs/v5/ws/connect)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.bybit import Bybit
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    milliseconds,
    native_contracts,
    native_price,
    plain,
    rows,
)


class BybitSession(EmulatedSession):
    """Subscriptions by topic; a book begins with its snapshot."""

    venue: BybitEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["op"] == "ping":
            return (json.dumps({"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "", "op": "ping"}),)
        inverse = self.path.endswith("inverse")
        known = [t for t in request["args"] if self.venue.listings[t.rsplit(".", 1)[1]].inverse == inverse]
        success = len(known) == len(request["args"])
        answer = {"success": success, "ret_msg": "" if success else "error:handler not found", "conn_id": "c"}
        replies: list[Content] = [json.dumps({**answer, "req_id": request.get("req_id", ""), "op": request["op"]})]
        if request["op"] == "subscribe":
            self.topics |= set(known)
            replies += [snapshot for t in known if (snapshot := self.venue.book_snapshot(t))]
        else:
            self.topics -= set(known)
        return replies


class BybitEmulator(EmulatedVenue):
    """Linear and inverse perpetuals."""

    collector = Bybit
    hosts = frozenset({"stream.bybit.com", "api.bybit.com"})
    session = BybitSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}USDT" for s in symbols] + [f"{s}USD" for s in symbols if s in ("BTC", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/v5/market/instruments-info":
            inverse = request.query["category"] == "inverse"
            wanted = request.query["category"] in ("linear", "inverse")
            found = [key for key, listing in self.listings.items() if wanted and listing.inverse == inverse]
            return Answer(_result(request.query["category"], [_instrument(key, inverse) for key in found]))
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            row: dict[str, Any] = {"T": at, "s": key, "S": "Buy" if event.aggressor > 0 else "Sell"}
            row |= {"v": native_contracts(event), "p": native_price(event), "L": "PlusTick"}
            row |= {"i": f"00000000-0000-0000-0000-{event.trade_id:0>12}", "BT": False, "RPI": False}
            return (_push(f"publicTrade.{key}", "snapshot", at, [row]),)
        if isinstance(event, Liquidation):
            row = {"T": at, "s": key, "S": "Buy" if event.side == 0 else "Sell"}  # the side of the position
            row |= {"v": native_contracts(event), "p": native_price(event)}
            return (_push(f"allLiquidation.{key}", "snapshot", at, [row]),)
        if isinstance(event, Mark):
            return (_push(f"tickers.{key}", "delta", at, {"symbol": key, "markPrice": native_price(event)}),)
        if isinstance(event, OpenInterest):
            one_side = event.quantity / event.listing.contract
            both = {"openInterest": plain(2 * one_side), "singleOpenInterest": plain(one_side)}
            return (_push(f"tickers.{key}", "delta", at, {"symbol": key, **both}),)
        if isinstance(event, Book):
            before = self.books.get(key)
            number = self.next_number(f"book {key}") + 1  # 1 would mean that the service restarted
            if before is None:
                content = {"b": rows(event.bids, event.listing), "a": rows(event.asks, event.listing)}
            else:
                content = {
                    "b": rows(changed_levels(before.bids, event.bids), event.listing),
                    "a": rows(changed_levels(before.asks, event.asks), event.listing),
                }
            kind = "snapshot" if before is None else "delta"
            return (_push(f"orderbook.50.{key}", kind, at, {"s": key, **content, "u": number, "seq": number}),)
        raise AssertionError(event)

    def book_snapshot(self, topic: str) -> Content | None:
        """Return the snapshot that begins a book's topic, where a book is known."""
        kind, _, key = topic.rpartition(".")
        book = self.books.get(key) if kind == "orderbook.50" else None
        if book is None:
            return None
        levels = {"b": rows(book.bids, book.listing), "a": rows(book.asks, book.listing)}
        number = self.numbers[f"book {key}"] + 1
        content = {"s": key, **levels, "u": number, "seq": number}
        return _push(topic, "snapshot", milliseconds(book.time_ns), content).content


def _push(topic: str, kind: str, at: int, content: Any) -> Message:
    return Message(topic, json.dumps({"topic": topic, "type": kind, "ts": at, "data": content, "cs": 1}))


def _result(category: str, found: list[Any]) -> dict[str, Any]:
    result = {"category": category, "list": found, "nextPageCursor": ""}
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1_760_000_000_000}


def _instrument(key: str, inverse: bool) -> dict[str, Any]:
    coin, quote = (key[:-3], "USD") if inverse else (key[:-4], "USDT")
    lots = {
        "maxOrderQty": "1000000",
        "minOrderQty": "1" if inverse else "0.001",
        "qtyStep": "1" if inverse else "0.001",
    }
    return {
        "symbol": key,
        "contractType": "InversePerpetual" if inverse else "LinearPerpetual",
        "status": "Trading",
        "baseCoin": coin,
        "quoteCoin": quote,
        "settleCoin": coin if inverse else quote,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
        "lotSizeFilter": lots,
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
    }


EMULATOR = BybitEmulator
