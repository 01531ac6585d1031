"""The emulator's loopback server: every venue under the names of its real hosts, with faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiohttp import WSMsgType, web

from forcedmove_server.collectors.records import Event, Trade
from tests.emulator.faults import Fault, FaultPlan
from tests.emulator.venue import Content, EmulatedSession, EmulatedVenue, RestRequest

_GIANT_BYTES = 17 * 2**20
_STALL_S = 1.0
_SKEW_NS = 60 * 10**9
_VENUE_FAULT_S = 2.0
#: a connection that ends sooner was not yet fed, and its gap was announced with the one before
_SETTLED_S = 3.0


class _Connection:
    """One websocket, its session, and what waits to be sent."""

    def __init__(self, session: EmulatedSession, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.session, self.request, self.socket = session, request, socket
        self.waiting: asyncio.Queue[tuple[Content, Fault | None]] = asyncio.Queue()
        self.dead = False  # half open: says nothing, answers nothing
        self.opened = time.monotonic()

    def send(self, contents: Iterable[Content], fault: Fault | None = None) -> None:
        for content in contents:
            self.waiting.put_nowait((content, fault))

    def abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


class EmulatorServer:
    """Serves emulated venues on a loopback port; use as an async context manager.

    ``urls`` is what collectors are told to use instead of the real hosts. ``delivered`` counts faults that happened.
    """

    def __init__(self, venues: Iterable[EmulatedVenue], plan: FaultPlan | None = None) -> None:
        self.venues = {venue.collector.name: venue for venue in venues}
        self.plan = plan or FaultPlan()
        self.faults: Counter[Fault] = Counter()
        #: when a connection with subscriptions ended by a fault: venue, fault, Unix nanoseconds
        self.ended: list[tuple[str, Fault, int]] = []
        self._by_host = {host: venue for venue in self.venues.values() for host in venue.hosts}
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
                connection.send(connection.session.deliver(message), fault)

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
        self.faults[fault] += 1
        match fault:
            case Fault.DROP:
                self._note_end(connection, fault)
                connection.abort()
            case Fault.HALF_OPEN:
                self._note_end(connection, fault)
                connection.dead = True
            case _:
                connection.send([b""], fault)

    def _note_end(self, connection: _Connection, fault: Fault) -> None:
        settled = time.monotonic() - connection.opened > _SETTLED_S
        if connection.session.topics and settled and not connection.dead:
            self.ended.append((connection.session.venue.collector.name, fault, time.time_ns()))

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
                    await socket.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    connection.send(connection.session.receive(message.data))
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
            content, fault = await connection.waiting.get()
            if connection.dead:
                continue
            if fault is not None and fault not in (Fault.CLOSE, Fault.HALF_MESSAGE, Fault.GIANT):
                self.faults[fault] += 1
            if fault in (Fault.CLOSE, Fault.HALF_MESSAGE, Fault.GIANT):
                self._note_end(connection, fault)
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
                    await connection.socket.send_bytes(b"[" + b" " * _GIANT_BYTES + b"]")
                    continue
                case Fault.STALL:
                    await asyncio.sleep(_STALL_S)
                case Fault.GARBAGE:
                    await _send(connection.socket, self.plan.garbage())
                case Fault.SLOW_DRIP:
                    await _drip(connection, content)
                    continue
            await _send(connection.socket, content)
            if fault is Fault.DUPLICATE:
                await _send(connection.socket, content)
            if swapped is not None:
                await _send(connection.socket, swapped)
                swapped = None


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
