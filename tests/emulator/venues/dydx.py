"""dYdX v4's indexer (https://docs.dydx.xyz/indexer-client/websockets)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.dydx import Dydx
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Level,
    Message,
    RestRequest,
    changed_levels,
    native_coins,
    native_price,
    plain,
    rows,
)

_CHANNELS = ("v4_trades", "v4_orderbook", "v4_markets")


class DydxSession(EmulatedSession):
    """One subscription a message; every message that is sent has the next number."""

    venue: DydxEmulator

    def greeting(self) -> Sequence[Content]:
        return (self._sent({"type": "connected"}),)

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        channel, native_id = request["channel"], request.get("id", "")
        name = {"channel": channel} | ({"id": native_id} if native_id else {})
        topic = ":".join(name.values())
        if channel not in _CHANNELS or (channel != "v4_markets" and native_id not in self.venue.listings):
            return (self._error(f"Invalid subscription id for channel: ({channel}-{native_id})"),)
        if request["type"] == "unsubscribe":
            self.topics.discard(topic)
            return (self._sent({"type": "unsubscribed", **name}),)
        if topic in self.topics:
            return (self._error(f"Invalid subscribe message: already subscribed ({channel}-{native_id})"),)
        self.topics.add(topic)
        return (self._sent({"type": "subscribed", **name, "contents": self.venue.contents(channel, native_id)}),)

    def deliver(self, message: Message) -> Sequence[Content]:
        return [self._sent(json.loads(content)) for content in super().deliver(message)]

    def _sent(self, content: Mapping[str, Any]) -> str:
        number = self.sent = getattr(self, "sent", -1) + 1
        return json.dumps({**content, "connection_id": "c", "message_id": number})

    def _error(self, text: str) -> str:
        return self._sent({"type": "error", "message": text})


class DydxEmulator(EmulatedVenue):
    """Perpetuals of the chain."""

    collector = Dydx
    hosts = frozenset({"indexer.dydx.trade"})
    session = DydxSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol}-USD" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        return Answer(self.contents("v4_markets", "")) if request.path == "/v4/perpetualMarkets" else None

    def encode(self, event: Event) -> Sequence[Message]:
        key, coin = event.listing.native_id, event.listing
        if isinstance(event, Trade | Liquidation):
            return (_push("v4_trades", key, {"trades": [_trade(event)]}),)
        if isinstance(event, Mark):
            price = {"oraclePrice": native_price(event), "effectiveAt": _iso(event.time_ns)}
            price |= {"effectiveAtHeight": "1", "marketId": 1}
            return (_push("v4_markets", "", {"oraclePrices": {key: price}}),)
        if isinstance(event, OpenInterest):
            changed = {"openInterest": native_coins(event), "trades24H": 5, "nextFundingRate": "0.0001"}
            return (_push("v4_markets", "", {"trading": {key: changed}}),)
        assert isinstance(event, Book)
        before = self.books.get(key, Book(coin, 0, (), (), True))
        sides = {"bids": (before.bids, event.bids), "asks": (before.asks, event.asks)}
        changes = {side: rows(changed_levels(*both), coin) for side, both in sides.items()}
        return (_push("v4_orderbook", key, {side: changed for side, changed in changes.items() if changed}),)

    def contents(self, channel: str, native_id: str) -> dict[str, Any]:
        """What a subscription begins with, as the REST answer has it; the newest trade comes first."""
        if channel == "v4_trades":
            return {"trades": [_trade(trade) for trade in reversed(self.recent[native_id])]}
        if channel == "v4_orderbook":
            book = self.books.get(native_id) or Book(self.listings[native_id], 0, (), (), True)
            return {"bids": _levels(book.bids, book.listing), "asks": _levels(book.asks, book.listing)}
        return {"markets": {key: self._market(key) for key in self.listings}}

    def _market(self, key: str) -> dict[str, Any]:
        mark, interest = self.marks.get(key), self.interest.get(key)
        return {
            "clobPairId": str(list(self.listings).index(key)),
            "ticker": key,
            "status": "ACTIVE",
            "oraclePrice": native_price(mark) if mark else None,
            "priceChange24H": "0",
            "volume24H": "1",
            "trades24H": 1,
            "nextFundingRate": "0",
            "initialMarginFraction": "0.02",
            "maintenanceMarginFraction": "0.012",
            "openInterest": native_coins(interest) if interest else "0",
            "atomicResolution": -10,
            "quantumConversionExponent": -9,
            "tickSize": "0.1",
            "stepSize": "0.0001",
            "stepBaseQuantums": 1000000,
            "subticksPerTick": 100000,
            "marketType": "CROSS",
            "baseOpenInterest": "7",
        }


def _push(channel: str, native_id: str, contents: Any) -> Message:
    name = {"channel": channel} | ({"id": native_id} if native_id else {})
    content = {"type": "channel_data", **name, "version": "2.1.0", "contents": contents}
    return Message(":".join(name.values()), json.dumps(content))


def _trade(event: Trade | Liquidation) -> dict[str, Any]:
    if isinstance(event, Trade):
        bought, kind, number = event.aggressor > 0, "LIMIT", event.trade_id
    else:
        bought, kind, number = event.side == 1, "LIQUIDATED", event.liquidation_id  # a short is bought back
    return {
        "id": f"{number:0>24}",
        "side": "BUY" if bought else "SELL",
        "size": native_coins(event),
        "price": native_price(event),
        "type": kind,
        "createdAt": _iso(event.time_ns),
        "createdAtHeight": "1",
    }


def _levels(side: Iterable[Level], listing: Listing) -> list[dict[str, str]]:
    return [{"price": plain(price * listing.units), "size": plain(size / listing.coin)} for price, size in side]


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


EMULATOR = DydxEmulator
