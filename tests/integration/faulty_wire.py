"""A connection on loopback that can be cut, held up, and led to another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class FaultyWire:
    """Forwards bytes between clients and the port ``to``."""

    def __init__(self, to: int) -> None:
        self.to, self.port = to, 0
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    def cut(self) -> None:
        """Lose every connection at once, with what is on its way."""
        for writer in list(self._open):
            writer.transport.abort()

    def stall(self) -> None:
        """Let nothing through from now on."""
        self._flows.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:  # no server there just now
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forward(reader, far_writer))
                tasks.create_task(self._forward(far_reader, writer))
        except* OSError:
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while content := await source.read(1 << 16):
            await self._flows.wait()
            target.write(content)
            await target.drain()
        raise ConnectionResetError


@asynccontextmanager
async def faulty_wire(to: int) -> AsyncIterator[FaultyWire]:
    """Open one; its ``port`` is what clients connect to."""
    wire = FaultyWire(to)
    server = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        wire.flow()
        server.close()
        wire.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()
