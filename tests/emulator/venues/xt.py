"""XT.COM futures (https://doc.xt.com/docs/futures/WebsocKetV2/General_WSS_information): sizes are contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.xt import Xt
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
    rows,
)

_CHANNELS = ("trade", "mark_price", "depth")
_SIZES = {"btc_usdt": "0.0001", "eth_usdt": "0.01", "ltc_usdt": "0.1", "btc_usd": "100", "eth_usd": "10"}


class XtSession(EmulatedSession):
    """Many topics a request; the ping and the pong are text."""

    venue: XtEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        if message == "ping":
            return ("pong",)
        request = json.loads(message)
        answer = {"code": 0, "msg": "success", "id": request["id"], "sessionId": "rs-1"}
        for topic in request["params"]:
            channel, _, symbol = topic.partition("@")
            if channel not in _CHANNELS:
                return (json.dumps({**answer, "code": 1, "msg": f"args error: {topic}"}),)
            if symbol.partition(",")[0] not in self.venue.listings:
                return (json.dumps({**answer, "code": 1, "msg": f"checkSymbol error, symbol:{symbol}"}),)
        named = set(request["params"])
        self.topics = self.topics | named if request["method"] == "SUBSCRIBE" else self.topics - named
        return (json.dumps(answer),)


class XtEmulator(EmulatedVenue):
    """USDT-margined and coin-margined perpetuals, of coins whose contract sizes are known without a list."""

    collector = Xt
    hosts = frozenset({"fstream.xt.com", "fapi.xt.com", "dapi.xt.com", "sapi.xt.com"})
    session = XtSession
    publishes_liquidations = False

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        wanted = [f"{symbol.lower()}_{quote}" for quote in ("usdt", "usd") for symbol in symbols]
        return [native_id for native_id in wanted if native_id in _SIZES]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.host == "sapi.xt.com" and request.path in (
            "/v4/public/symbol",
            "/v4/public/currencies",
            "/v4/public/wallet/support/currency",
        ):
            return Answer({"rc": 0, "mc": "SUCCESS", "ma": [], "result": {}})
        inverse = request.host == "dapi.xt.com"
        keys = [key for key, listing in self.listings.items() if listing.inverse == inverse]
        match request.path:
            case "/future/market/v1/public/symbol/list":
                found = [
                    *map(_symbol, keys),
                    {**_symbol("btc_usdt"), "symbol": "old_usdt", "baseCoin": "old", "tradeSwitch": False},
                ]
                return Answer({"returnCode": 0, "msgInfo": "success", "error": None, "result": found})
            case "/future/market/v1/public/cg/contracts":
                return Answer([_contract(self.interest[key]) for key in keys if key in self.interest])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            side = "BID" if event.aggressor > 0 else "ASK"
            content = {"s": key, "p": native_price(event), "a": native_contracts(event), "m": side, "t": at}
            return (_push("trade", f"trade@{key}", content),)
        if isinstance(event, Mark):
            return (_push("mark_price", f"mark_price@{key}", {"s": key, "p": native_price(event), "t": at}),)
        if isinstance(event, Book):
            levels = {"a": rows(event.asks, event.listing), "b": rows(event.bids, event.listing)}
            number = str(self.next_number(key))
            return (_push("depth", f"depth@{key},20", {"s": key, "id": number, **levels, "t": at}),)
        assert isinstance(event, OpenInterest | Liquidation), event
        return ()


def _push(topic: str, event: str, content: dict[str, Any]) -> Message:
    return Message(event, json.dumps({"topic": topic, "event": event, "data": content}))


def _contract(event: OpenInterest) -> dict[str, Any]:
    key = event.listing.native_id
    coin, quote = key.upper().split("_")
    return {
        "id": 1,
        "symbol": key,
        "ticker_id": f"{coin}-{quote}",
        "base_currency": coin,
        "target_currency": quote,
        "contractSize": float(_SIZES[key]),
        "open_interest": native_contracts(event),
        "index_price": "60000",
        "product_type": "PERPETUAL",
    }


def _symbol(key: str) -> dict[str, Any]:
    coin, quote = key.split("_")
    return {
        "id": 8,
        "symbol": key,
        "pair": key,
        "contractType": "PERPETUAL",
        "productType": "perpetual",
        "underlyingType": "COIN_BASED" if quote == "usd" else "U_BASED",
        "contractSize": _SIZES[key],
        "tradeSwitch": True,
        "isOpenApi": True,
        "state": 0,
        "baseCoin": coin,
        "quoteCoin": quote,
        "baseCoinPrecision": 8,
        "quoteCoinPrecision": 8,
        "quantityPrecision": 0,
        "pricePrecision": 1,
        "minQty": "1",
        "minNotional": "5",
        "maxNotional": "20000000",
        "makerFee": "0.0004",
        "takerFee": "0.0006",
    }


EMULATOR = XtEmulator
