"""The emulator's loopback server: every venue under the names of its real hosts, with faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiohttp import WSMsgType, web

from forcedmove_server.collectors.records import Event, Trade
from tests.emulator.faults import VISIBLE_FAULTS, Fault, FaultPlan, Feed, Incident
from tests.emulator.feeds import TopicFeeds
from tests.emulator.venue import Content, EmulatedSession, EmulatedVenue, Message, RestRequest

_GIANT_BYTES = 17 * 2**20
_SKEW_NS = 60 * 10**9
_VENUE_FAULT_S = 2.0
#: before a giant keeps both sides busy, the client reads what is on its way
_FLIGHT_S = 0.01
#: a client has read what confirms a topic after this long; before that it has nothing to lose
_SETTLED_NS = 500_000_000


class _Due(NamedTuple):
    """What is to be sent: a message or a pong, with a fault; topics that it confirms."""

    content: Content
    fault: Fault | None = None
    confirms: frozenset[str] = frozenset()
    pong: bool = False


class _Connection:
    """One websocket, its session, and what waits to be sent."""

    def __init__(self, session: EmulatedSession, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.session, self.request, self.socket = session, request, socket
        self.waiting: asyncio.Queue[_Due] = asyncio.Queue()
        self.dead = False  # half open: says nothing, answers nothing
        self.over = False  # ended by a fault
        self.confirmed: dict[str, int] = {}  # topics, and when the client was told
        self.muted: frozenset[str] = frozenset()

    def send(
        self, contents: Iterable[Content], fault: Fault | None = None, confirms: frozenset[str] = frozenset()
    ) -> None:
        """Send messages; the last of them confirms topics."""
        due = [_Due(content, fault) for content in contents]
        for one in [*due[:-1], *(one._replace(confirms=confirms) for one in due[-1:])]:
            self.waiting.put_nowait(one)

    def receive(self, message: Content) -> None:
        """Let the session answer a message of the client."""
        before = frozenset(self.session.topics)
        replies = self.session.receive(message)
        for topic in before - self.session.topics:
            self.confirmed.pop(topic, None)
        self.muted &= self.session.topics
        new = frozenset(self.session.topics - before)
        self.send(replies, confirms=new if self.session.acknowledges else frozenset())

    def deliver(self, message: Message, fault: Fault | None) -> None:
        """Send a push if it is subscribed to and not muted."""
        topics, topic = self.session.topics, message.topic
        self.session.topics = topics - self.muted
        contents = self.session.deliver(message)
        self.session.topics = topics
        speaks = fault is None and topic in topics and topic not in self.confirmed
        self.send(contents, fault, frozenset({topic}) if speaks else frozenset())

    def confirm(self, topics: Iterable[str]) -> None:
        for topic in topics:
            if topic in self.session.topics:
                self.confirmed.setdefault(topic, time.time_ns())

    def settled(self, now_ns: int) -> list[str]:
        """Topics that the client has known to be fed for a while."""
        return sorted(topic for topic, at_ns in self.confirmed.items() if now_ns - at_ns > _SETTLED_NS)

    def abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


class EmulatorServer:
    """Serves emulated venues on a loopback port; use as an async context manager.

    ``urls`` is what collectors are told to use instead of the real hosts. ``faults`` counts those that happened;
    ``incidents`` are those that cut a connection or a topic of it off, which somebody has to notice.
    """

    def __init__(self, venues: Iterable[EmulatedVenue], plan: FaultPlan | None = None) -> None:
        self.venues = {venue.collector.name: venue for venue in venues}
        self.plan = plan or FaultPlan()
        self.faults: Counter[Fault] = Counter()
        self.incidents: list[Incident] = []
        self._by_host = {host: venue for venue in self.venues.values() for host in venue.hosts}
        self._feeds = {name: TopicFeeds(venue) for name, venue in self.venues.items()}
        self._same: dict[frozenset[Feed], frozenset[Feed]] = {}
        self._connections: dict[str, set[_Connection]] = {name: set() for name in self.venues}
        self._troubled: dict[tuple[str, Fault], float] = {}
        self._runner: web.AppRunner | None = None
        self._base = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def urls(self) -> dict[str, str]:
        return {host: f"{self._base}/{host}" for host in self._by_host}

    @property
    def connections(self) -> int:
        return sum(map(len, self._connections.values()))

    async def __aenter__(self) -> EmulatorServer:
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{host}/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._tasks.add(asyncio.create_task(self._every_second()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for connections in self._connections.values():
            for connection in list(connections):
                connection.abort()
        assert self._runner is not None
        await self._runner.cleanup()

    def publish(self, name: str, event: Event) -> None:
        """Send a true event to whoever subscribed to it, unless a fault is in the way."""
        venue = self.venues[name]
        if self._has(name, Fault.CLOCK_SKEW):
            event = type(event)(**{**_fields(event), "time_ns": event.time_ns + _SKEW_NS})
        for message in venue.publish(event):
            fault = self.plan.of_message(venue.numbered and isinstance(event, Trade))
            for connection in self._connections[name]:
                connection.deliver(message, fault)

    def befall(self, name: str, fault: Fault) -> None:
        """Let a fault happen to every connection of a venue."""
        for connection in list(self._connections[name]):
            self._befall(connection, fault)

    def trouble(self, name: str, fault: Fault, seconds: float) -> None:
        """Let a venue have a fault for a while."""
        self.faults[fault] += 1
        self._troubled[name, fault] = time.monotonic() + seconds

    def _has(self, name: str, fault: Fault) -> bool:
        return time.monotonic() < self._troubled.get((name, fault), 0.0)

    def _befall(self, connection: _Connection, fault: Fault) -> None:
        if connection.over:
            return
        if fault is Fault.MUTE:
            self._mute(connection)
            return
        self.faults[fault] += 1
        match fault:
            case Fault.DROP:
                self._note(connection, fault)
                connection.abort()
            case Fault.HALF_OPEN:
                self._note(connection, fault)
                connection.dead = True
            case _:
                connection.send([b""], fault)

    def _note(self, connection: _Connection, fault: Fault, lasts_s: float = math.inf) -> None:
        """Note an incident of a whole connection; one that is half open has had its own."""
        if not (connection.dead or connection.over):
            self._note_topics(connection, connection.settled(time.time_ns()), fault, lasts_s)
        connection.over = connection.over or fault in VISIBLE_FAULTS

    def _note_topics(self, connection: _Connection, topics: Iterable[str], fault: Fault, lasts_s: float) -> None:
        name = connection.session.venue.collector.name
        feeds = frozenset[Feed]().union(*(self._feeds[name].of(connection.session, topic) for topic in topics))
        # connections come and go with the same feeds: kept once, they are no growth of memory
        self.incidents.append(Incident(name, fault, time.time_ns(), self._same.setdefault(feeds, feeds), lasts_s))

    def _mute(self, connection: _Connection) -> None:
        """Mute one topic of those that may be, if there is any."""
        feeds = self._feeds[connection.session.venue.collector.name]
        audible = [
            topic
            for topic in connection.settled(time.time_ns())
            if topic not in connection.muted
            and any(channel in self.plan.mute_channels for _, channel in feeds.of(connection.session, topic))
        ]
        if audible and not connection.dead:
            topic = self.plan.source.choice(audible)
            self.faults[Fault.MUTE] += 1
            self._note_topics(connection, [topic], Fault.MUTE, math.inf)
            connection.muted |= {topic}

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for name, connections in self._connections.items():
                fault = self.plan.of_venue()
                if fault is not None:
                    self.trouble(name, fault, _VENUE_FAULT_S)
                for connection in list(connections):
                    connection.send(connection.session.keepalive())
                    fault = self.plan.of_connection()
                    if fault is not None:
                        self._befall(connection, fault)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        host, path = request.match_info["host"], "/" + request.match_info["path"]
        venue = self._by_host.get(host)
        if venue is None:
            return web.Response(status=404, text=f"no venue at {host}")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request, venue, host, path)
        name = venue.collector.name
        if self._has(name, Fault.TOO_MANY):
            return web.Response(status=429, headers={"Retry-After": "1"})
        if self._has(name, Fault.SERVER_ERROR):
            return web.Response(status=503)
        body = await request.read()
        answer = venue.answer(RestRequest(host, request.method, path, dict(request.query), body))
        if answer is None:
            return web.Response(status=404, text=f"{host} has no {path}")
        return web.Response(body=answer.encoded(), status=answer.status, content_type="application/json")

    async def _websocket(
        self, request: web.Request, venue: EmulatedVenue, host: str, path: str
    ) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=0.2)
        await socket.prepare(request)
        connection = _Connection(venue.session(venue, host, path), request, socket)
        own = self._connections[venue.collector.name]
        own.add(connection)
        connection.send(connection.session.greeting())
        writer = asyncio.create_task(self._write(connection))
        try:
            async for message in socket:
                if connection.dead:
                    continue
                if message.type is WSMsgType.PING:
                    connection.waiting.put_nowait(_Due(bytes(message.data), pong=True))
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    connection.receive(message.data)
        except ConnectionError:
            pass
        finally:
            own.discard(connection)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer
        return socket

    async def _write(self, connection: _Connection) -> None:
        """Send what waits, in order, with the faults that were ordered for it."""
        swapped: Content | None = None
        while True:
            content, fault, confirms, pong = await connection.waiting.get()
            if connection.dead:
                continue
            if pong:
                assert isinstance(content, bytes)
                await connection.socket.pong(content)
                continue
            if fault is Fault.GIANT:
                giant = _giant()
                await asyncio.sleep(_FLIGHT_S)
            if fault in VISIBLE_FAULTS:  # and was counted when it was ordered
                self._note(connection, fault)
            elif fault is not None:
                self.faults[fault] += 1
            match fault:
                case Fault.SKIP:
                    continue
                case Fault.REORDER if swapped is None:
                    swapped = content
                    continue
                case Fault.CLOSE:
                    await connection.socket.close()
                    return
                case Fault.HALF_MESSAGE:
                    _raw(connection, b"\x81\x7e\x10\x00half a message")
                    connection.abort()
                    return
                case Fault.GIANT:
                    await connection.socket.send_bytes(giant)
                    continue
                case Fault.STALL:
                    lasts_s = self.plan.stall_s()
                    self._note(connection, fault, lasts_s)
                    await asyncio.sleep(lasts_s)
                    if connection.dead:
                        continue
                case Fault.GARBAGE:
                    await _send(connection.socket, self.plan.garbage())
                case Fault.SLOW_DRIP:
                    await _drip(connection, content)
                    continue
            await _send(connection.socket, content)
            connection.confirm(confirms)
            if fault is Fault.DUPLICATE:
                await _send(connection.socket, content)
            if swapped is not None:
                await _send(connection.socket, swapped)
                swapped = None


@functools.cache
def _giant() -> bytes:
    """A message beyond all limits; to make one takes long enough to delay everybody."""
    return b"[" + b" " * _GIANT_BYTES + b"]"


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


async def _send(socket: web.WebSocketResponse, content: Content) -> None:
    if isinstance(content, str):
        await socket.send_str(content)
    else:
        await socket.send_bytes(content)


def _raw(connection: _Connection, content: bytes) -> None:
    if connection.request.transport is not None:
        connection.request.transport.write(content)


async def _drip(connection: _Connection, content: Content) -> None:
    """Send one message a few bytes at a time."""
    payload = content.encode() if isinstance(content, str) else content
    opcode = b"\x81" if isinstance(content, str) else b"\x82"
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    if len(payload) >= 2**16:
        size = b"\x7f" + len(payload).to_bytes(8, "big")
    frame = opcode + size + payload
    step = max(len(frame) // 10, 1)
    for begin in range(0, len(frame), step):
        _raw(connection, frame[begin : begin + step])
        await asyncio.sleep(0.01)
