"""The streams of maps: what a reader asks for is followed, what it may have is written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import GoingAwayError, InputError
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription, subscription_of
from forcedmove_server.rpc.responses import bodies, going_away, heartbeat, numbered, pong, terms
from forcedmove_server.rpc.status import NOT_READY_RETRY_S, guarded
from forcedmove_server.rpc.subscriber import Subscriber

logger = logging.getLogger(__name__)

#: pings that may wait for their pongs
_MOST_PINGS = 16

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, bytes]


class StreamHandlers:
    """``subscribe`` and ``watch`` of one server. Responses leave as bytes that are serialised already."""

    def __init__(self, engine: EngineService, hub: Hub, limits: Limits) -> None:
        self._engine, self._hub, self._limits = engine, hub, limits

    @guarded
    async def subscribe(self, requests: AsyncIterator[heatmap_pb2.SubscribeRequest], context: Context) -> None:
        """Stream maps until the reader leaves, as it asks for them."""
        reader = self._hub.add_reader()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(requests, reader), name="subscription requests")
                await self._write(reader, context)
        finally:
            self._leave(reader, context)

    @guarded
    async def watch(self, request: heatmap_pb2.WatchRequest, context: Context) -> None:
        """Stream maps until the reader leaves."""
        wanted = request.subscription
        if wanted.max_unacked:
            raise InputError("subscription.max_unacked", wanted.max_unacked, "must be 0: Watch has no acknowledgements")
        reader = self._hub.add_reader()
        try:
            await self._hub.subscribe(reader, subscription_of(wanted, 0, self._engine.registry, self._limits))
            await self._write(reader, context)
        finally:
            self._leave(reader, context)

    def _leave(self, reader: Subscriber, context: Context) -> None:
        self._hub.remove_reader(reader)
        logger.info("%s left its stream", context.peer())

    async def _follow(self, requests: AsyncIterator[heatmap_pb2.SubscribeRequest], reader: Subscriber) -> None:
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "ack":
                reader.acknowledge(request.ack.number)
            elif kind == "subscription":
                wanted = subscription_of(request.subscription, request.request_id, self._engine.registry, self._limits)
                await self._hub.subscribe(reader, wanted)
            elif kind == "ping":
                if len(reader.pings) >= _MOST_PINGS:
                    raise InputError("ping.nonce", request.ping.nonce, f"{_MOST_PINGS} pings wait for their pongs")
                reader.pings.append(request.ping.nonce)
                reader.wake()
            else:
                raise InputError("request", None, "set subscription, ack or ping: this server knows no other kind")

    async def _write(self, reader: Subscriber, context: Context) -> None:
        try:
            await self._write_all(reader, context)
        except GoingAwayError:
            with contextlib.suppress(Exception):  # who cannot be told sees the stream end
                await self._send(reader, context, going_away(NOT_READY_RETRY_S, reader.request_id))
            raise

    async def _write_all(self, reader: Subscriber, context: Context) -> None:
        clock, limits, traffic = asyncio.get_running_loop().time, self._limits, self._hub.traffic
        heartbeat_due = clock() + limits.heartbeat_s
        told: Subscription | None = None
        outbox: deque[bytes] = deque()
        while True:
            reader.raise_error()
            subscription = reader.subscription
            if subscription is not None and subscription is not told:
                outbox.clear()  # what was wanted before is not wanted any more
                told = subscription
                await self._send(reader, context, terms(subscription, limits))
            elif reader.pings:
                await self._send(reader, context, pong(reader.pings.popleft(), reader.request_id))
            elif clock() >= heartbeat_due:
                if (tick := self._hub.tick) is not None:
                    heads = {symbol: topic.latest for symbol, topic in reader.topics.items()}
                    alive = heartbeat(tick, self._engine.missed_ticks, reader.request_id, heads)
                    await self._send(reader, context, alive)
                heartbeat_due = clock() + limits.heartbeat_s
            elif outbox and reader.may_send():
                message = numbered(reader.next_number(), outbox.popleft())
                await self._send(reader, context, message)
                traffic.sent(message)
            elif not outbox and reader.has_news() and reader.may_send():
                taken = reader.take(limits.max_message_bytes)
                chunks = await self._hub.encode(taken.frames)
                if reader.subscription is subscription:  # another request may have come meanwhile
                    outbox.extend(bodies(chunks, taken.skipped, reader.request_id, limits.max_message_bytes))
                    traffic.frames += len(chunks)
            else:
                await reader.wait(heartbeat_due, bool(outbox))

    async def _send(self, reader: Subscriber, context: Context, message: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.stalled_after_s):
                await context.write(message)
        except TimeoutError:
            raise reader.write_stalled() from None
