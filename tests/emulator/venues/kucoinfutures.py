"""KuCoin Futures, classic websocket (https://www.kucoin.com/docs-new/3470084w0) and its REST calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.kucoinfutures import KucoinFutures
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

_TOPICS = ("/contractMarket/execution", "/contract/instrument", "/contractMarket/level2Depth50")
_MULTIPLIERS = {"XBTUSDTM": 0.001, "ETHUSDTM": 0.01, "SOLUSDTM": 0.1}
_COINS = {"BTC": "XBT"}


class KucoinSession(EmulatedSession):
    """A topic names many symbols after its colon; every request has an id, which its answer repeats."""

    venue: KucoinEmulator

    def greeting(self) -> Sequence[Content]:
        return (json.dumps({"id": "c-1", "type": "welcome"}),)

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if request["type"] == "ping":
            return (json.dumps({"id": request["id"], "type": "pong", "timestamp": 1_790_000_000_000_000}),)
        kind, _, symbols = request["topic"].partition(":")
        names = symbols.split(",")
        if kind not in _TOPICS or not set(names) <= set(self.venue.listings) or len(names) > 100:
            refusal = {"id": request["id"], "type": "error", "code": 404}
            return (json.dumps({**refusal, "data": f"topic {request['topic']} is not found"}),)
        topics = {f"{kind}:{name}" for name in names}
        self.topics = self.topics | topics if request["type"] == "subscribe" else self.topics - topics
        return (json.dumps({"id": request["id"], "type": "ack"}),) if request["response"] else ()


class KucoinEmulator(EmulatedVenue):
    """Linear and inverse perpetuals."""

    collector = KucoinFutures
    hosts = frozenset({"ws-api-futures.kucoin.com", "api-futures.kucoin.com", "api.kucoin.com"})
    session = KucoinSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        coins = [_COINS.get(symbol, symbol) for symbol in symbols]
        return [f"{coin}USDTM" for coin in coins] + [f"{coin}USDM" for coin in coins if coin in ("XBT", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.method, request.host, request.path:
            case "POST", "api-futures.kucoin.com", "/api/v1/bullet-public":
                server = {
                    "endpoint": "wss://ws-api-futures.kucoin.com/",
                    "encrypt": True,
                    "protocol": "websocket",
                    "pingInterval": 18000,
                    "pingTimeout": 10000,
                }
                return Answer({"code": "200000", "data": {"token": "2neAiu+YA==.sig==", "instanceServers": [server]}})
            case "GET", "api-futures.kucoin.com", "/api/v1/contracts/active":
                return Answer({"code": "200000", "data": [_contract(key) for key in self.listings]})
            case "GET", "api.kucoin.com", "/api/v3/currencies":
                return Answer({"code": "200000", "data": []})  # ccxt asks whether it needs them or not
            case "GET", "api.kucoin.com", "/api/ua/v1/market/open-interest":
                return Answer({"code": "200000", "data": [_open_interest(one) for one in self.interest.values()]})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            number = 1_794_100_537_000 + 7 * self.next_number(key)
            content: dict[str, Any] = {"symbol": key, "sequence": number, "size": int(native_contracts(event))}
            content |= {"side": "buy" if event.aggressor > 0 else "sell", "price": native_price(event)}
            content |= {"takerOrderId": "247822202957807616", "makerOrderId": "247822167163555840"}
            content |= {"tradeId": str(number), "ts": event.time_ns}
            return (_push(f"/contractMarket/execution:{key}", "match", content),)
        if isinstance(event, Mark):
            price = float(native_price(event))
            content = {"markPrice": price, "indexPrice": price, "granularity": 1000, "timestamp": at}
            return (_push(f"/contract/instrument:{key}", "mark.index.price", content),)
        if isinstance(event, Book):
            content = {"sequence": self.next_number(f"book {key}"), "timestamp": at, "ts": at}
            content |= {"bids": _levels(event, event.bids), "asks": _levels(event, event.asks)}
            return (_push(f"/contractMarket/level2Depth50:{key}", "level2", content),)
        assert isinstance(event, OpenInterest | Liquidation), event
        return ()


def _push(topic: str, subject: str, content: dict[str, Any]) -> Message:
    message = {"topic": topic, "type": "message", "subject": subject, "sn": 1, "data": content}
    return Message(topic, json.dumps(message))


def _levels(event: Book, side: Sequence[tuple[float, float]]) -> list[list[Any]]:
    listing = event.listing
    return [[plain(price * listing.units), round(size / listing.contract)] for price, size in side]


def _open_interest(event: OpenInterest) -> dict[str, Any]:
    key = event.listing.native_id
    return {"symbol": key, "openInterest": native_contracts(event), "ts": milliseconds(event.time_ns)}


def _contract(key: str) -> dict[str, Any]:
    inverse = key not in _MULTIPLIERS
    coin = key.removesuffix("USDM" if inverse else "USDTM")
    return {
        "symbol": key,
        "rootSymbol": coin if inverse else "USDT",
        "type": "FFWCSX",
        "firstOpenDate": 1585555200000,
        "expireDate": None,
        "baseCurrency": coin,
        "quoteCurrency": "USD" if inverse else "USDT",
        "settleCurrency": coin if inverse else "USDT",
        "maxOrderQty": 1000000,
        "maxPrice": 1000000.0,
        "lotSize": 1,
        "tickSize": 0.1,
        "multiplier": -1.0 if inverse else _MULTIPLIERS[key],
        "makerFeeRate": 0.0002,
        "takerFeeRate": 0.0006,
        "isInverse": inverse,
        "status": "Open",
        "openInterest": "9295921",
        "markPrice": 39995.94,
        "nextFundingRateTime": 10561278,
        "maxLeverage": 125,
    }


EMULATOR = KucoinEmulator
