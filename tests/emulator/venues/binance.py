"""Binance USD-M and COIN-M futures (https://developers.binance.com/docs/derivatives)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.binance import Binance, BinanceFutures
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
    rows,
)


class BinanceSession(EmulatedSession):
    """Streams by name, on the path that has them; others are accepted and stay silent."""

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        names = {f"{self.host}{self.path.removesuffix('/stream')}/{name}" for name in request.get("params", ())}
        if request["method"] == "SUBSCRIBE":
            self.topics |= names
        elif request["method"] == "UNSUBSCRIBE":
            self.topics -= names
        else:
            return (json.dumps({"error": {"code": 2, "msg": "Invalid request"}, "id": request.get("id")}),)
        return (json.dumps({"result": None, "id": request["id"]}),)


class BinanceEmulator(EmulatedVenue):
    """Linear perpetuals on one host, inverse ones on another."""

    collector: ClassVar[type[BinanceFutures]] = Binance
    hosts = frozenset({"fstream.binance.com", "dstream.binance.com", "fapi.binance.com", "dapi.binance.com"})
    session = BinanceSession
    numbered = True
    #: where each kind of stream is: books, the rest, and both of inverse contracts
    places: ClassVar[tuple[str, str, str]] = (
        "fstream.binance.com/public",
        "fstream.binance.com/market",
        "dstream.binance.com",
    )
    #: paths of REST calls of linear and inverse contracts
    rest: ClassVar[tuple[str, ...]] = ("/fapi/v1", "/dapi/v1")

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}USDT" for s in symbols] + [f"{s}USD_PERP" for s in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        for inverse, prefix in enumerate(self.rest):
            listings = {key: one for key, one in self.listings.items() if one.inverse == bool(inverse)}
            if request.path == f"{prefix}/exchangeInfo":
                found = [_instrument(one) for one in listings.values()]
                return Answer({"timezone": "UTC", "serverTime": 1_760_000_000_000, "symbols": found})
            if request.path == f"{prefix}/openInterest":
                interest = self.interest.get(request.query["symbol"])
                if interest is None or request.query["symbol"] not in listings:
                    return Answer({"code": -1121, "msg": "Invalid symbol."}, 400)
                content = {"symbol": interest.listing.native_id, "openInterest": native_contracts(interest)}
                return Answer({**content, "time": milliseconds(interest.time_ns)})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        listing, key, at = event.listing, event.listing.native_id, milliseconds(event.time_ns)
        content: Any
        if isinstance(event, Trade):
            number = self.next_number(f"trades {key}")
            content = {"e": "aggTrade", "E": at + 3, "a": number, "s": key, "p": native_price(event)}
            content |= {"q": native_contracts(event), "f": number, "l": number, "T": at, "m": event.aggressor < 0}
            return (self._push(listing, f"{key.lower()}@aggTrade", content),)
        if isinstance(event, Liquidation):
            order = {"s": key, "S": "SELL" if event.side == 0 else "BUY", "o": "LIMIT", "f": "IOC"}
            bankrupt = plain(event.price * listing.units * (0.99 if event.side == 0 else 1.01))
            amount = native_contracts(event)
            order |= {"q": amount, "p": bankrupt, "ap": native_price(event), "X": "FILLED", "l": "0.5", "z": amount}
            return (self._push(listing, "!forceOrder@arr", {"e": "forceOrder", "E": at + 3, "o": {**order, "T": at}}),)
        if isinstance(event, Mark):
            marks = {**self.marks, key: event}
            if listing.inverse:
                return (self._push(listing, f"{key.lower()}@markPrice@1s", _mark(event, at)),)
            content = [_mark(mark, at) for mark in marks.values() if not mark.listing.inverse]
            return (self._push(listing, self.collector.all_marks, content),)
        if isinstance(event, Book):
            number = self.next_number(f"book {key}") * 10
            content = {"e": "depthUpdate", "E": at + 3, "T": at, "s": key, "U": number - 9, "u": number}
            content |= {"pu": number - 12, "b": rows(event.bids, listing), "a": rows(event.asks, listing)}
            return (self._push(listing, f"{key.lower()}@depth20@500ms", content, book=True),)
        if isinstance(event, OpenInterest):
            return ()  # REST only
        raise AssertionError(event)

    def _push(self, listing: Listing, stream: str, content: Any, book: bool = False) -> Message:
        books, others, inverse = self.places
        place = inverse if listing.inverse else books if book else others
        return Message(f"{place}/{stream}", json.dumps({"stream": stream, "data": content}))


def _mark(mark: Mark, at: int) -> dict[str, Any]:
    price = native_price(mark)
    content = {"e": "markPriceUpdate", "E": at, "s": mark.listing.native_id, "p": price, "P": "1.5", "i": "1.25"}
    return {**content, "r": "0.00010000", "T": at + 3_600_000}


def _instrument(listing: Listing) -> dict[str, Any]:
    key, quote = listing.native_id, listing.instrument.quote
    coin = key.removesuffix("_PERP").removesuffix(quote)
    step = "1" if listing.inverse else "0.001"
    state = {"contractStatus": "TRADING", "contractSize": 100 if coin == "BTC" else 10} if listing.inverse else {}
    return {
        "symbol": key,
        "pair": f"{coin}{quote}",
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        **(state or {"status": "TRADING"}),
        "baseAsset": coin,
        "quoteAsset": quote,
        "marginAsset": coin if listing.inverse else quote,
        "pricePrecision": 2,
        "quantityPrecision": 0 if listing.inverse else 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.10", "maxPrice": "4529764", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "60000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC"],
    }


EMULATOR = BinanceEmulator
