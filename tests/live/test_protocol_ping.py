"""Venues without a ping message of their own, that want pings of the websocket protocol all the same."""

from __future__ import annotations

from aiohttp import WSMsgType, web

from forcedmove_server.collectors.connection import Connection
from forcedmove_server.collectors.network import Addresses, Network, RateLimit, http_session
from tests.live.fake_venue import FakeEmulator, RecordingFeed, venue_type
from tests.live.scripted import scripted
from tests.live.waiting import eventually, running


async def test_without_an_own_ping_those_of_the_protocol_are_sent_though_data_come() -> None:
    received: list[WSMsgType] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        async for message in socket:
            received.append(message.type)
            await socket.send_str('{"op":"pong"}')
        return socket

    venue = venue_type(ping_s=0.05, own_ping="")
    async with scripted(handle) as base, http_session() as session:
        network = Network(session, Addresses({"fake.example": base}))
        listings = FakeEmulator().listings
        one = Connection(venue, venue.streams[0], listings, RecordingFeed(), network, RateLimit(100.0))
        async with running(one.run()):
            await eventually(lambda: len(received) >= 3, "three pings")
    assert set(received) <= {WSMsgType.PING, WSMsgType.CLOSE}
