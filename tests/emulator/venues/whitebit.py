"""WhiteBIT public websocket (https://docs.whitebit.com/websocket/market-streams/overview): sizes are coins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.whitebit import WhiteBit
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    native_coins,
    native_price,
    plain,
)


class WhiteBitSession(EmulatedSession):
    """JSON-RPC. Trades of the last request only; books add up; both begin with a snapshot."""

    venue: WhiteBitEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        method, params = request["method"], request["params"]
        if method == "ping":
            return (_answer(request, "pong"),)
        channel, _, action = method.partition("_")
        if channel not in ("trades", "depth", "premiumIndex"):
            return (_answer(request, None, {"code": 4, "message": "method not found"}),)
        markets = params if channel == "trades" else params[:1]
        for market in markets:
            if market not in self.venue.listings:
                return (_answer(request, None, {"code": 9, "message": f"market {market} does not exist"}),)
        names = {f"{channel} {market}" for market in markets} or {channel}
        others = {name for name in self.topics if name.partition(" ")[0] != channel}
        if action == "unsubscribe":
            self.topics = others
            return (_answer(request, {"status": "success"}),)
        keeps = channel == "depth" and params[3]
        self.topics = names | (self.topics if keeps else others)
        return (_answer(request, {"status": "success"}), *self.venue.snapshots(channel, markets))


class WhiteBitEmulator(EmulatedVenue):
    """USDT perpetuals."""

    collector = WhiteBit
    hosts = frozenset({"wss.whitebit.com", "whitebit.com"})
    session = WhiteBitSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol}_PERP" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/api/v4/public/markets":
                return Answer([*map(_market, self.listings), {**_market("BTC_PERP"), **_SPOT}])
            case "/api/v4/public/assets":
                return Answer({})
            case "/api/v4/public/futures":
                found = [self._futures(key) for key in self.listings]
                return Answer({"success": True, "message": None, "result": found})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade):
            self.next_number("trade")
            return (Message(f"trades {key}", _push("trades", [key, [_trade(event)]])),)
        if isinstance(event, Mark):
            price = native_price(event)
            row = [key, price, "1", "0.0001", 1_790_121_600_000, _seconds(event)]
            return (Message("premiumIndex", _push("premiumIndex", [row])),)
        if isinstance(event, Book):
            before, past = self.books.get(key), self.numbers.get(f"book {key}", 0)
            self.numbers[f"book {key}"] = past + 3  # counts changes of the whole book, so it skips
            if before is None:
                return (Message(f"depth {key}", self._book(event, event.bids, event.asks)),)
            changes = {
                "bids": changed_levels(before.bids, event.bids),
                "asks": changed_levels(before.asks, event.asks),
            }
            return (Message(f"depth {key}", self._book(event, **changes, past=past)),)
        assert isinstance(event, OpenInterest | Liquidation), event
        return ()

    def snapshots(self, channel: str, markets: Sequence[str]) -> list[Content]:
        """What follows the acceptance of a subscription."""
        if channel == "trades":
            return [_push("trades", [key, [_trade(one) for one in reversed(self.recent[key])]]) for key in markets]
        if channel == "depth":
            books = [self.books[key] for key in markets if key in self.books]
            return [self._book(book, book.bids, book.asks) for book in books]
        return []

    def _book(self, event: Book, bids: Sequence[Any], asks: Sequence[Any], past: int | None = None) -> str:
        key, listing = event.listing.native_id, event.listing
        content: dict[str, Any] = {"timestamp": _seconds(event), "event_time": _seconds(event)}
        content["update_id"] = self.numbers[f"book {key}"]
        if past is not None:
            content["past_update_id"] = past
        for side, found in (("bids", bids), ("asks", asks)):
            if found:  # a side that did not change is left out
                content[side] = [[plain(p * listing.units), plain(q / listing.coin)] for p, q in found]
        return _push("depth", [past is None, content, key])

    def _futures(self, key: str) -> dict[str, Any]:
        mark, interest = self.marks.get(key), self.interest.get(key)
        return {
            "ticker_id": key,
            "stock_currency": key.removesuffix("_PERP"),
            "money_currency": "USDT",
            "product_type": "Perpetual",
            "open_interest": native_coins(interest) if interest else "0",
            "index_price": "1",
            "mark_price": native_price(mark) if mark else "",
            "max_leverage": 100,
        }


_SPOT = {"name": "BTC_USDT", "money": "USDT", "type": "spot"}


def _answer(request: dict[str, Any], result: Any, error: Any = None) -> str:
    return json.dumps({"error": error, "result": result, "id": request["id"]})


def _push(channel: str, params: list[Any]) -> str:
    return json.dumps({"method": f"{channel}_update", "params": params, "id": None})


def _seconds(event: Event) -> float:
    return event.time_ns / 1e9


def _trade(event: Trade) -> dict[str, Any]:
    side = "buy" if event.aggressor > 0 else "sell"
    amount, price = native_coins(event), native_price(event)
    return {"id": event.trade_id, "time": _seconds(event), "price": price, "amount": amount, "type": side}


def _market(key: str) -> dict[str, Any]:
    return {
        "name": key,
        "stock": key.removesuffix("_PERP"),
        "money": "PERP",
        "stockPrec": "3",
        "moneyPrec": "1",
        "feePrec": "6",
        "makerFee": "0.01",
        "takerFee": "0.055",
        "minAmount": "0.001",
        "minTotal": "5.05",
        "maxTotal": "99999999999",
        "tradesEnabled": True,
        "isCollateral": True,
        "type": "futures",
    }


EMULATOR = WhiteBitEmulator
