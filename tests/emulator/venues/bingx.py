"""BingX perpetual swaps (https://bingx-api.github.io/docs-v3/): every frame is gzip, sizes are coins."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.bingx import BingX
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

_CHANNELS = ("trade", "markPrice", "depth20@500ms")
_MOST_TOPICS = 200


class BingXSession(EmulatedSession):
    """One topic a request; pings are text, and have to be answered."""

    venue: BingXEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        if message == "Pong":
            return ()
        request = json.loads(message)
        topic, answer = request["dataType"], {"id": request["id"], "code": 0, "msg": "", "dataType": "", "data": None}
        native_id, _, channel = topic.partition("@")
        if channel not in _CHANNELS or native_id not in self.venue.listings:
            return (_packed({**answer, "code": 80015, "msg": "dataType not support"}),)
        if request["reqType"] == "unsub":
            self.topics.discard(topic)
        elif len(self.topics | {topic}) > _MOST_TOPICS:
            return (_packed({**answer, "code": 80403, "msg": "your topic num over max 200"}),)
        else:
            self.topics.add(topic)
        return (_packed(answer),)

    def keepalive(self) -> Sequence[Content]:
        return (gzip.compress(b"Ping"),)


class BingXEmulator(EmulatedVenue):
    """USDT perpetuals; one is paused, and a coin-margined one is listed too."""

    collector = BingX
    hosts = frozenset({"open-api-swap.bingx.com", "open-api.bingx.com"})
    session = BingXSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol}-USDT" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/openApi/swap/v2/quote/contracts":
                return Answer(
                    {"code": 0, "msg": "", "data": [*map(_contract, self.listings), _contract("OLD-USDT", 25)]}
                )
            case "/openApi/cswap/v1/market/contracts":
                coin_margined = {"symbol": "BTC-USD", "pricePrecision": 1, "minTickSize": "100", "status": 1}
                return Answer({"code": 0, "msg": "", "timestamp": 1_790_000_000_000, "data": [coin_margined]})
            case "/openApi/spot/v1/common/symbols":
                return Answer({"code": 0, "msg": "", "data": {"symbols": []}})
            case "/openApi/swap/v2/quote/openInterest":
                return self._open_interest(request.query["symbol"])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            row = {"q": native_coins(event), "p": native_price(event), "T": at, "m": event.aggressor < 0, "s": key}
            return (_push(f"{key}@trade", [row]),)
        if isinstance(event, Mark):
            content = {"e": "markPriceUpdate", "E": at, "s": key, "p": native_price(event)}
            return (_push(f"{key}@markPrice", content),)
        if isinstance(event, Book):
            units, coin = event.listing.units, event.listing.coin
            bids, asks = (
                [[plain(price * units), plain(size / coin)] for price, size in side]
                for side in (event.bids, event.asks)
            )
            return (_push(f"{key}@depth20@500ms", {"bids": bids, "asks": asks[::-1]}, ts=at),)
        assert isinstance(event, OpenInterest | Liquidation), event
        return ()

    def _open_interest(self, key: str) -> Answer:
        interest, mark = self.interest.get(key), self.marks.get(key)
        if interest is None or mark is None:
            return Answer({"code": 109425, "msg": f"{key} not exist", "data": {}})
        value = plain(interest.quantity * mark.price)
        content = {"openInterest": value, "symbol": key, "time": milliseconds(interest.time_ns)}
        return Answer({"code": 0, "msg": "", "data": content})


def _push(topic: str, content: Any, **more: int) -> Message:
    return Message(topic, _packed({"code": 0, "dataType": topic, **more, "data": content}))


def _packed(content: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(content).encode())


def _contract(key: str, status: int = 1) -> dict[str, Any]:
    coin, quote = key.split("-")
    return {
        "contractId": "100",
        "symbol": key,
        "size": "0.0001",
        "quantityPrecision": 4,
        "pricePrecision": 1,
        "makerFeeRate": 0.0002,
        "takerFeeRate": 0.0005,
        "tradeMinQuantity": 0.0001,
        "tradeMinUSDT": 2,
        "currency": quote,
        "asset": coin,
        "status": status,
        "apiStateOpen": "true",
        "apiStateClose": "true",
    }


EMULATOR = BingXEmulator
