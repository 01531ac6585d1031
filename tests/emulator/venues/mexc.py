"""MEXC futures (https://www.mexc.com/api-docs/futures/websocket-api)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.mexc import Mexc
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    milliseconds,
    native_price,
    plain,
)

_NOW_MS = 1_790_000_000_123


class MexcSession(EmulatedSession):
    """Answers say ``success`` and the kind of request, not what it was for."""

    venue: MexcEmulator
    acknowledges = False

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        method = request["method"]
        if method == "ping":
            return (_said("pong", _NOW_MS),)
        word, _, channel = method.partition(".")
        symbol = request["param"].get("symbol")
        if channel not in ("deal", "ticker", "depth.full") or symbol not in self.venue.listings:
            return (_said("rs.error", "Contract doesn't exist!"),)
        replies: list[Content] = [_said(f"rs.{method}", "success")]
        if word != "sub":
            self.topics.discard(f"{channel}:{symbol}")
            return replies
        self.topics.add(f"{channel}:{symbol}")
        if channel == "depth.full" and symbol in self.venue.books:
            replies.append(_book(self.venue.books[symbol], 7))
        return replies


class MexcEmulator(EmulatedVenue):
    """USDT perpetuals, and BTC_USD."""

    collector = Mexc
    hosts = frozenset({"contract.mexc.com", "api.mexc.com"})
    session = MexcSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}_USDT" for s in symbols] + [f"{s}_USD" for s in symbols if s == "BTC"]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/api/v1/contract/detail":
                return Answer({"success": True, "code": 0, "data": [self._detail(key) for key in self.listings]})
            case "/api/v3/exchangeInfo":
                return Answer({"timezone": "CST", "serverTime": _NOW_MS, "rateLimits": [], "symbols": []})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            row: dict[str, Any] = {"p": float(native_price(event)), "v": _contracts(event), "O": 3, "M": 2, "t": at}
            row |= {
                "T": 1 if event.aggressor > 0 else 2,
                "i": str(13_000_000_000 + int(event.trade_id)),
                "cts": str(at),
            }
            return (Message(f"deal:{key}", _said("push.deal", [row], at, key)),)
        if isinstance(event, Mark | OpenInterest):
            mark = event if isinstance(event, Mark) else self.marks.get(key)
            interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
            row = {
                "symbol": key,
                "lastPrice": 1.5,
                "indexPrice": 1.5,
                "timestamp": at,
                "volume24": 1000,
                "zone": "UTC+8",
            }
            row |= {"fairPrice": float(native_price(mark))} if mark else {}
            row |= {"holdVol": _contracts(interest)} if interest else {}
            return (Message(f"ticker:{key}", _said("push.ticker", row, at, key)),)
        if isinstance(event, Book):
            return (Message(f"depth.full:{key}", _book(event, self.next_number(f"book {key}"))),)
        assert isinstance(event, Liquidation)  # which the venue keeps to itself
        return ()

    def _detail(self, key: str) -> dict[str, Any]:
        listing = self.listings[key]
        coin, quote = key.split("_")
        return {
            "symbol": key,
            "displayNameEn": f"{key} SWAP",
            "positionOpenType": 3,
            "baseCoin": coin,
            "quoteCoin": quote,
            "settleCoin": coin if listing.inverse else quote,
            "contractSize": listing.instrument.contract_size,
            "minLeverage": 1,
            "maxLeverage": 125,
            "priceUnit": 0.5,
            "volUnit": 1,
            "minVol": 1,
            "maxVol": 1_000_000,
            "takerFeeRate": 0.0006,
            "makerFeeRate": 0.0002,
            "state": 0,
        }


def _contracts(event: Any) -> int:
    return round(event.quantity / event.listing.contract)


def _said(channel: str, data: Any, at: int = _NOW_MS, symbol: str = "") -> str:
    named = {"symbol": symbol} if symbol else {}
    return json.dumps({**named, "data": data, "channel": channel, "ts": at})


def _book(book: Book, version: int) -> str:
    def side(found: Sequence[Level]) -> list[list[float]]:
        listing = book.listing
        return [[float(plain(price * listing.units)), round(size / listing.contract), 1] for price, size in found]

    data = {"asks": side(book.asks), "bids": side(book.bids), "version": version}
    return _said("push.depth.full", data, milliseconds(book.time_ns), book.listing.native_id)


EMULATOR = MexcEmulator
