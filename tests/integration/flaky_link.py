"""A TCP link between a client and a server that can be cut at any moment, with whatever is on its way lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Link:
    """Forwards connections to ``port``; ``cut`` aborts those that are open.

    ``muted``: what the server answers is lost; ``down``: nobody gets through.
    """

    def __init__(self, port: int) -> None:
        self.port, self.cuts, self.muted, self.down = port, 0, False, False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Abort all connections."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        if self.down:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers |= {writer, far_writer}
            if self.down:
                self.cut()
            await asyncio.gather(self._pipe(reader, far_writer, False), self._pipe(far_reader, writer, True))
        except OSError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """Abort all connections and wait until they are gone."""
        self.down = True
        self.cut()
        await asyncio.gather(*self._tasks)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        try:
            while chunk := await reader.read(65_536):
                if not (answers and self.muted):
                    writer.write(chunk)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)


@asynccontextmanager
async def link_to(port: int) -> AsyncIterator[tuple[Link, int]]:
    """A link to a port, and its own."""
    link = Link(port)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    try:
        yield link, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await link.close()
