"""Calls that a gateway does not answer itself, handed on to the engine process and back as they are.

Messages stay bytes both ways, except for requests that the gatekeeper weighs: it gets the message. Deadline,
cancellation, metadata, status, message and trailers pass; a token does not, since the gateway has judged it, and where
this call has a span that is the parent of the engine process' one. Where a stream's reader is slow the gateway reads no
further, so that the engine process' handler waits, which is a coroutine beside the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

from forcedmove_server.errors import ForcedMoveError, GoingAwayError
from forcedmove_server.rpc.call_spans import TRACEPARENT, TRACEPARENT_KEY
from forcedmove_server.rpc.methods import METHODS
from forcedmove_server.rpc.status import DETAILS_KEY, abort, guarded

#: metadata of a call that are its transport's, or this gateway's business
_OWN_METADATA = ("authorization", "user-agent", "te", "content-type")
_OWN_PREFIXES = ("grpc-", ":")


class _Refused:
    """Why a later request of a stream was refused by the gatekeeper, once it was."""

    def __init__(self) -> None:
        self.error: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()


class Relay(grpc.GenericRpcHandler):
    """A handler of every method of ``services`` that METHODS has and ``served`` does not.

    ``end`` ends its streams; calls with one answer are left to finish.
    """

    def __init__(self, channel: grpc.aio.Channel, services: Iterable[str], served: frozenset[str]) -> None:
        self._channel = channel
        self._ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._handlers = {
            path: self._handler(path, method)
            for service in services
            for method in descriptor_pool.Default().FindServiceByName(service).methods
            if (path := f"/{service}/{method.name}") in METHODS and path not in served
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method; None for one that is not relayed."""
        return self._handlers.get(handler_call_details.method)

    def end(self, error: Exception) -> None:
        """End the streams with ``error``."""
        if not self._ended.done():
            self._ended.set_result(error)

    def _handler(self, path: str, method: MethodDescriptor) -> Any:
        rules, kinds = METHODS[path], ("unary", "stream")
        make = getattr(grpc, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}_rpc_method_handler")
        # a gatekeeper looks inside for costs, deadlines, symbols and producers, and nobody else does
        is_weighed = rules.scope == "ingest" or bool(rules.cost or rules.needs_deadline or rules.holds)
        read = message_factory.GetMessageClass(method.input_type).FromString if is_weighed else bytes

        @guarded
        async def stream(relay: Relay, request: Any, context: Any) -> None:
            await relay.stream(path, request, context, ends=rules.holds == "stream")

        @guarded
        async def answer(relay: Relay, request: Any, context: Any) -> bytes:
            return await relay.answer(path, request, context)

        behaviour = partial(stream if method.server_streaming else answer, self)
        return make(behaviour, read)

    async def answer(self, path: str, request: Any, context: Any) -> bytes:
        """Relay a call that has one answer."""
        refused = _Refused()
        call = self._call(path, request, context, refused)
        try:
            message = await self._next(call, context, refused, ends=False)
            await self._begin(call, context)
            await self._finish(call, context)
        finally:
            call.cancel()
        assert isinstance(message, bytes)
        return message

    async def stream(self, path: str, request: Any, context: Any, *, ends: bool) -> None:
        """Relay a call that has many answers; where it ``ends`` with the server, it is told so."""
        refused = _Refused()
        call = self._call(path, request, context, refused)
        try:
            message = await self._next(call, context, refused, ends=ends)
            await self._begin(call, context)  # it is there with the first message, or with the end
            while message is not grpc.aio.EOF:
                await context.write(message)
                message = await self._next(call, context, refused, ends=ends)
            await self._finish(call, context)
        finally:
            call.cancel()

    async def _next(self, call: Any, context: Any, refused: _Refused, *, ends: bool) -> Any:
        """Return the next message, EOF at the end; raise what a request was refused with."""
        reading = asyncio.ensure_future(_read(call))
        others = (refused.error, self._ended) if ends else (refused.error,)
        try:
            await asyncio.wait((reading, *others), return_when=asyncio.FIRST_COMPLETED)
            if refused.error.done():
                raise refused.error.result()
            if reading.done():
                return await reading
            await abort(context, self._ended.result())
        finally:
            reading.cancel()

    def _call(self, path: str, request: Any, context: Any, refused: _Refused) -> Any:
        metadata = tuple(
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if key not in _OWN_METADATA and not key.startswith(_OWN_PREFIXES)
        )
        if (traceparent := TRACEPARENT.get()) is not None:  # what the engine process does is part of this call
            metadata = (*(each for each in metadata if each[0] != TRACEPARENT_KEY), (TRACEPARENT_KEY, traceparent))
        # on the wire a single message is a stream of one: every kind of call is relayed alike
        open_call: Any = self._channel.stream_stream(path)
        return open_call(_raw_messages(request, refused), timeout=context.time_remaining(), metadata=metadata)

    @staticmethod
    async def _begin(call: Any, context: Any) -> None:
        if metadata := tuple(await call.initial_metadata() or ()):
            await context.send_initial_metadata(metadata)

    @staticmethod
    async def _finish(call: Any, context: Any) -> None:
        """Pass on how the call ended, which a status other than OK does by raising."""
        code, trailers = await call.code(), tuple(await call.trailing_metadata() or ())
        if code is grpc.StatusCode.OK:
            context.set_trailing_metadata(trailers)
            return
        if code is grpc.StatusCode.UNAVAILABLE and DETAILS_KEY not in dict(trailers):
            await abort(context, GoingAwayError("the engine does not answer: it is going away, or starts anew"))
        await context.abort(code, await call.details() or "", trailers)


async def _read(call: Any) -> Any:
    """Return the next message, EOF where there is none: how the call ended is asked for afterwards."""
    try:
        return await call.read()
    except grpc.aio.AioRpcError:
        return grpc.aio.EOF


async def _raw_messages(request: Any, refused: _Refused) -> AsyncIterator[bytes]:
    if hasattr(request, "__aiter__"):
        try:
            async for each in request:
                yield _raw(each)
        except ForcedMoveError as error:
            refused.error.set_result(error)
            await asyncio.Event().wait()  # grpcio would only cancel the call: whoever reads ends it with its status
    else:
        yield _raw(request)


def _raw(request: Any) -> bytes:
    # what the message's class does not know of it is kept
    return request if isinstance(request, bytes) else bytes(request.SerializeToString())
