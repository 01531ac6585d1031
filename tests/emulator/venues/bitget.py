"""Bitget's unified account, v3 (https://www.bitget.com/docs/uta/quick-start)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.bitget import Bitget
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    milliseconds,
    native_coins,
    native_contracts,
    native_price,
    plain,
    rows,
)

#: a longer request has closed the connection without a word
_MOST_ARGS = 20


class BitgetSession(EmulatedSession):
    """One answer to each argument, then what its topic begins with."""

    venue: BitgetEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        if message == "ping":
            return ("pong",)
        request = json.loads(message)
        replies: list[Content] = []
        for arg in request["args"] if len(request["args"]) <= _MOST_ARGS else ():
            if not self.venue.has(arg):
                replies.append(json.dumps({"event": "error", "code": 30001, "msg": f"{arg} doesn't exist"}))
                continue
            replies.append(json.dumps({"event": request["op"], "arg": arg, "connId": "c"}))
            if request["op"] == "subscribe":
                self.topics.add(_topic(arg))
                replies += self.venue.beginning(arg)
            else:
                self.topics.discard(_topic(arg))
        return replies


class BitgetEmulator(EmulatedVenue):
    """USDT-M, USDC-M and coin-M perpetuals."""

    collector = Bitget
    hosts = frozenset({"ws.bitget.com", "api.bitget.com"})
    session = BitgetSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}USDT" for s in symbols] + ["BTCPERP"] + [f"{s}USD_CM" for s in symbols if s in ("BTC", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/api/v3/market/instruments":
            category = request.query["category"]
            found = [_instrument(one) for one in self.listings.values() if _product(one).upper() == category]
            return Answer({"code": "00000", "msg": "success", "requestTime": 1_760_000_000_000, "data": found})
        if request.path == "/api/v2/spot/public/coins":
            return Answer({"code": "00000", "msg": "success", "requestTime": 1_760_000_000_000, "data": []})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        listing, at = event.listing, milliseconds(event.time_ns)
        arg = {"instType": _product(listing), "topic": "", "symbol": listing.native_id}
        if isinstance(event, Trade):
            return (_push(arg, "publicTrade", "update", [_trade(event)], at),)
        if isinstance(event, Liquidation):
            value = event.quantity if listing.inverse else event.quantity * event.price
            row = {"symbol": listing.native_id, "side": "buy" if event.side == 0 else "sell"}  # the position's side
            row |= {"price": native_price(event), "amount": plain(value), "ts": str(at)}
            return (_push({"instType": arg["instType"]}, "liquidation", "update", [row], at + 900),)
        if isinstance(event, Mark | OpenInterest):
            ticker = self._ticker(listing.native_id, event)
            return (_push(arg, "ticker", "snapshot", [ticker], at),) if ticker else ()
        if isinstance(event, Book):
            before = self.books.get(listing.native_id)
            number = self.next_number(f"book {listing.native_id}")
            bids, asks = event.bids, event.asks
            if before is not None:
                bids, asks = changed_levels(before.bids, bids), changed_levels(before.asks, asks)
            content: dict[str, Any] = {"a": rows(asks, listing), "b": rows(bids, listing), "seq": 10 * number}
            content |= {"pseq": 10 * (number - 1), "ts": str(at)}
            return (_push(arg, "books", "update" if before else "snapshot", [content], at + 3),)
        raise AssertionError(event)

    def has(self, arg: dict[str, str]) -> bool:
        """Whether there is such a topic."""
        if arg["topic"] == "liquidation":
            return "symbol" not in arg and arg["instType"] in map(_product, self.listings.values())
        listing = self.listings.get(arg["symbol"])
        known = arg["topic"] in ("publicTrade", "ticker", "books")
        return known and listing is not None and _product(listing) == arg["instType"]

    def beginning(self, arg: dict[str, str]) -> list[Content]:
        """What a subscription is sent first: recent trades, the ticker, the book."""
        key, topic = arg.get("symbol", ""), arg["topic"]
        if topic == "publicTrade" and self.recent[key]:
            found = [_trade(trade) for trade in reversed(self.recent[key])]
            return [_push(arg, topic, "snapshot", found, 1_790_000_000_000).content]
        if topic == "ticker" and (ticker := self._ticker(key)):
            return [_push(arg, topic, "snapshot", [ticker], milliseconds(self.marks[key].time_ns)).content]
        if topic == "books" and (book := self.books.get(key)):
            content: dict[str, Any] = {"a": rows(book.asks, book.listing), "b": rows(book.bids, book.listing)}
            content |= {"seq": 10 * self.numbers[f"book {key}"], "pseq": 0, "ts": str(milliseconds(book.time_ns))}
            return [_push(arg, topic, "snapshot", [content], milliseconds(book.time_ns)).content]
        return []

    def _ticker(self, key: str, event: Mark | OpenInterest | None = None) -> dict[str, str] | None:
        """The whole ticker, once a mark and an open interest are known; open interest is coins of one side."""
        mark = event if isinstance(event, Mark) else self.marks.get(key)
        interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
        if mark is None or interest is None:
            return None
        coins = plain(interest.quantity / mark.price) if mark.listing.inverse else native_coins(interest)
        price = native_price(mark)
        return {"lastPrice": price, "indexPrice": price, "markPrice": price, "openInterest": coins, "deliveryTime": ""}


def _trade(trade: Trade) -> dict[str, str]:
    content = {"i": str(10**18 + int(trade.trade_id)), "p": native_price(trade), "v": native_contracts(trade)}
    side = "buy" if trade.aggressor > 0 else "sell"
    return {**content, "S": side, "T": str(milliseconds(trade.time_ns)), "isRPI": "no"}


def _product(listing: Listing) -> str:
    return "coin-futures" if listing.inverse else f"{listing.instrument.quote.lower()}-futures"


def _topic(arg: dict[str, str]) -> str:
    return f"{arg['instType']} {arg['topic']} {arg.get('symbol', '')}"


def _push(arg: dict[str, str], topic: str, action: str, content: list[Any], at: int) -> Message:
    arg = {**arg, "topic": topic}
    return Message(_topic(arg), json.dumps({"action": action, "arg": arg, "data": content, "ts": at}))


def _instrument(listing: Listing) -> dict[str, Any]:
    quote = listing.instrument.quote
    step = "1" if listing.inverse else "0.001"
    return {
        "symbol": listing.native_id,
        "category": _product(listing).upper(),
        "baseCoin": listing.native_id.removesuffix("_CM").removesuffix(quote).removesuffix("PERP"),
        "quoteCoin": quote,
        "minOrderQty": step,
        "pricePrecision": "1",
        "quantityPrecision": "0" if listing.inverse else "3",
        "priceMultiplier": "0.1",
        "quantityMultiplier": step,
        "type": "perpetual",
        "status": "online",
        "deliveryTime": "",
        "fundInterval": "8",
        "minLeverage": "1",
        "maxLeverage": "125",
    }


EMULATOR = BitgetEmulator
