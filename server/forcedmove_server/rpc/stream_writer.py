"""What one reader of a stream may have is written, in the order that it matters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forcedmove_server.errors import GoingAwayError
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.responses import bodies, going_away, numbered, pong, terms, with_request
from forcedmove_server.rpc.status import NOT_READY_RETRY_S
from forcedmove_server.rpc.subscriber import Subscriber, Taken

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, bytes]


class StreamWriter:
    """Writes to one call, from one task. Most readers are in step with the engine and have nothing of their own to say:
    those take the shortest way through here, and get bytes that are made once for all.
    """

    def __init__(self, reader: Subscriber, context: Context, hub: Hub, limits: Limits) -> None:
        self._reader, self._context, self._hub, self._limits = reader, context, hub, limits
        self._clock = time.monotonic
        self._told: Subscription | None = None
        #: the next response, ready but for its number, and those behind it
        self._body: list[bytes] | None = None
        self._bodies: Iterator[list[bytes]] = iter(())
        #: whether the newest response was shared: it left nothing to be sent
        self._took_shared = False
        #: what the responses behind it are to be made of
        self._taken: Taken | None = None
        self._heartbeat_due = self._clock() + limits.heartbeat_s

    async def run(self) -> None:
        """Write until the stream ends, and say so before where the server goes away. Raises what it ends with."""
        reader, context, clock = self._reader, self._context, self._clock
        reader.writer = task = asyncio.current_task()
        try:
            while True:  # in one coroutine: each one on the way to gRPC would cost every message
                reader.woken = False
                if message := self._next():
                    reader.writing_since = clock()
                    await context.write(message)
                    reader.writing_since = None
                    if self._took_shared and not reader.woken:  # no need to look at everything once more
                        await reader.next_wake(self._heartbeat_due)
                elif self._taken is not None:
                    await self._prepare(self._taken)
                    self._taken = None
                else:
                    await reader.wait(self._heartbeat_due, self._body is not None)
        except GoingAwayError:
            with contextlib.suppress(Exception):  # who cannot be told sees the stream end
                await context.write(going_away(NOT_READY_RETRY_S, reader.request_id))
            raise
        except asyncio.CancelledError:
            reader.raise_cut(task)
            raise

    def _next(self) -> bytes:
        """Return what is to be written now; nothing where maps have to be prepared first, or there is nothing."""
        reader = self._reader
        self._took_shared = False
        if reader.error is not None:
            raise reader.error
        if reader.subscription is not self._told:
            self._body = None  # what was wanted before is not wanted any more
            self._told = reader.subscription
            return terms(self._told, self._limits) if self._told is not None else b""
        if reader.pings:
            return pong(reader.pings.popleft(), reader.request_id)
        if self._body is None and (response := reader.take_shared(self._hub.numbers, self._limits.max_message_bytes)):
            self._took_shared = True
            if response.has_heartbeat:
                self._put_off_heartbeat()
            self._hub.traffic.sent(response.message, response.frames)
            return response.message
        if (self._body is not None or reader.has_news()) and reader.may_send():
            return self._own_maps()
        if self._clock() >= self._heartbeat_due and (alive := self._beat()):
            return with_request(reader.request_id, alive)
        return b""

    def _own_maps(self) -> bytes:
        """Return the next response that is this reader's own; nothing where it has to be prepared first."""
        reader = self._reader
        if self._body is None:
            self._taken = reader.take(self._limits.max_message_bytes)
            return b""
        body, self._body = self._body, next(self._bodies, None)
        if self._clock() >= self._heartbeat_due:
            body.append(self._beat())
        number = next(self._hub.numbers)
        message = numbered(number, body)
        reader.sends(number, len(message))
        self._hub.traffic.sent(message)
        return message

    async def _prepare(self, taken: Taken) -> None:
        reader = self._reader
        chunks = await self._hub.encode(taken.frames)
        if reader.subscription is self._told:  # another request may have come meanwhile
            # a long frame is divided as it is sent: a reader that stops holds one fragment of its own, not all of them
            self._bodies = bodies(chunks, taken.skipped, reader.request_id, self._limits.max_message_bytes)
            self._body = next(self._bodies, None)
            self._hub.traffic.frames += len(taken.frames)

    def _beat(self) -> bytes:
        """Return the field that says the stream is alive."""
        self._put_off_heartbeat()
        return self._hub.heartbeat(self._reader.flock)

    def _put_off_heartbeat(self) -> None:
        self._heartbeat_due = self._clock() + self._limits.heartbeat_s
