"""Bitfinex websocket v2 (https://docs.bitfinex.com/docs/ws-general): sizes are coins, signs are sides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Level, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.bitfinex import Bitfinex
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    milliseconds,
)

_LIQUIDATIONS = "status liq:global"
_MOST_CHANNELS = 25


class BitfinexSession(EmulatedSession):
    """Each subscription gets a channel number; what is sent begins with it."""

    venue: BitfinexEmulator

    def __init__(self, venue: EmulatedVenue, host: str, path: str) -> None:
        super().__init__(venue, host, path)
        self._numbers: dict[str, int] = {}
        self._next = 1000

    def greeting(self) -> Sequence[Content]:
        return (json.dumps({"event": "info", "version": 2, "serverId": "s", "platform": {"status": 1}}),)

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        match request["event"]:
            case "ping":
                return (json.dumps({"event": "pong", "ts": 1_790_000_000_000, "cid": request["cid"]}),)
            case "subscribe":
                return self._subscribe(request)
            case "unsubscribe":
                return self._unsubscribe(request["chanId"])
        return (json.dumps({"event": "error", "msg": "unknown event", "code": 10000}),)

    def _subscribe(self, request: dict[str, Any]) -> Sequence[Content]:
        asked = {key: value for key, value in request.items() if key != "event"}
        topic = f"{request['channel']} {request.get('symbol') or request.get('key')}"
        symbol = topic.split(" ")[1].removeprefix("deriv:")
        if topic in self._numbers:
            return (json.dumps({**asked, "event": "error", "msg": "subscribe: dup", "code": 10301}),)
        if topic != _LIQUIDATIONS and symbol not in self.venue.listings:
            return (json.dumps({**asked, "event": "error", "msg": "symbol: invalid", "code": 10300}),)
        if len(self._numbers) == _MOST_CHANNELS:
            return (json.dumps({**asked, "event": "error", "msg": "subscribe: limit", "code": 10305}),)
        self._next += 7
        self._numbers[topic] = self._next
        self.topics.add(topic)
        answer = json.dumps({**asked, "event": "subscribed", "chanId": self._next, "pair": symbol[1:]})
        return [answer, *(self._under(topic, content) for content in self.venue.snapshots(topic))]

    def _unsubscribe(self, number: int) -> Sequence[Content]:
        topic = next((topic for topic, own in self._numbers.items() if own == number), None)
        if topic is None:
            return (json.dumps({"event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": number}),)
        del self._numbers[topic]
        self.topics.discard(topic)
        return (json.dumps({"event": "unsubscribed", "status": "OK", "chanId": number}),)

    def deliver(self, message: Message) -> Sequence[Content]:
        if message.topic not in self.topics:
            return ()
        assert isinstance(message.content, str)
        return (self._under(message.topic, message.content),)

    def _under(self, topic: str, content: str) -> str:
        """Put the channel number in front of what is sent under it."""
        return f"[{self._numbers[topic]},{content}]"


class BitfinexEmulator(EmulatedVenue):
    """UST-settled perpetuals."""

    collector = Bitfinex
    hosts = frozenset({"api-pub.bitfinex.com"})
    session = BitfinexSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"t{symbol}F0:USTF0" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path.startswith("/v2/conf/"):
            labels = request.path.removeprefix("/v2/conf/").split(",")
            return Answer([self._configuration(label) for label in labels])
        if request.path == "/v2/status/deriv":
            return Answer([[key, *self._status(key)] for key in self.listings if key in self.marks])
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, milliseconds(event.time_ns)
        if isinstance(event, Trade):
            row = json.dumps([event.trade_id, *_trade(event)])
            return (Message(f"trades {key}", f'"te",{row}'), Message(f"trades {key}", f'"tu",{row}'))
        if isinstance(event, Liquidation):
            amount = _coins(event, event.quantity) * (1 if event.side == 0 else -1)  # the sign of the position
            opened, number = event.price * 1.01, 170_000_000 + self.next_number("position")
            trigger = ["pos", number, at, None, key, amount, opened, None, 0, 1, None, None]
            match = ["pos", number, at, None, key, amount / 2, opened, None, 1, 1, None, event.price]
            return [Message(_LIQUIDATIONS, json.dumps([row])) for row in (trigger, match, match)]
        if isinstance(event, Mark | OpenInterest):
            mark = event if isinstance(event, Mark) else self.marks.get(key)
            interest = event if isinstance(event, OpenInterest) else self.interest.get(key)
            return (Message(f"status deriv:{key}", json.dumps(_status(at, mark, interest))),)
        assert isinstance(event, Book), event
        before = self.books.get(key)
        if before is None:
            return (Message(f"book {key}", json.dumps(_levels(event))),)
        sides = ((1, changed_levels(before.bids, event.bids)), (-1, changed_levels(before.asks, event.asks)))
        return [Message(f"book {key}", json.dumps(_level(event, s, one))) for s, found in sides for one in found]

    def snapshots(self, topic: str) -> Iterable[str]:
        """What is sent as soon as a subscription is accepted."""
        channel, _, key = topic.partition(" ")
        if channel == "trades":
            yield json.dumps([[one.trade_id, *_trade(one)] for one in reversed(self.recent[key])])
        elif channel == "book":
            yield json.dumps(_levels(self.books[key]) if key in self.books else [])
        elif key.startswith("deriv:") and key.removeprefix("deriv:") in self.marks:
            yield json.dumps(self._status(key.removeprefix("deriv:")))

    def _status(self, key: str) -> list[Any]:
        mark = self.marks[key]
        return _status(milliseconds(mark.time_ns), mark, self.interest.get(key))

    def _configuration(self, label: str) -> list[Any]:
        limits = [None, None, None, "0.0001", "100.0", None, None, None, 0.01, 0.005]
        match label:
            case "pub:info:pair":
                return [["BTCUSD", [None, None, None, "0.0001", "2000.0", None, None, None, 0.2, 0.15]]]
            case "pub:info:pair:futures":
                paper = ["TESTBTCF0:TESTUSTF0", limits]
                return [*([key[1:], limits] for key in self.listings), paper]
            case "pub:list:currency":
                return ["BTC", "BTCF0", "UST", "USTF0"]
            case "pub:map:currency:sym":
                return [["USTF0", "USDt0"]]
        return []


def _trade(event: Trade) -> list[Any]:
    return [milliseconds(event.time_ns), _coins(event, event.quantity) * event.aggressor, _price(event, event.price)]


def _status(at: int, mark: Mark | None, interest: OpenInterest | None) -> list[Any]:
    row: list[Any] = [at, None, 60000.0, 60001.0, None, 37671589.78, None, at + 3_600_000, 0.0001, 33, None, 7.5e-05]
    row += [None, None, _price(mark, mark.price) if mark else None, None, None]
    row.append(_coins(interest, interest.quantity) if interest else None)
    return [*row, None, None, None, 0.0005, 0.0025]


def _levels(book: Book) -> list[list[Any]]:
    return [_level(book, sign, one) for sign, found in ((1, book.bids), (-1, book.asks)) for one in found]


def _level(book: Book, sign: int, level: Level) -> list[Any]:
    """Price, orders, amount; a level that is gone has no orders, and an amount that tells its side."""
    price, quantity = level
    return [_price(book, price), 3 if quantity else 0, sign * (_coins(book, quantity) if quantity else 1)]


def _price(event: Event, price: float) -> float:
    return price * event.listing.units


def _coins(event: Event, quantity: float) -> float:
    return quantity / event.listing.coin


EMULATOR = BitfinexEmulator
