"""What one emulated venue is: true events in, its wire out.

Truth is written in the parser's own records (``forcedmove_server.collectors.records``), in model units; ``encode``
turns it into the venue's messages, with units and sides as the venue has them, written from the venue's documentation
and not from our parser.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Level, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venue import Venue

Content = str | bytes


class Message(NamedTuple):
    """One push: sessions that subscribed to ``topic`` get ``content``."""

    topic: str
    content: Content


@dataclass(frozen=True)
class RestRequest:
    """A REST call: ``host`` is the one the venue has in the world."""

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A REST answer."""

    content: Any  # encoded as JSON unless it is bytes
    status: int = 200

    def encoded(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


class EmulatedSession:
    """One websocket connection to an emulated venue.

    ``acknowledges`` says that answers tell which subscription they are of; elsewhere only what it brings confirms one.
    """

    acknowledges: ClassVar[bool] = True

    def __init__(self, venue: EmulatedVenue, host: str, path: str) -> None:
        self.venue, self.host, self.path = venue, host, path
        self.topics: set[str] = set()
        #: what it said while it was being connected to
        self.said: list[Content] = []

    def greeting(self) -> Sequence[Content]:
        """What the venue sends when a connection opens."""
        return ()

    def receive(self, message: Content) -> Sequence[Content]:
        """Answer one message of the client: subscriptions, pings, pongs."""
        raise AssertionError("a venue's session says how it answers")

    def deliver(self, message: Message) -> Sequence[Content]:
        """What this session is sent of a push: nothing unless it subscribed."""
        return (message.content,) if message.topic in self.topics else ()

    def keepalive(self) -> Sequence[Content]:
        """What the venue sends from time to time (its own pings); called about once a second."""
        return ()


class EmulatedVenue(ABC):
    """One venue. ``hosts`` are the host names it answers for; ``collector`` is the parser that is tested against it.

    ``numbered`` says that trades carry a number without holes, so that a lost message can be noticed;
    ``publishes_liquidations`` whether the public learns of them.
    """

    collector: ClassVar[type[Venue]]
    hosts: ClassVar[frozenset[str]]
    session: ClassVar[type[EmulatedSession]] = EmulatedSession
    numbered: ClassVar[bool] = False
    publishes_liquidations: ClassVar[bool] = True

    def __init__(self, native_ids: Sequence[str]) -> None:
        found = {native_id: self.collector.describe(native_id) for native_id in native_ids}
        assert all(found.values()), f"not described: {[key for key, listing in found.items() if listing is None]}"
        self.listings: dict[str, Listing] = {key: listing for key, listing in found.items() if listing}
        self.recent: dict[str, deque[Trade]] = {key: deque(maxlen=20) for key in self.listings}
        self.marks: dict[str, Mark] = {}
        self.interest: dict[str, OpenInterest] = {}
        self.books: dict[str, Book] = {}
        self.numbers: dict[str, int] = {}

    @classmethod
    @abstractmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        """Ids of this venue's perpetuals of some symbols ("BTC", "ETH"): linear, then inverse where it has them."""

    @abstractmethod
    def answer(self, request: RestRequest) -> Answer | None:
        """Answer a REST call, those of ccxt's ``load_markets`` included; None is a 404."""

    @abstractmethod
    def encode(self, event: Event) -> Sequence[Message]:
        """Turn one true event into pushes. Called once per event, after :meth:`note`."""

    def publish(self, event: Event) -> Sequence[Message]:
        """Note an event and encode it."""
        messages = self.encode(event)
        self.note(event)
        return messages

    def note(self, event: Event) -> None:
        """Keep what REST answers and snapshots need. ``encode`` still sees the state before its event."""
        key = event.listing.native_id
        if isinstance(event, Trade):
            self.recent[key].append(event)
        elif isinstance(event, Mark):
            self.marks[key] = event
        elif isinstance(event, OpenInterest):
            self.interest[key] = event
        elif isinstance(event, Book):
            self.books[key] = event

    def next_number(self, key: str) -> int:
        """Count: 1, 2, 3, ... for each key."""
        self.numbers[key] = self.numbers.get(key, 0) + 1
        return self.numbers[key]


def native_price(event: Any) -> str:
    """Price as the venue quotes it."""
    return plain(event.price * event.listing.units)


def native_contracts(event: Any) -> str:
    """Quantity in contracts (linear and inverse)."""
    return plain(event.quantity / event.listing.contract)


def native_coins(event: Any) -> str:
    """Quantity in listed coins (linear)."""
    return plain(event.quantity / event.listing.coin)


def plain(value: float) -> str:
    """A number as text, without an exponent."""
    text = f"{value:.12f}".rstrip("0").rstrip(".")
    return f"{float(f'{value:.12g}'):.12f}".rstrip("0").rstrip(".") if len(text) > 14 else text


def milliseconds(time_ns: int) -> int:
    return time_ns // 1_000_000


def changed_levels(before: tuple[Level, ...], after: tuple[Level, ...]) -> tuple[Level, ...]:
    """Levels that differ; one that is gone has quantity 0."""
    old, new = dict(before), dict(after)
    gone = [(price, 0.0) for price in old if price not in new]
    return (*gone, *((price, size) for price, size in after if old.get(price) != size))


def rows(levels: Iterable[Level], listing: Listing) -> list[list[str]]:
    """Levels as the venue has them: price and contracts as text."""
    return [[plain(price * listing.units), plain(size / listing.contract)] for price, size in levels]
