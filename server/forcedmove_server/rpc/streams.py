"""The streams of maps: what a reader asks for is followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.service import ViewService
from forcedmove_server.errors import InputError
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import subscription_of
from forcedmove_server.rpc.status import guarded
from forcedmove_server.rpc.stream_writer import StreamWriter
from forcedmove_server.rpc.subscriber import Subscriber

logger = logging.getLogger(__name__)

#: pings that may wait for their pongs
_MOST_PINGS = 16

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, bytes]


class StreamHandlers:
    """``subscribe`` and ``watch`` of one server. Responses leave as bytes that are serialised already."""

    def __init__(self, engine: ViewService, hub: Hub, limits: Limits) -> None:
        self._engine, self._hub, self._limits = engine, hub, limits

    @guarded
    async def subscribe(self, requests: AsyncIterator[heatmap_pb2.SubscribeRequest], context: Context) -> None:
        """Stream maps until the reader leaves, as it asks for them."""
        reader = self._new_reader(context)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(requests, reader), name="subscription requests")
                writer = StreamWriter(reader, context, self._hub, self._limits)
                tasks.create_task(writer.run(), name="subscription responses")
        finally:
            self._leave(reader, context)

    @guarded
    async def watch(self, request: heatmap_pb2.WatchRequest, context: Context) -> None:
        """Stream maps until the reader leaves."""
        wanted = request.subscription
        if wanted.max_unacked:
            raise InputError("subscription.max_unacked", wanted.max_unacked, "must be 0: Watch has no acknowledgements")
        reader = self._new_reader(context)
        try:
            await self._hub.subscribe(reader, subscription_of(wanted, 0, self._engine.registry, self._limits))
            await StreamWriter(reader, context, self._hub, self._limits).run()
        finally:
            self._leave(reader, context)

    def _new_reader(self, context: Context) -> Subscriber:
        reader = self._hub.add_reader()
        # not where the handler ends: what a reader that stopped is told waits behind what it does not read
        context.add_done_callback(lambda _: self._hub.give_place_back())  # type: ignore[arg-type]  # wrong stub
        return reader

    def _leave(self, reader: Subscriber, context: Context) -> None:
        self._hub.remove_reader(reader)
        logger.info("%s left its stream", context.peer())

    async def _follow(self, requests: AsyncIterator[heatmap_pb2.SubscribeRequest], reader: Subscriber) -> None:
        """Do as is asked. What is wrong ends the stream through its writer: cancelled within its first write, a call
        cannot be told its status any more.
        """
        try:
            await self._follow_all(requests, reader)
        except Exception as error:  # noqa: BLE001  the writer raises it
            reader.fail(error)

    async def _follow_all(self, requests: AsyncIterator[heatmap_pb2.SubscribeRequest], reader: Subscriber) -> None:
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "ack":
                reader.acknowledge(request.ack.number, request.ack.window)
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
