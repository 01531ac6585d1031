"""Sends trades over a loopback websocket as fast as they are taken.

``python -m tests.benchmarks.trade_sender VENUE COUNT`` prints the port, then waits for subscriptions. Messages are made
by the emulator and framed beforehand, so that the sender is never what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiohttp import WSMsgType, web

from tests.emulator.truth import Truth
from tests.emulator.venue import Content
from tests.emulator.venues import emulator_class

_CHUNK_BYTES = 1 << 16


def framed(content: Content) -> bytes:
    """A websocket frame of a server."""
    payload = content.encode() if isinstance(content, str) else content
    head = b"\x81" if isinstance(content, str) else b"\x82"
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7e" + len(payload).to_bytes(2, "big") + payload


async def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    emulator = emulator_class(name)(emulator_class(name).native_ids(("BTC", "ETH", "SOL")))
    truth = Truth(emulator.listings, 5)
    listings = list(emulator.listings.values())

    def trades() -> bytes:
        now_ns = time.time_ns()
        made = (truth.trade(listings[k % len(listings)], now_ns + k * 1_000) for k in range(count))
        return b"".join(framed(message.content) for trade in made for message in emulator.publish(trade))

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        session = emulator.session(emulator, request.match_info["host"], "/" + request.match_info["path"])
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            for answer in session.receive(message.data):
                await socket.send_str(answer) if isinstance(answer, str) else await socket.send_bytes(answer)
            if not session.topics:
                continue
            content = await asyncio.to_thread(trades)
            transport = request.transport
            assert transport is not None
            for begin in range(0, len(content), _CHUNK_BYTES):
                if transport.is_closing():
                    return socket
                transport.write(content[begin : begin + _CHUNK_BYTES])
                while transport.get_write_buffer_size() > 4 * _CHUNK_BYTES:  # noqa: ASYNC110  a transport has no event
                    await asyncio.sleep(0)
        return socket

    app = web.Application()
    app.router.add_get("/{host}/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1], "hosts": sorted(emulator.hosts)}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
