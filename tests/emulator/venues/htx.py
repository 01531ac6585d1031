"""HTX swaps (https://www.htx.com/en-us/opend/newApiPages/). Every frame is gzip."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.htx import Htx
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

_NOW_MS = 1_790_000_000_000
_KINDS = {"linear-swap-ws": ("trade.detail", "depth.step6"), "swap-ws": ("trade.detail", "depth.step6")}
_KINDS |= {"ws_index": ("mark_price.1min",)}


class HtxSession(EmulatedSession):
    """Market streams answer by channel, notification streams by operation; the venue sends pings of both kinds."""

    venue: HtxEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        if "pong" in request or request.get("op") == "pong":
            return ()
        if "op" in request:
            answer = {"op": request["op"], "cid": request["cid"], "topic": request["topic"], "ts": _NOW_MS}
            known = self.path.endswith("-notification") and request["topic"] == "public.*.liquidation_orders"
            if not known:
                return (_packed({**answer, "err-code": 2011, "err-msg": "Topic is invalid"}),)
            self._keep(request["topic"], request["op"] == "sub")
            return (_packed({**answer, "err-code": 0}),)
        topic = request.get("sub") or request["unsub"]
        if not self._exists(topic):
            error = {"status": "error", "err-code": "bad-request", "err-msg": f"invalid topic {topic}"}
            return (_packed({**error, "id": request["id"], "ts": _NOW_MS}),)
        self._keep(topic, "sub" in request)
        kind = "subbed" if "sub" in request else "unsubbed"
        replies = [_packed({"id": request["id"], "status": "ok", kind: topic, "ts": _NOW_MS})]
        key = topic.split(".")[1]
        if "sub" in request and topic.endswith(".depth.step6") and key in self.venue.books:
            replies.append(_book(self.venue.books[key]))
        if "sub" in request and topic.endswith(".trade.detail") and self.venue.recent[key]:
            (last,) = self.venue.encode(self.venue.recent[key][-1])
            replies.insert(0, last.content)  # as it was sent then, and ahead of the answer
        return replies

    def keepalive(self) -> Sequence[Content]:
        if self.path.endswith("-notification"):
            return (_packed({"op": "ping", "ts": str(_NOW_MS)}),)  # text, unlike other times
        return (_packed({"ping": _NOW_MS}),)

    def deliver(self, message: Message) -> Sequence[Content]:
        if message.topic.startswith("public."):
            listing = self.venue.listings[message.topic.split(".")[1]]
            own = listing.inverse == (self.path == "/swap-notification")
            return (message.content,) if own and "public.*.liquidation_orders" in self.topics else ()
        return super().deliver(message)

    def _keep(self, topic: str, wanted: bool) -> None:
        if wanted:
            self.topics.add(topic)
        else:
            self.topics.discard(topic)

    def _exists(self, topic: str) -> bool:
        _, key, kind = topic.split(".", 2)
        listing = self.venue.listings.get(key)
        if listing is None or kind not in _KINDS.get(self.path.strip("/"), ()):
            return False
        return self.path == "/ws_index" or listing.inverse == (self.path == "/swap-ws")


class HtxEmulator(EmulatedVenue):
    """Linear and inverse swaps. Trades and open interest count both sides, liquidations and books one."""

    collector = Htx
    hosts = frozenset({"api.hbdm.com", "api.hbdm.vn", "api.huobi.pro"})
    session = HtxSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}-USDT" for s in symbols] + [f"{s}-USD" for s in symbols if s in ("BTC", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        match request.path:
            case "/v2/reference/currencies":
                return Answer({"code": 200, "data": []})
            case "/linear-swap-api/v1/swap_contract_info":
                return _ok([self._contract(key) for key, one in self.listings.items() if not one.inverse])
            case "/swap-api/v1/swap_contract_info":
                return _ok([self._contract(key) for key, one in self.listings.items() if one.inverse])
            case "/api/v1/contract_contract_info":
                dated = {
                    "symbol": "BTC",
                    "contract_code": "BTC261225",
                    "contract_type": "quarter",
                    "contract_size": 100,
                }
                dated |= {"price_tick": 0.01, "delivery_date": "20261225", "delivery_time": "1798185600000"}
                return _ok([{**dated, "create_date": "20260612", "contract_status": 1}])
            case "/linear-swap-api/v1/swap_open_interest":
                return _ok([_interest(one) for one in self.interest.values() if not one.listing.inverse])
            case "/swap-api/v1/swap_open_interest":
                return _ok([_interest(one) for one in self.interest.values() if one.listing.inverse])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            contracts = event.quantity / event.listing.contract
            row: dict[str, Any] = {
                "amount": round(2 * contracts),
                "ts": at,
                "id": 431_311_833_130_000 + int(event.trade_id),
            }
            row |= {"price": float(native_price(event)), "direction": "buy" if event.aggressor > 0 else "sell"}
            row |= {"quantity": 2 * event.quantity}
            tick = {"id": at, "ts": at, "data": [row]}
            return (_push(f"market.{key}.trade.detail", tick, at),)
        if isinstance(event, Mark):
            close = native_price(event)
            tick = {"id": at // 60_000 * 60, "open": close, "close": close, "low": close, "high": close}
            tick |= {"vol": "0", "count": "0", "amount": "0", "trade_turnover": "0"}
            return (_push(f"market.{key}.mark_price.1min", tick, at),)
        if isinstance(event, OpenInterest):
            return ()
        if isinstance(event, Liquidation):
            row = {"symbol": key.split("-")[0], "contract_code": key, "offset": "close", "created_at": at}
            row |= {"direction": "sell" if event.side == 0 else "buy", "price": float(native_price(event))}
            row |= {"volume": round(event.quantity / event.listing.contract)}
            topic = f"public.{key}.liquidation_orders"
            return (Message(topic, _packed({"op": "notify", "topic": topic, "ts": at, "data": [row]})),)
        if isinstance(event, Book):
            return (Message(f"market.{key}.depth.step6", _book(event)),)
        raise AssertionError(event)

    def _contract(self, key: str) -> dict[str, Any]:
        listing = self.listings[key]
        row = {
            "symbol": key.split("-")[0],
            "contract_code": key,
            "contract_size": listing.instrument.contract_size,
            "price_tick": 0.1,
            "delivery_time": "",
            "create_date": "20201021",
            "contract_status": 1,
        }
        if not listing.inverse:
            row |= {"delivery_date": "", "support_margin_mode": "all", "business_type": "swap", "pair": key}
            row |= {"contract_type": "swap", "trade_partition": "USDT"}
        return row


def _interest(event: OpenInterest) -> dict[str, Any]:
    contracts = event.quantity / event.listing.contract
    key = event.listing.native_id
    return {"symbol": key.split("-")[0], "contract_code": key, "volume": 2.0 * contracts, "amount": 1.0, "value": 1.0}


def _ok(data: list[Any]) -> Answer:
    return Answer({"status": "ok", "data": data, "ts": _NOW_MS})


def _packed(content: Any) -> bytes:
    return gzip.compress(json.dumps(content).encode(), 1)


def _push(channel: str, tick: dict[str, Any], at: int) -> Message:
    return Message(channel, _packed({"ch": channel, "ts": at, "tick": tick}))


def _book(book: Book) -> bytes:
    def side(found: Sequence[Level]) -> list[list[float]]:
        listing = book.listing
        return [[float(plain(price * listing.units)), round(size / listing.contract)] for price, size in found]

    at, channel = milliseconds(book.time_ns), f"market.{book.listing.native_id}.depth.step6"
    tick = {"mrid": at, "id": at // 1000, "ts": at, "version": at // 1000, "ch": channel}
    return _packed({"ch": channel, "ts": at, "tick": {**tick, "bids": side(book.bids), "asks": side(book.asks)}})


EMULATOR = HtxEmulator
