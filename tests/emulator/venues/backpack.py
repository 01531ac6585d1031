"""Backpack (https://docs.backpack.exchange/#tag/Streams)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.backpack import Backpack
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
    rows,
)


class BackpackSession(EmulatedSession):
    """Streams by name; nothing confirms a subscription but what they bring."""

    venue: BackpackEmulator
    acknowledges = False

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        streams = request["params"]
        kinds = ("trade", "markPrice", "openInterest")
        for stream in streams:
            kind, _, key = stream.partition(".")
            if stream != "liquidation" and (kind not in kinds or key not in self.venue.listings):
                return (json.dumps({"id": request.get("id"), "error": {"code": 4006, "message": "Invalid stream"}}),)
        if request["method"] == "UNSUBSCRIBE":
            self.topics -= set(streams)
            return ()
        self.topics |= set(streams)
        return [content for stream in streams for content in self.venue.state(stream)]


class BackpackEmulator(EmulatedVenue):
    """Perpetuals, listed among spot markets; trades of liquidations are trades as well."""

    collector = Backpack
    hosts = frozenset({"ws.backpack.exchange", "api.backpack.exchange"})
    session = BackpackSession
    numbered = True

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{'k' if symbol in ('PEPE', 'BONK', 'SHIB') else ''}{symbol}_USDC_PERP" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/api/v1/markets":
                return Answer([_market("SOL_USDC", "SPOT"), *(_market(key, "PERP") for key in self.listings)])
            case "/api/v1/assets":
                return Answer([{"symbol": "USDC", "displayName": "USD Coin", "coingeckoId": "usd-coin", "tokens": []}])
            case "/api/v1/securities":
                return Answer([])
            case "/api/v1/openInterest":
                return Answer([self._interest_row(event) for event in self.interest.values()])
            case "/api/v1/markPrices":
                return Answer([_mark_row(event) for event in self.marks.values()])
            case "/api/v1/depth":
                return self._depth(self.listings[request.query["symbol"]])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade):
            return (self._trade(event, event.aggressor < 0),)
        if isinstance(event, Liquidation):
            content = {"q": native_coins(event), "p": native_price(event), "S": "Ask" if event.side == 0 else "Bid"}
            liquidation = _push("liquidation", "liquidation", event, content)
            return self._trade(event, event.side == 0), liquidation
        if isinstance(event, Mark):
            content = {"p": native_price(event), "f": "0.0001", "i": native_price(event), "n": 1_790_000_000_000}
            return (_push(f"markPrice.{key}", "markPrice", event, content),)
        if isinstance(event, OpenInterest):
            return (_push(f"openInterest.{key}", "openInterest", event, {"o": native_coins(event)}),)
        assert isinstance(event, Book)
        return ()

    def state(self, stream: str) -> Sequence[Content]:
        """What comes within a second of a subscription: prices, 0 where there is none, and open interest."""
        kind, _, key = stream.partition(".")
        if kind == "markPrice" and key not in self.marks:
            return (
                json.dumps({"stream": stream, "data": {"e": kind, "E": 1_790_000_000_000_000, "s": key, "p": "0"}}),
            )
        event = {"markPrice": self.marks, "openInterest": self.interest}.get(kind, {}).get(key)
        return [message.content for message in self.encode(event)] if event else []

    def _trade(self, event: Trade | Liquidation, sold: bool) -> Message:
        key = event.listing.native_id
        content = {"p": native_price(event), "q": native_coins(event), "b": "111", "a": "222", "m": sold}
        content |= {"t": self.next_number(key)}
        return _push(f"trade.{key}", "trade", event, content)

    def _interest_row(self, event: OpenInterest) -> dict[str, Any]:
        key = event.listing.native_id
        return {"symbol": key, "openInterest": native_coins(event), "timestamp": milliseconds(event.time_ns)}

    def _depth(self, listing: Listing) -> Answer:
        book = self.books.get(listing.native_id) or Book(listing, 1_790_000_000_000_000_000, (), (), True)
        sides = {"asks": rows(book.asks, listing), "bids": list(reversed(rows(book.bids, listing)))}
        return Answer({**sides, "lastUpdateId": "1684026955123", "timestamp": book.time_ns // 1_000})


def _push(stream: str, kind: str, event: Any, content: dict[str, Any]) -> Message:
    at = event.time_ns // 1_000
    document = {"e": kind, "E": at, "T": str(at), "s": event.listing.native_id, **content}
    return Message(stream, json.dumps({"stream": stream, "data": document}))


def _mark_row(event: Mark) -> dict[str, Any]:
    row = {"symbol": event.listing.native_id, "markPrice": native_price(event), "indexPrice": native_price(event)}
    return row | {"fundingRate": "0.0001", "nextFundingTimestamp": 1_790_000_000_000}


def _market(key: str, kind: str) -> dict[str, Any]:
    price = {"minPrice": "0.01", "maxPrice": None, "tickSize": "0.01"}
    quantity = {"minQuantity": "0.01", "maxQuantity": None, "stepSize": "0.01"}
    return {
        "symbol": key,
        "baseSymbol": key.partition("_")[0],
        "quoteSymbol": "USDC",
        "marketType": kind,
        "filters": {"price": price, "quantity": quantity},
        "imfFunction": {"base": "0.02", "factor": "0.0001275", "type": "sqrt"},
        "mmfFunction": {"base": "0.0125", "factor": "0.0000765", "type": "sqrt"},
        "fundingInterval": 28800000,
        "openInterestLimit": "4000000",
        "orderBookState": "Open",
        "createdAt": "2025-01-21T06:34:54.691858",
    }


EMULATOR = BackpackEmulator
