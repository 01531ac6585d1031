"""Hyperliquid (https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.hyperliquid import Hyperliquid
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
    plain,
)

_BEFORE_NS = 1_700_000_000_000_000_000


class HyperliquidSession(EmulatedSession):
    """One subscription a message; trades begin with some of the recent past, the others with their state."""

    venue: HyperliquidEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["method"] == "ping":
            return ('{"channel":"pong"}',)
        wanted = request["subscription"]
        kind, coin = wanted["type"], wanted["coin"]
        if kind not in ("trades", "activeAssetCtx", "l2Book") or coin not in self.venue.listings:
            return (_push("error", f"Invalid subscription {json.dumps(wanted)}"),)
        topic = f"{kind}:{coin}"
        accepted = _push("subscriptionResponse", {"method": request["method"], "subscription": {**wanted}})
        if request["method"] == "unsubscribe":
            self.topics.discard(topic)
            return (accepted,)
        if topic in self.topics:
            return (_push("error", f"Already subscribed: {json.dumps(wanted)}"),)
        self.topics.add(topic)
        return (accepted, *self.venue.state(kind, coin))


class HyperliquidEmulator(EmulatedVenue):
    """Perpetuals of the venue's own dex."""

    collector = Hyperliquid
    hosts = frozenset({"api.hyperliquid.xyz"})
    session = HyperliquidSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"k{s}" if s in ("PEPE", "SHIB", "BONK", "FLOKI") else s for s in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        if (request.method, request.path) != ("POST", "/info"):
            return None
        wanted = json.loads(request.body)
        if wanted["type"] == "spotMeta":
            dollar = {
                "name": "USDC",
                "szDecimals": 8,
                "weiDecimals": 8,
                "index": 0,
                "tokenId": "0x6d",
                "isCanonical": True,
            }
            return Answer({"universe": [], "tokens": [dollar]})
        if wanted["type"] == "metaAndAssetCtxs" and not wanted.get("dex"):
            coins = [{"szDecimals": 5, "name": key, "maxLeverage": 40, "marginTableId": 56} for key in self.listings]
            return Answer(
                [{"universe": coins, "collateralToken": 0}, [self._context(one) for one in self.listings.values()]]
            )
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade):
            return (Message(f"trades:{key}", _push("trades", [_trade(event)])),)
        if isinstance(event, Mark):
            return (self._pushed(event.listing, mark=event),)
        if isinstance(event, OpenInterest):
            return (self._pushed(event.listing, interest=event),)
        if isinstance(event, Book):
            return (Message(f"l2Book:{key}", _push("l2Book", _book(event))),)
        assert isinstance(event, Liquidation)
        return ()

    def state(self, kind: str, coin: str) -> Sequence[Content]:
        """What a subscription begins with."""
        listing = self.listings[coin]
        if kind == "activeAssetCtx":
            return (self._pushed(listing).content,)
        if kind == "l2Book":
            return (_push("l2Book", _book(self.books[coin])),) if coin in self.books else ()
        past = list(self.recent[coin]) or [Trade(listing, _BEFORE_NS, 10.0, listing.coin, 1, 1)]
        return (_push("trades", [_trade(trade) for trade in past]),)

    def _pushed(self, listing: Listing, mark: Mark | None = None, interest: OpenInterest | None = None) -> Message:
        content = {"coin": listing.native_id, "ctx": self._context(listing, mark, interest)}
        return Message(f"activeAssetCtx:{listing.native_id}", _push("activeAssetCtx", content))

    def _context(
        self, listing: Listing, mark: Mark | None = None, interest: OpenInterest | None = None
    ) -> dict[str, Any]:
        mark = mark or self.marks.get(listing.native_id)
        interest = interest or self.interest.get(listing.native_id)
        price = native_price(mark) if mark else "1.0"
        context = {"funding": "0.0000125", "prevDayPx": price, "dayNtlVlm": "1.0", "premium": None}
        context |= {"oraclePx": price, "markPx": price, "midPx": None, "impactPxs": None, "dayBaseVlm": "1.0"}
        return context | {"openInterest": native_coins(interest) if interest else "0.0"}


def _push(channel: str, content: Any) -> str:
    return json.dumps({"channel": channel, "data": content})


def _trade(event: Trade) -> dict[str, Any]:
    row = {"coin": event.listing.native_id, "side": "B" if event.aggressor > 0 else "A", "px": native_price(event)}
    row |= {"sz": native_coins(event), "time": milliseconds(event.time_ns), "hash": "0x" + "0" * 64}
    return row | {"tid": int(event.trade_id) * 0x9E3779B97F4A7C15 % 2**50, "users": ["0xa", "0xb"]}


def _book(event: Book) -> dict[str, Any]:
    listing = event.listing
    sides = [
        [{"px": plain(price * listing.units), "sz": plain(size / listing.coin), "n": 1} for price, size in side]
        for side in (event.bids, event.asks)
    ]
    return {"coin": listing.native_id, "time": milliseconds(event.time_ns), "levels": sides}


EMULATOR = HyperliquidEmulator
