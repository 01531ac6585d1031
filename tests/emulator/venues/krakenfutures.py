"""Kraken Futures websocket v1 (https://docs.kraken.com/exchange/api-reference/futures-websocket)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.krakenfutures import KrakenFutures
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
)

_FEEDS = ("trade", "ticker", "book", "heartbeat")


class KrakenFuturesSession(EmulatedSession):
    """Feeds by product; each product is acknowledged by a message of its own, snapshots follow."""

    venue: KrakenFuturesEmulator

    def greeting(self) -> Sequence[Content]:
        return (json.dumps({"event": "info", "version": 1}),)

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        feed, products = request.get("feed"), request.get("product_ids", [])
        if feed not in _FEEDS:
            return (json.dumps({"event": "error", "message": "Invalid feed"}),)
        if not set(products) <= set(self.venue.listings):
            return (json.dumps({"event": "error", "message": "Invalid product id"}),)
        wanted = {f"{feed} {product}" for product in products}
        if request["event"] == "unsubscribe":
            self.topics -= wanted
            return tuple(json.dumps({"event": "unsubscribed", "feed": feed, "product_ids": [p]}) for p in products)
        self.topics |= wanted
        accepted = [json.dumps({"event": "subscribed", "feed": feed, "product_ids": [p]}) for p in products]
        return [*accepted, *self.venue.snapshots(feed, products)]


class KrakenFuturesEmulator(EmulatedVenue):
    """Linear and inverse perpetuals."""

    collector = KrakenFutures
    hosts = frozenset({"futures.kraken.com"})
    session = KrakenFuturesSession
    numbered = True

    def __init__(self, native_ids: Sequence[str]) -> None:
        super().__init__(native_ids)
        self._past: dict[str, deque[dict[str, Any]]] = {key: deque(maxlen=20) for key in self.listings}

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        coins = ["XBT" if symbol == "BTC" else symbol for symbol in symbols]
        return [f"PF_{coin}USD" for coin in coins] + [f"PI_{coin}USD" for coin in coins if coin in ("XBT", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/derivatives/api/v3/instruments":
                found = [_instrument(key) for key in self.listings]
                index = {"symbol": "in_xbtusd", "type": "spot index", "tradeable": False}
                return Answer({"result": "success", "instruments": [*found, index], "serverTime": _iso(0)})
            case "/derivatives/api/v3/tickers":
                rows = [self._ticker_row(key) for key in self.listings]
                rows.append({"symbol": "in_xbtusd", "last": 60000.0, "lastTime": _iso(0)})
                return Answer({"result": "success", "tickers": rows, "serverTime": _iso(1_790_000_000)})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade | Liquidation):
            trade = _trade(event, self.next_number(f"trade {key}"))
            self._past[key].append(trade)
            return (Message(f"trade {key}", json.dumps(trade)),)
        if isinstance(event, Mark | OpenInterest):
            mark = event if isinstance(event, Mark) else self.marks.get(key)
            interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
            return (Message(f"ticker {key}", json.dumps(_ticker(event, mark, interest))),)
        assert isinstance(event, Book), event
        before = self.books.get(key)
        if before is None:
            self.next_number(f"book {key}")
            return (Message(f"book {key}", self._book(event)),)
        changes = (("buy", changed_levels(before.bids, event.bids)), ("sell", changed_levels(before.asks, event.asks)))
        return [
            Message(f"book {key}", json.dumps(self._change(event, side, level)))
            for side, found in changes
            for level in found
        ]

    def snapshots(self, feed: str, products: Iterable[str]) -> list[Content]:
        """What follows the acceptance of a subscription."""
        if feed == "book":
            return [self._book(self.books[key]) for key in products if key in self.books]
        if feed == "trade":
            return [self._past_trades(key) for key in products]
        return [
            json.dumps(_ticker(self.marks[key], self.marks[key], self.interest.get(key)))
            for key in products
            if feed == "ticker" and key in self.marks
        ]

    def _past_trades(self, key: str) -> str:
        return json.dumps({"feed": "trade_snapshot", "product_id": key, "trades": list(self._past[key])[::-1]})

    def _book(self, book: Book) -> str:
        key = book.listing.native_id
        content: dict[str, Any] = {"feed": "book_snapshot", "product_id": key, "timestamp": milliseconds(book.time_ns)}
        content |= {"seq": self.numbers[f"book {key}"], "tickSize": None}
        for side, found in (("bids", book.bids), ("asks", book.asks)):
            content[side] = [_level(book, level) for level in found]
        return json.dumps(content)

    def _change(self, book: Book, side: str, level: Level) -> dict[str, Any]:
        key = book.listing.native_id
        content = {"feed": "book", "product_id": key, "side": side, "seq": self.next_number(f"book {key}")}
        return {**content, **_level(book, level), "timestamp": milliseconds(book.time_ns)}

    def _ticker_row(self, key: str) -> dict[str, Any]:
        mark, interest = self.marks.get(key), self.interest.get(key)
        return {
            "symbol": key,
            "tag": "perpetual",
            "markPrice": float(native_price(mark)) if mark else 0.0,
            "openInterest": float(native_contracts(interest)) if interest else 0.0,
            "suspended": False,
        }


def _trade(event: Trade | Liquidation, number: int) -> dict[str, Any]:
    """A liquidation is a market order that closes: a long's sells."""
    buys = event.aggressor > 0 if isinstance(event, Trade) else event.side == 1
    return {
        "feed": "trade",
        "product_id": event.listing.native_id,
        "uid": f"00000000-0000-0000-0000-{number:0>12}",
        "side": "buy" if buys else "sell",
        "type": "fill" if isinstance(event, Trade) else "liquidation",
        "seq": number,
        "time": milliseconds(event.time_ns),
        "qty": float(native_contracts(event)),
        "price": float(native_price(event)),
    }


def _ticker(event: Event, mark: Mark | None, interest: OpenInterest | None) -> dict[str, Any]:
    content = {"time": milliseconds(event.time_ns), "product_id": event.listing.native_id, "feed": "ticker"}
    content |= {"leverage": "50x", "tag": "perpetual", "suspended": False, "maturityTime": 0}
    content |= {"markPrice": float(native_price(mark)) if mark else 0.0}
    return {**content, "openInterest": float(native_contracts(interest)) if interest else 0.0}


def _level(book: Book, level: Level) -> dict[str, float]:
    return {"price": level[0] * book.listing.units, "qty": level[1] / book.listing.contract}


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _instrument(key: str) -> dict[str, Any]:
    inverse = key.startswith("PI_")
    size = "contracts" if inverse else "numNonContractUnits"
    return {
        "symbol": key,
        "type": "futures_inverse" if inverse else "flexible_futures",
        "tickSize": 0.5,
        "contractSize": 1,
        "tradeable": True,
        "marginLevels": [{size: 0, "initialMargin": 0.02, "maintenanceMargin": 0.01}],
        "contractValueTradePrecision": 0 if inverse else 4,
        "base": "BTC" if "XBT" in key else key[3:-3],
        "quote": "USD",
        "tags": [],
    }


EMULATOR = KrakenFuturesEmulator
