"""Deribit JSON-RPC (https://docs.deribit.com/articles/notifications): amounts in US dollars, or in coins (linear)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.deribit import Deribit
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    milliseconds,
    native_price,
)

_SIZES = {"BTC-PERPETUAL": 10.0, "ETH-PERPETUAL": 1.0}
_SIZES |= {"BTC_USDC-PERPETUAL": 0.001, "ETH_USDC-PERPETUAL": 0.01, "SOL_USDC-PERPETUAL": 0.1}


class DeribitSession(EmulatedSession):
    """Channels by name; the answer lists those that exist. Tickers and books begin with what they are."""

    venue: DeribitEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        method = request["method"]
        if method == "public/test":
            return (_answer(request["id"], {"version": "1.2.26"}),)
        if method not in ("public/subscribe", "public/unsubscribe"):
            error = {"code": -32601, "message": "Method not found"}
            return (json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}),)
        known = [channel for channel in request["params"]["channels"] if self._exists(channel)]
        if method == "public/unsubscribe":
            self.topics -= set(known)
            return (_answer(request["id"], known),)
        self.topics |= set(known)
        snapshots = (self.venue.snapshot(channel) for channel in known)
        return [_answer(request["id"], known), *filter(None, snapshots)]

    def _exists(self, channel: str) -> bool:
        parts = channel.split(".")
        kinds = (["trades", "100ms"], ["ticker", "100ms"], ["book", "none", "20", "100ms"])
        return len(parts) > 2 and parts[1] in self.venue.listings and parts[:1] + parts[2:] in kinds

    def keepalive(self) -> Sequence[Content]:
        return (json.dumps({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}),)


class DeribitEmulator(EmulatedVenue):
    """Inverse perpetuals of BTC and ETH, linear ones in USDC."""

    collector = Deribit
    hosts = frozenset({"www.deribit.com"})
    session = DeribitSession
    numbered = True

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        linear = [f"{symbol}_USDC-PERPETUAL" for symbol in symbols]
        return linear + [f"{symbol}-PERPETUAL" for symbol in symbols if symbol in ("BTC", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/api/v2/public/get_instruments":
                option = {**_instrument("BTC-PERPETUAL"), "kind": "option", "settlement_period": "day"}
                option |= {"instrument_name": "BTC-26MAR27-70000-C", "strike": 70000.0, "option_type": "call"}
                return Answer(json.loads(_answer(None, [*map(_instrument, self.listings), option])))
            case "/api/v2/public/get_currencies":
                coins = [{"currency": "BTC", "currency_long": "Bitcoin", "fee_precision": 4, "min_confirmations": 1}]
                return Answer(json.loads(_answer(None, coins)))
            case "/api/v2/public/get_book_summary_by_currency":
                settled = request.query["currency"]
                wanted = [key for key in self.listings if _settlement(key) == settled]
                return Answer(json.loads(_answer(None, [self._summary(key) for key in wanted])))
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade | Liquidation):
            number = self.next_number(f"trade {key}")
            return (_push(f"trades.{key}.100ms", [_trade(event, number)]),)
        if isinstance(event, Mark | OpenInterest):
            mark = event if isinstance(event, Mark) else self.marks.get(key)
            interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
            return (_push(f"ticker.{key}.100ms", _ticker(event, mark, interest)),)
        assert isinstance(event, Book), event
        return (_push(f"book.{key}.none.20.100ms", self._book(event, self.next_number(f"book {key}"))),)

    def snapshot(self, channel: str) -> Content | None:
        """What follows the acceptance of a channel."""
        kind, key = channel.split(".")[:2]
        if kind == "book" and key in self.books:
            return _push(channel, self._book(self.books[key], self.numbers[f"book {key}"])).content
        if kind == "ticker" and key in self.marks:
            return _push(channel, _ticker(self.marks[key], self.marks[key], self.interest.get(key))).content
        return None

    def _book(self, book: Book, number: int) -> dict[str, Any]:
        content = {"timestamp": milliseconds(book.time_ns), "instrument_name": book.listing.native_id}
        sides = {"bids": book.bids, "asks": book.asks}
        return {**content, "change_id": number, **{side: [_level(book, one) for one in sides[side]] for side in sides}}

    def _summary(self, key: str) -> dict[str, Any]:
        mark, interest = self.marks.get(key), self.interest.get(key)
        return {
            "instrument_name": key,
            "open_interest": _amount(interest.quantity, interest) if interest else 0.0,
            "mark_price": float(native_price(mark)) if mark else 0.0,
            "creation_timestamp": milliseconds(mark.time_ns) if mark else 1_790_000_000_000,
            "volume_usd": 1e6,
            "mid_price": None,
            "base_currency": key.split("-")[0].split("_")[0],
            "quote_currency": "USD",
        }


def _trade(event: Trade | Liquidation, number: int) -> dict[str, Any]:
    """A liquidated long is the taker that sells here, a liquidated short the maker that buys."""
    content = {
        "trade_seq": number,
        "trade_id": f"{event.listing.instrument.base}-{number}",
        "timestamp": milliseconds(event.time_ns),
        "tick_direction": 0,
        "price": float(native_price(event)),
        "mark_price": float(native_price(event)),
        "instrument_name": event.listing.native_id,
        "index_price": float(native_price(event)),
        "amount": _amount(event.quantity, event),
        "contracts": event.quantity / event.listing.contract,
    }
    if isinstance(event, Trade):
        return {**content, "direction": "buy" if event.aggressor > 0 else "sell"}
    return {**content, "direction": "buy" if event.side == 1 else "sell", "liquidation": "T"}


def _ticker(event: Event, mark: Mark | None, interest: OpenInterest | None) -> dict[str, Any]:
    return {
        "timestamp": milliseconds(event.time_ns),
        "state": "open",
        "instrument_name": event.listing.native_id,
        "open_interest": _amount(interest.quantity, interest) if interest else 0.0,
        "mark_price": float(native_price(mark)) if mark else 0.0,
        "last_price": None,
        "stats": {"volume": None, "price_change": None},
    }


def _level(book: Book, level: Level) -> list[float]:
    return [level[0] * book.listing.units, _amount(level[1], book)]


def _amount(quantity: float, event: Event) -> float:
    return quantity if event.listing.inverse else round(quantity / event.listing.coin, 9)


def _push(channel: str, content: Any) -> Message:
    params = {"channel": channel, "data": content}
    return Message(channel, json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}))


def _answer(request_id: int | None, result: Any) -> str:
    content = {"jsonrpc": "2.0", "result": result, "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False}
    return json.dumps(content if request_id is None else {**content, "id": request_id})


def _settlement(key: str) -> str:
    coin, _, quote = key.split("-")[0].partition("_")
    return quote or coin


def _instrument(key: str) -> dict[str, Any]:
    coin, _, quote = key.split("-")[0].partition("_")
    return {
        "kind": "future",
        "instrument_name": key,
        "instrument_type": "linear" if quote else "reversed",
        "future_type": "linear" if quote else "reversed",
        "settlement_period": "perpetual",
        "base_currency": coin,
        "quote_currency": quote or "USD",
        "counter_currency": quote or "USD",
        "settlement_currency": quote or coin,
        "contract_size": _SIZES[key],
        "min_trade_amount": _SIZES[key],
        "tick_size": 0.5,
        "max_leverage": 50,
        "maker_commission": 0.0,
        "taker_commission": 0.0005,
        "is_active": True,
        "creation_timestamp": 1_534_167_754_000,
        "expiration_timestamp": 32_503_708_800_000,
    }


EMULATOR = DeribitEmulator
