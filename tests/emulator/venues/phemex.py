"""Phemex public websocket (https://phemex-docs.github.io/#usd-m-perpetual-websocket-api) and product lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.phemex import Phemex
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    native_contracts,
    native_price,
    plain,
)

_PACK = "perp_market24h_pack_p"
_COLUMNS = (
    "symbol",
    "openRp",
    "highRp",
    "lowRp",
    "lastRp",
    "volumeRq",
    "turnoverRv",
    "openInterestRv",
    "indexRp",
    "markRp",
    "fundingRateRr",
    "predFundingRateRr",
)


class PhemexSession(EmulatedSession):
    """JSON-RPC; one market a request. Books and trades begin with a snapshot, and books end all at once."""

    venue: PhemexEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["method"] == "server.ping":
            return (json.dumps({"error": None, "id": request["id"], "result": "pong"}),)
        channel, _, action = request["method"].rpartition(".")
        name = request["params"][0] if request["params"] else ""
        topic = f"{channel} {name}".rstrip()
        if topic not in self.venue.topics and not (action == "unsubscribe" and not name):
            error = {"code": 6001, "message": "invalid argument"}
            return (json.dumps({"error": error, "id": request["id"], "result": None}),)
        replies = [json.dumps({"error": None, "id": request["id"], "result": {"status": "success"}})]
        if action == "subscribe":
            self.topics.add(topic)
            replies += self.venue.snapshots(channel, name)
        elif name and not channel.startswith("orderbook"):
            self.topics.discard(topic)
        else:
            self.topics = {one for one in self.topics if one.partition(" ")[0] != channel}
        return replies


class PhemexEmulator(EmulatedVenue):
    """Linear contracts count coins and write decimals, coin-margined ones count dollars and write scaled integers."""

    collector = Phemex
    hosts = frozenset({"ws.phemex.com", "api.phemex.com"})
    session = PhemexSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        inverse = {"BTC": "BTCUSD", "ETH": "cETHUSD"}
        return [f"{symbol}USDT" for symbol in symbols] + [inverse[symbol] for symbol in symbols if symbol in inverse]

    @property
    def topics(self) -> set[str]:
        """Everything that can be asked for."""
        found = {_PACK, "market24h"}
        for key, listing in self.listings.items():
            suffix = "" if listing.inverse else "_p"
            found |= {f"trade{suffix} {key}", f"orderbook{suffix} {key}"}
        return found

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/public/products":
            products = [_inverse_product(key) for key, listing in self.listings.items() if listing.inverse]
            linear = [_linear_product(key) for key, listing in self.listings.items() if not listing.inverse]
            lists = {"currencies": [], "products": products, "perpProductsV2": linear}
            return Answer({"code": 0, "msg": "", "data": {**lists, "riskLimits": [], "riskLimitsV2": []}})
        if request.path == "/v1/exchange/public/products":
            return Answer({"code": 0, "msg": "OK", "data": []})
        if request.path == "/public/cfg/v2/products":
            return Answer({"code": 0, "msg": "OK", "data": {"currencies": []}})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, listing = event.listing.native_id, event.listing
        suffix = "" if listing.inverse else "_p"
        if isinstance(event, Trade):
            number = self.next_number("sequence")
            content = {"sequence": number, "symbol": key, f"trades{suffix}": [_trade(event)], "type": "incremental"}
            return (Message(f"trade{suffix} {key}", json.dumps(content)),)
        if isinstance(event, Mark | OpenInterest):
            return (self._ticker(event),)
        if isinstance(event, Book):
            before = self.books.get(key)
            self.numbers["sequence"] = self.numbers.get("sequence", 0) + 7  # shared with other markets, so it skips
            kind = "snapshot" if before is None else "incremental"
            bids, asks = event.bids, event.asks
            if before is not None:
                bids, asks = changed_levels(before.bids, bids), changed_levels(before.asks, asks)
            return (Message(f"orderbook{suffix} {key}", self._book(event, bids, asks, kind)),)
        assert isinstance(event, Liquidation), event
        return ()

    def snapshots(self, channel: str, name: str) -> list[Content]:
        """What follows the acceptance of a subscription."""
        if channel.startswith("orderbook") and name in self.books:
            book = self.books[name]
            return [self._book(book, book.bids, book.asks, "snapshot")]
        if channel.startswith("trade"):
            rows = [_trade(trade) for trade in reversed(self.recent[name])]
            field = "trades" if self.listings[name].inverse else "trades_p"
            return [json.dumps({"sequence": 1, "symbol": name, field: rows, "type": "snapshot"})]
        return []

    def _book(self, event: Book, bids: Sequence[Level], asks: Sequence[Level], kind: str) -> str:
        sides = {"asks": _levels(event.listing, asks), "bids": _levels(event.listing, bids)}
        content: dict[str, Any] = {"depth": 30, "sequence": self.numbers["sequence"], "timestamp": event.time_ns}
        content |= {"symbol": event.listing.native_id, "type": kind}
        return json.dumps({**content, "book" if event.listing.inverse else "orderbook_p": sides})

    def _ticker(self, event: Mark | OpenInterest) -> Message:
        key, listing = event.listing.native_id, event.listing
        mark = event if isinstance(event, Mark) else self.marks.get(key)
        interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
        if listing.inverse:
            ticker = {"symbol": key, "close": 1, "indexPrice": 1, "volume": 5, "fundingRate": 100}
            ticker |= {"markPrice": _scaled(mark), "openInterest": round(interest.quantity) if interest else 0}
            return Message("market24h", json.dumps({"market24h": ticker, "timestamp": event.time_ns}))
        values = dict.fromkeys(_COLUMNS, "1") | {
            "symbol": key,
            "markRp": native_price(mark) if mark else "0",
            "openInterestRv": native_contracts(interest) if interest else "0",
        }
        content: dict[str, Any] = {"data": [[values[name] for name in _COLUMNS]], "method": f"{_PACK}.update"}
        first = self.next_number("pack") == 1
        content |= {"timestamp": event.time_ns, "type": "snapshot" if first else "incremental"}
        return Message(_PACK, json.dumps(content | ({"fields": _COLUMNS} if first else {})))


def _scaled(event: Any) -> int:
    return round(float(native_price(event)) * 10_000) if event else 0


def _trade(event: Trade) -> list[Any]:
    side = "Buy" if event.aggressor > 0 else "Sell"
    if event.listing.inverse:
        return [event.time_ns, side, _scaled(event), int(native_contracts(event))]
    return [event.time_ns, side, native_price(event), native_contracts(event)]


def _levels(listing: Listing, side: Sequence[Level]) -> list[list[Any]]:
    if listing.inverse:
        return [[round(price * 10_000), round(size)] for price, size in side]
    return [[plain(price * listing.units), plain(size / listing.coin)] for price, size in side]


def _inverse_product(key: str) -> dict[str, Any]:
    coin = key.removeprefix("c").removesuffix("USD")
    return {
        "symbol": key,
        "code": 1,
        "type": "Perpetual",
        "displaySymbol": f"{coin} / USD",
        "contractUnderlyingAssets": "USD",
        "settleCurrency": coin,
        "quoteCurrency": "USD",
        "contractSize": "1 USD",
        "lotSize": 1,
        "tickSize": 0.5,
        "priceScale": 4,
        "ratioScale": 8,
        "status": "Listed",
        "maxLeverage": 100,
    }


def _linear_product(key: str) -> dict[str, Any]:
    coin = key.removesuffix("USDT")
    return {
        "symbol": key,
        "code": 41541,
        "type": "PerpetualV2",
        "displaySymbol": f"{coin} / USDT",
        "contractUnderlyingAssets": coin,
        "settleCurrency": "USDT",
        "quoteCurrency": "USDT",
        "baseCurrency": coin,
        "tickSize": "0.1",
        "priceScale": 0,
        "ratioScale": 0,
        "qtyStepSize": "0.001",
        "status": "Listed",
        "maxLeverage": 100,
    }


EMULATOR = PhemexEmulator
