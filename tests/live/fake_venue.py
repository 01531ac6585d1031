"""A venue made up for tests: every message is one JSON object, and every habit of real venues can be switched on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, ClassVar

from forcedmove_server.collectors.connection import Connection
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, Network, RateLimit, http_session
from forcedmove_server.collectors.records import (
    Book,
    Event,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Reply,
    Reset,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Stream, Topic, Venue, listing_of
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType
from tests.emulator.server import EmulatorServer
from tests.emulator.venue import Answer, Content, EmulatedSession, EmulatedVenue, Message, RestRequest
from tests.live.waiting import running

STREAM = Stream("all", "wss://fake.example/ws", ALL_CHANNELS, messages_per_s=200.0, silence_s=30.0)


class FakeVenue(Venue):
    """Four topics a market, and one of the whole market for liquidations."""

    name = "fake"
    exchanges = ()
    streams: ClassVar[tuple[Stream, ...]] = (STREAM,)
    rest_weight_per_s = 200.0
    connections_per_s = 100.0
    can_unsubscribe: ClassVar[bool] = True
    own_ping: ClassVar[str] = '{"op":"ping"}'

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        return listing_of("fake", native_id, native_id.removesuffix("USDT"), "USDT")

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        yield Topic("liquidations", (Channel.LIQUIDATIONS,))
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trades.{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"ticker.{listing.native_id}", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"book.{listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        return (json.dumps({"op": "subscribe", "topics": list(topics), "id": request_id}),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        if not self.can_unsubscribe:
            return ()
        return (json.dumps({"op": "unsubscribe", "topics": list(topics), "id": request_id}),)

    def ping(self) -> str:
        return self.own_ping

    def read(self, message: bytes) -> list[Record]:
        content = json.loads(message)
        if not isinstance(content, dict):
            raise ValueError("not an object")
        match content.get("op"):
            case "ack":
                return [Subscribed(tuple(content.get("topics", ())), content.get("id", -1))]
            case "refuse":
                return [Refused("no such topic", tuple(content["topics"]), content.get("id", -1))]
            case "ping":
                return [Reply(json.dumps({"op": "pong", "number": content["number"]}))]
            case "pong":
                return [Pong()]
            case "reset":
                return [Unknown("announcement"), Reset("maintenance")]
            case "bug":
                raise KeyError("a bug of the parser")
            case "event":
                return self._event(content["kind"], content["key"], content["fields"])
            case "events":
                return [record for one in content["events"] for record in self._event(**one)]
        return [Unknown(str(content.get("op")))]

    def _event(self, kind: str, key: str, fields: dict[str, Any]) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(key, records)
        if listing is not None:
            if kind == "Book":
                fields |= {side: tuple(map(tuple, fields[side])) for side in ("bids", "asks")}
            records.append(_KINDS[kind](listing, **fields))
        return records


_KINDS: dict[str, Any] = {one.__name__: one for one in (Trade, Mark, OpenInterest, Liquidation, Book)}


def venue_type(**changes: Any) -> type[FakeVenue]:
    """The fake venue with another stream (``topics_per_message=2``) or other habits (``can_unsubscribe=False``)."""
    of_stream = {f.name for f in dataclasses.fields(Stream)}
    stream = dataclasses.replace(STREAM, **{key: value for key, value in changes.items() if key in of_stream})
    habits = {key: value for key, value in changes.items() if key not in of_stream}
    return type("FakeVenue", (FakeVenue,), {"streams": (stream,), **habits})


class FakeSession(EmulatedSession):
    """Does what the emulator is told: answer or not, refuse, begin a book with its snapshot."""

    venue: FakeEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        request = json.loads(message)
        self.venue.received.append((time.monotonic(), request))
        own = self.venue
        match request["op"]:
            case "ping":
                return ['{"op":"pong"}'] if own.answers_pings else []
            case "unsubscribe":
                self.topics -= set(request["topics"])
                return []
            case "subscribe":
                refused = [name for name in request["topics"] if name in own.refuses]
                accepted = [name for name in request["topics"] if name not in own.refuses]
                if refused and own.refuses_by != "topics":  # all of the request, or nobody knows what
                    number = {"id": request["id"]} if own.refuses_by == "request" else {}
                    return [json.dumps({"op": "refuse", "topics": [], **number})]
                self.topics |= set(accepted)
                answers: list[Content] = []
                if refused:
                    answers.append(json.dumps({"op": "refuse", "topics": refused}))
                if own.acknowledges:
                    answers.append(json.dumps({"op": "ack", "topics": accepted}))
                books = [encoded(own.snapshots[name[5:]]) for name in accepted if name[5:] in own.snapshots]
                return [*books, *answers] if own.book_before_answer else [*answers, *books]
        return []

    def keepalive(self) -> Sequence[Content]:
        return ['{"op":"ping","number":7}'] if self.venue.pings else []


class FakeEmulator(EmulatedVenue):
    """The other side. ``received`` are all messages of all clients, with the time of their receipt."""

    hosts = frozenset({"fake.example"})
    session = FakeSession

    def __init__(self, native_ids: Sequence[str] = ("BTCUSDT", "ETHUSDT"), collector: type[Venue] = FakeVenue) -> None:
        self.collector = collector  # type: ignore[misc]
        super().__init__(native_ids)
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.refuses: set[str] = set()
        self.refuses_by = "topics"  # or "request", or "nothing"
        self.acknowledges = True
        self.answers_pings = True
        self.pings = False
        self.book_before_answer = False
        self.snapshots: dict[str, Book] = {}

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol}USDT" for symbol in symbols]

    def answer(self, request: RestRequest) -> Answer | None:
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key = event.listing.native_id
        match event:
            case Liquidation():
                topic = "liquidations"
            case Trade():
                topic = f"trades.{key}"
            case Book():
                topic = f"book.{key}"
            case _:
                topic = f"ticker.{key}"
        return [Message(topic, encoded(event))]

    def asked(self, op: str) -> list[dict[str, Any]]:
        return [request for _, request in self.received if request["op"] == op]


def encoded(event: Event) -> str:
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "listing"}
    content = {"op": "event", "kind": type(event).__name__, "key": event.listing.native_id, "fields": fields}
    return json.dumps(content)


class RecordingFeed:
    """What a connection told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lives: list[tuple[str, int, int]] = []
        self.losses: list[tuple[list[str], int, int, str]] = []
        self.malformations: list[MalformedMessage] = []
        self.unknowns: list[str] = []
        self.strangers: list[str] = []
        self.refusals: list[tuple[list[str], str]] = []
        self.out_of_step: set[str] = set()

    def event(self, event: Event, received_ns: int) -> bool:
        self.events.append(event)
        return not (isinstance(event, Book) and event.listing.native_id in self.out_of_step)

    def live(self, topic: Topic, lost_ns: int, now_ns: int) -> None:
        self.lives.append((topic.name, lost_ns, now_ns))

    def lost(self, topics: Iterable[Topic], since_ns: int, now_ns: int, reason: str) -> None:
        self.losses.append(([topic.name for topic in topics], since_ns, now_ns, reason))

    def malformed(self, error: MalformedMessage) -> None:
        self.malformations.append(error)

    def unknown(self, kind: str) -> None:
        self.unknowns.append(kind)

    def unlisted(self, native_id: str) -> None:
        self.strangers.append(native_id)

    def refused(self, topics: Iterable[Topic], reason: str) -> None:
        self.refusals.append(([topic.name for topic in topics], reason))

    def live_topics(self) -> set[str]:
        return {name for name, _, _ in self.lives}

    def trades(self) -> list[int | str]:
        return [event.trade_id for event in self.events if isinstance(event, Trade)]


