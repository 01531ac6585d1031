"""Crypto.com Exchange v1 (https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html): figures are text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.cryptocom import CryptoCom
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
)

_KINDS = ("trade", "ticker", "mark", "book")


class CryptoComSession(EmulatedSession):
    """Channels by name; whoever leaves a heartbeat unanswered is not served any more."""

    venue: CryptoComEmulator

    def __init__(self, venue: EmulatedVenue, host: str, path: str) -> None:
        super().__init__(venue, host, path)
        self._unanswered: set[int] = set()
        self._heartbeats = 1_587_523_073_344

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["method"] == "public/respond-heartbeat":
            self._unanswered.discard(request["id"])
            return ()
        channels = request["params"]["channels"]
        answer = {"id": request["id"], "method": request["method"]}
        wrong = [channel for channel in channels if not self._exists(channel)]
        if wrong:
            return (json.dumps({**answer, "code": 40003, "message": "Unknown symbol", "channel": wrong[0]}),)
        if request["method"] == "unsubscribe":
            self.topics -= set(channels)
            return (json.dumps({**answer, "code": 0}),)
        self.topics |= set(channels)
        return [json.dumps({**answer, "code": 0}), *self.venue.snapshots(channels)]

    def keepalive(self) -> Sequence[Content]:
        self._heartbeats += 1
        self._unanswered.add(self._heartbeats)
        return (json.dumps({"id": self._heartbeats, "method": "public/heartbeat", "code": 0}),)

    def deliver(self, message: Message) -> Sequence[Content]:
        return () if len(self._unanswered) > 5 else super().deliver(message)

    def _exists(self, channel: str) -> bool:
        kind, key, *depth = channel.split(".")
        return kind in _KINDS and key in self.venue.listings and depth == (["50"] if kind == "book" else [])


class CryptoComEmulator(EmulatedVenue):
    """USD perpetuals."""

    collector = CryptoCom
    hosts = frozenset({"stream.crypto.com", "api.crypto.com"})
    session = CryptoComSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol}USD-PERP" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/exchange/v1/public/get-instruments":
                return Answer(_rest("public/get-instruments", [*map(_instrument, self.listings), _SPOT]))
            case "/exchange/v1/public/get-tickers":
                rows = [_ticker(key, 1_790_000_000_000, self.interest.get(key)) for key in self.listings]
                rows.append({"i": "BTC_USDT", "a": "60000", "b": "59999", "k": "60001", "t": 1_790_000_000_000})
                return Answer(_rest("public/get-tickers", rows))
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            return (_push(f"trade.{key}", key, [_trade(event)]),)
        if isinstance(event, Mark):
            return (_push(f"mark.{key}", key, [{"v": native_price(event), "t": at}]),)
        if isinstance(event, OpenInterest):
            return (_push(f"ticker.{key}", key, [_ticker(key, at, event)]),)
        if isinstance(event, Book):
            return (_push(f"book.{key}.50", key, [self._book(event, self.next_number(f"book {key}"))]),)
        assert isinstance(event, Liquidation), event
        return ()

    def snapshots(self, channels: Iterable[str]) -> list[Content]:
        """What follows the acceptance of a subscription."""
        found = []
        for channel in channels:
            kind, key, *_ = channel.split(".")
            if kind == "trade":
                found.append(_push(channel, key, [_trade(one) for one in reversed(self.recent[key])]))
            elif kind == "book" and key in self.books:
                found.append(_push(channel, key, [self._book(self.books[key], self.numbers[f"book {key}"])]))
            elif kind == "ticker" and key in self.interest:
                interest = self.interest[key]
                found.append(_push(channel, key, [_ticker(key, milliseconds(interest.time_ns), interest)]))
            elif kind == "mark" and key in self.marks:
                mark = self.marks[key]
                found.append(_push(channel, key, [{"v": native_price(mark), "t": milliseconds(mark.time_ns)}]))
        return [message.content for message in found]

    def _book(self, book: Book, number: int) -> dict[str, Any]:
        at = milliseconds(book.time_ns)
        sides = {"asks": [_level(book, one) for one in book.asks], "bids": [_level(book, one) for one in book.bids]}
        return {**sides, "t": at, "tt": at - 3, "u": number * 160, "cs": 0}


_SPOT = {
    "symbol": "BTC_USDT",
    "inst_type": "CCY_PAIR",
    "base_ccy": "BTC",
    "quote_ccy": "USDT",
    "price_tick_size": "0.01",
    "qty_tick_size": "0.00001",
    "max_leverage": "50",
    "tradable": True,
    "expiry_timestamp_ms": 0,
}


def _trade(event: Trade) -> dict[str, Any]:
    return {
        "d": str(4_611_686_018_428_000_000 + int(event.trade_id)),
        "t": milliseconds(event.time_ns),
        "tn": event.time_ns,
        "q": native_contracts(event),
        "p": native_price(event),
        "s": "BUY" if event.aggressor > 0 else "SELL",
        "i": event.listing.native_id,
        "m": "0",
    }


def _ticker(key: str, at: int, interest: OpenInterest | None) -> dict[str, Any]:
    row = {"h": "61000", "l": "59000", "a": "60000", "i": key, "v": "1", "vv": "60000", "b": "59999", "k": "60001"}
    return {**row, "oi": native_contracts(interest) if interest else "0", "t": at}


def _level(book: Book, level: Level) -> list[str]:
    return [plain(level[0] * book.listing.units), plain(level[1] / book.listing.contract), "2"]


def _push(subscription: str, key: str, rows: list[Any]) -> Message:
    result = {"channel": subscription.split(".")[0], "subscription": subscription, "instrument_name": key}
    push = {"id": -1, "method": "subscribe", "code": 0, "result": {**result, "data": rows}}
    return Message(subscription, json.dumps(push))


def _rest(method: str, rows: list[Any]) -> dict[str, Any]:
    return {"id": -1, "method": method, "code": 0, "result": {"data": rows}}


def _instrument(key: str) -> dict[str, Any]:
    coin = key.removesuffix("USD-PERP")
    return {
        "symbol": key,
        "inst_type": "PERPETUAL_SWAP",
        "display_name": f"{coin}USD Perpetual",
        "base_ccy": coin,
        "quote_ccy": "USD",
        "quote_decimals": 1,
        "quantity_decimals": 4,
        "price_tick_size": "0.1",
        "qty_tick_size": "0.0001",
        "max_leverage": "50",
        "tradable": True,
        "expiry_timestamp_ms": 0,
        "underlying_symbol": f"{coin}USD-INDEX",
        "contract_size": "1",
    }


EMULATOR = CryptoComEmulator
