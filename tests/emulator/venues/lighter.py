"""Lighter (https://apidocs.lighter.xyz/docs/websocket-reference)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.lighter import Lighter
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
    native_price,
    plain,
)

_IDS = {"ETH": "0", "BTC": "1", "SOL": "2", "DOGE": "3", "PEPE": "4", "XRP": "7"}
_NAMES = {number: "1000PEPE" if symbol == "PEPE" else symbol for symbol, number in _IDS.items()}


class LighterSession(EmulatedSession):
    """One subscription a message, answered by what the channel begins with; the venue pings."""

    venue: LighterEmulator

    def greeting(self) -> Sequence[Content]:
        return ('{"session_id":"8d354239","type":"connected"}',)

    def keepalive(self) -> Sequence[Content]:
        return ('{"type":"ping"}',)

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["type"] in ("ping", "pong"):
            return ('{"type":"pong"}',) if request["type"] == "ping" else ()
        topic = request["channel"]
        kind, _, number = topic.partition("/")
        named = f"{kind}:{number}"
        known = number in self.venue.listings and kind in ("trade", "order_book", "market_stats")
        if not known and topic != "market_stats/all":
            return (_error(30005, f"Invalid Channel:  ({named})"),)
        if request["type"] == "unsubscribe":
            if topic not in self.topics:
                return (_error(30002, f"Not Subscribed to : {named}"),)
            self.topics.discard(topic)
            return (json.dumps({"type": "unsubscribed", "channel": named}),)
        if topic in self.topics:
            return (_error(30003, f"Already Subscribed to : {named}"),)
        self.topics.add(topic)
        return (self.venue.beginning(kind, number),)


class LighterEmulator(EmulatedVenue):
    """Perpetuals, addressed by number."""

    collector = Lighter
    hosts = frozenset({"mainnet.zklighter.elliot.ai"})
    session = LighterSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [_IDS[symbol] for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/api/v1/orderBookDetails":
            details = [self._detail(listing) for listing in self.listings.values()]
            return Answer({"code": 200, "order_book_details": details, "spot_order_book_details": []})
        if request.path == "/api/v1/assetDetails":
            dollar = {"asset_id": 3, "symbol": "USDC", "l1_decimals": 6, "decimals": 6, "margin_mode": "enabled"}
            limits = {"min_transfer_amount": "1.000000", "min_withdrawal_amount": "1.000000"}
            return Answer({"code": 200, "asset_details": [dollar | limits]})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        if isinstance(event, Trade):
            content: dict[str, Any] = {"trades": [_trade(event)], "liquidation_trades": []}
        elif isinstance(event, Liquidation):
            content = {"trades": [], "liquidation_trades": [_trade(event)]}
        elif isinstance(event, Book):
            return (self._changes(event),)
        else:
            mark = event if isinstance(event, Mark) else None
            interest = event if isinstance(event, OpenInterest) else None
            stats = {key: self._stats(event.listing, mark, interest)}
            return (_push("update", "market_stats", "all", {"market_stats": stats}, event.time_ns),)
        return (_push("update", "trade", key, {"nonce": self.next_number("nonce"), **content}),)

    def beginning(self, kind: str, number: str) -> Content:
        """What a subscription begins with."""
        if kind == "trade":
            past = {"trades": [_trade(trade) for trade in reversed(self.recent[number])], "liquidation_trades": []}
            return _push("subscribed", kind, number, past).content
        if kind == "order_book":
            book = self.books.get(number, Book(self.listings[number], 1_700_000_000_000_000_000, (), (), True))
            nonce = self.numbers.get(f"book {number}", 0)
            content = _book(book.listing, book.bids, book.asks, nonce, 0)
            return _push("subscribed", kind, number, {"order_book": content, "offset": 1}, book.time_ns).content
        stats = {key: self._stats(listing) for key, listing in self.listings.items()}
        return _push("subscribed", kind, number, {"market_stats": stats}).content

    def _changes(self, book: Book) -> Message:
        key, listing = book.listing.native_id, book.listing
        before = self.books.get(key, Book(listing, 0, (), (), True))
        begin = self.numbers.get(f"book {key}", 0)
        self.next_number(f"book {key}")
        nonce = self.next_number(f"book {key}")  # a nonce counts changes, and a message may have several
        bids, asks = changed_levels(before.bids, book.bids), changed_levels(before.asks, book.asks)
        content = _book(listing, bids, asks, nonce, begin)
        return _push("update", "order_book", key, {"order_book": content, "offset": 2}, book.time_ns)

    def _stats(
        self, listing: Listing, mark: Mark | None = None, interest: OpenInterest | None = None
    ) -> dict[str, Any]:
        key = listing.native_id
        mark, interest = mark or self.marks.get(key), interest or self.interest.get(key)
        stats: dict[str, Any] = {"symbol": _NAMES[key], "market_id": int(key), "daily_price_low": 1.5}
        if mark is not None:
            value = interest.quantity * mark.price if interest else 0.0  # US dollars
            stats |= {"mark_price": native_price(mark), "index_price": "1.5", "open_interest": plain(value)}
        return stats

    def _detail(self, listing: Listing) -> dict[str, Any]:
        key = listing.native_id
        interest = self.interest.get(key)
        return {
            "symbol": _NAMES[key],
            "market_id": int(key),
            "market_type": "perp",
            "base_asset_id": 0,
            "quote_asset_id": 0,
            "status": "active",
            "taker_fee": "0.0000",
            "maker_fee": "0.0000",
            "liquidation_fee": "1.0000",
            "min_base_amount": "0.0050",
            "min_quote_amount": "10.000000",
            "supported_size_decimals": 4,
            "supported_price_decimals": 2,
            "supported_quote_decimals": 6,
            "size_decimals": 4,
            "price_decimals": 2,
            "quote_multiplier": 1,
            "default_initial_margin_fraction": 500,
            "min_initial_margin_fraction": 200,
            "maintenance_margin_fraction": 120,
            "closeout_margin_fraction": 80,
            "last_trade_price": 1.5,
            "open_interest": float(native_coins(interest)) if interest else 0,
        }


def _push(kind: str, channel: str, number: str, content: dict[str, Any], time_ns: int = 0) -> Message:
    document: dict[str, Any] = {"type": f"{kind}/{channel}", "channel": f"{channel}:{number}", **content}
    if time_ns:
        document["timestamp"] = milliseconds(time_ns)
    return Message(f"{channel}/{number}", json.dumps(document))


def _error(code: int, text: str) -> str:
    return json.dumps({"error": {"code": code, "message": text}})


def _trade(event: Trade | Liquidation) -> dict[str, Any]:
    size = native_coins(event)
    if isinstance(event, Trade):
        bought, kind, number, before = event.aggressor > 0, "trade", event.trade_id, "0.0000"
    else:  # the liquidated account is the taker; a short buys
        bought, kind, number = event.side == 1, "liquidation", event.liquidation_id
        before = f"-{size}" if bought else size
    return {
        "trade_id": number,
        "trade_id_str": str(number),
        "type": kind,
        "market_id": int(event.listing.native_id),
        "size": size,
        "price": native_price(event),
        "usd_amount": plain(event.quantity * event.price),
        "ask_account_id": 1,
        "bid_account_id": 2,
        "is_maker_ask": bought,
        "block_height": 1,
        "timestamp": milliseconds(event.time_ns),
        "taker_position_size_before": before,
    }


def _book(listing: Listing, bids: Iterable[Level], asks: Iterable[Level], nonce: int, begin: int) -> dict[str, Any]:
    sides = [
        [{"price": plain(price * listing.units), "size": plain(size / listing.coin)} for price, size in side]
        for side in (asks, bids)
    ]
    return {"code": 0, "asks": sides[0], "bids": sides[1], "offset": 1, "nonce": nonce, "begin_nonce": begin}


EMULATOR = LighterEmulator