@dataclasses.dataclass
class Joined:
    """A connection and the server it talks to."""

    emulator: FakeEmulator
    server: EmulatorServer
    connection: Connection
    feed: RecordingFeed
    task: asyncio.Task[None]

    @property
    def listing(self) -> Listing:
        return self.emulator.listings["BTCUSDT"]

    def publish(self, event: Event) -> None:
        self.server.publish("fake", event)

    def say(self, content: str | bytes) -> None:
        """Send something to every client, whatever it subscribed to."""
        for one in self.server._connections["fake"]:
            one.send([content])

    def trade(self, number: int, **fields: Any) -> None:
        self.publish(trade(self.listing, number, **fields))


def trade(listing: Listing, number: int, quantity: float = 1.0, **fields: Any) -> Trade:
    return Trade(listing, time.time_ns(), 60_000.0, quantity, 1, number, **fields)


@contextlib.asynccontextmanager
async def joined(
    collector: type[FakeVenue] = FakeVenue, silence_s: float | None = None, emulator: FakeEmulator | None = None
) -> AsyncIterator[Joined]:
    """A running connection with all topics of BTC."""
    emulator = emulator or FakeEmulator(("BTCUSDT", "ETHUSDT"), collector)
    feed = RecordingFeed()
    async with EmulatorServer([emulator]) as server, http_session() as session:
        network = Network(session, Addresses(server.urls))
        stream = collector.streams[0]
        connection = Connection(
            collector, stream, emulator.listings, feed, network, RateLimit(collector.connections_per_s), silence_s
        )
        connection.add(topics_of(collector, emulator, "BTCUSDT"))
        async with running(connection.run()) as task:
            yield Joined(emulator, server, connection, feed, task)


def topics_of(collector: type[FakeVenue], emulator: FakeEmulator, *native_ids: str) -> list[Topic]:
    """The topics of some markets; that of the whole market names those that the emulator has."""
    parser = collector(emulator.listings)
    found = parser.topics(collector.streams[0], [emulator.listings[key] for key in native_ids])
    everything = tuple(emulator.listings)
    return [one if one.native_ids else dataclasses.replace(one, native_ids=everything) for one in found]
