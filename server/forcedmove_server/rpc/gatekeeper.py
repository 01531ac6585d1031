"""The interceptor every call passes: token, scope and load before a request is parsed, deadline and quotas after it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from forcedmove.v1 import ingest_pb2
from forcedmove_server.access.store import TokenStore
from forcedmove_server.access.tokens import Quotas, Token
from forcedmove_server.access.usage import Usage
from forcedmove_server.errors import ForcedMoveError, InputError, NotAllowedError, QuotaError, UnauthenticatedError
from forcedmove_server.rpc.admission import Admission
from forcedmove_server.rpc.call_spans import CallSpans, spanned
from forcedmove_server.rpc.methods import METHODS, UNLISTED, Method
from forcedmove_server.rpc.status import abort

logger = logging.getLogger(__name__)

_BEARER = "bearer "
_OURS = "/forcedmove."


class Gatekeeper(grpc.aio.ServerInterceptor):
    """``store`` None asks nobody for a token. ``symbols`` tells how many symbols "all" are just now.

    With ``spans`` every call has a span, refused ones too.
    """

    def __init__(
        self,
        store: TokenStore | None,
        quotas: Quotas,
        max_deadline_s: float,
        symbols: Callable[[], int],
        admission: Admission,
        spans: CallSpans | None = None,
    ) -> None:
        self._admission, self._spans = admission, spans
        self._store, self._quotas, self._max_deadline_s, self._symbols = store, quotas, max_deadline_s, symbols
        self._usage: dict[str, tuple[Token, Usage]] = {}

    async def intercept_service(self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails) -> Any:
        """Return the method's handler, or one that refuses the call with its status."""
        handler = await continuation(details)
        judged = self._judged(handler, details) if handler is not None else None
        if judged is None or self._spans is None:
            return judged
        answer, make = _parts(judged)
        return spanned(judged, make, answer, self._spans, details)

    def _judged(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        method = METHODS.get(details.method, UNLISTED)
        token: Token | None = None
        if self._store is not None and method.scope != "open":
            try:
                token = self._admit(method, details)
            except (UnauthenticatedError, NotAllowedError) as error:
                logger.warning("%s refused: %s", details.method, error)
                return _refusal(handler, error)
        if not details.method.startswith(_OURS):
            return _foreign(handler)
        if method.kind is not None:
            try:
                self._admission.admit(method.kind)
            except QuotaError as error:
                return _refusal(handler, error)
        return self._guarded(handler, method, token)

    def _admit(self, method: Method, details: grpc.HandlerCallDetails) -> Token:
        assert self._store is not None
        sent = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        if len(sent) != 1 or not isinstance(sent[0], str) or not sent[0].lower().startswith(_BEARER):
            raise UnauthenticatedError("TOKEN_MISSING", "authorization: send one header 'Bearer TOKEN'")
        token = self._store.token(sent[0][len(_BEARER) :].strip())
        if method.scope not in token.scopes:
            raise NotAllowedError(
                f"authorization: {details.method} needs the scope {method.scope}, {token.name} has "
                f"{', '.join(token.scopes) or 'none'}"
            )
        return token

    def _usage_of(self, token: Token) -> Usage:
        known = self._usage.get(token.id)
        if known is None:
            assert self._store is not None
            listed = self._store.ids()
            for key in [key for key, (_, usage) in self._usage.items() if key not in listed and not usage.streams]:
                del self._usage[key]
            known = self._usage[token.id] = token, Usage(token.quotas(self._quotas))
        elif known[0] != token:
            # what is open stays counted when the file gives the token other quotas
            known[1].change_quotas(token.quotas(self._quotas))
            self._usage[token.id] = token, known[1]
        return known[1]

    def _guarded(self, handler: Any, method: Method, token: Token | None) -> Any:
        answer, _ = _parts(handler)

        async def call(request: Any, context: Any) -> Any:
            if isinstance(request, InputError):
                await abort(context, request)
            if handler.request_streaming:
                request = _readable(request)
            with ExitStack() as held:
                if method.kind is not None and method.kind != "stream":
                    held.enter_context(self._admission.answering(method.kind))
                try:
                    if method.needs_deadline is not None and method.needs_deadline(request):
                        self._check_deadline(context)
                    if token is None:
                        return await answer(request, context)
                    if method.scope == "ingest" and not handler.request_streaming:
                        _check_producer(token, request.producer)
                    usage = self._usage_of(token)
                    usage.check_bytes()
                    if method.cost is not None:
                        usage.charge(method.cost(request, self._symbols()))
                    if method.holds == "scan":
                        held.enter_context(usage.scan())
                    elif method.holds == "stream":
                        held.enter_context(usage.stream())
                        request = self._counted(request, usage, held, token)
                except ForcedMoveError as error:
                    await abort(context, error)
                if not handler.response_streaming:
                    response = await answer(request, context)
                    usage.sent(_size(response))
                    return response
                return await answer(request, _Metered(context, usage, token, self._store))

        return _with(handler, call)

    def _check_deadline(self, context: Any) -> None:
        left_s = context.time_remaining()
        if left_s is None:
            raise InputError("deadline", None, "this call needs one: set the call's deadline")
        if left_s > self._max_deadline_s:
            raise InputError("deadline", round(left_s, 3), f"at most {self._max_deadline_s:g} s from now")

    def _counted(self, request: Any, usage: Usage, held: ExitStack, token: Token) -> Any:
        """Count a stream's symbols until it ends; where requests are a stream too, each one replaces the last.

        Of those each has to come from a token that works still, and for a producer that is the token's.
        """
        counted = 0

        def count(names: int) -> None:
            nonlocal counted
            wanted = names or self._symbols()
            usage.change_symbols(counted, wanted)
            counted = wanted

        held.callback(lambda: usage.change_symbols(counted, 0))
        if not hasattr(request, "__aiter__"):
            # the subscription of Watch, or a request that has its symbols itself
            count(len(getattr(request, "subscription", request).symbols))
            return request

        async def requests() -> AsyncIterator[Any]:
            async for each in request:
                assert self._store is not None
                self._store.still_valid(token)
                if isinstance(each, ingest_pb2.IngestRequest):
                    _check_producer(token, each.producer)
                if each.WhichOneof("request") == "subscription":
                    count(len(each.subscription.symbols))
                yield each

        return requests()


class _Metered:
    """A call's context that counts what is written, and ends streams whose token works no more."""

    def __init__(self, context: Any, usage: Usage, token: Token, store: TokenStore | None) -> None:
        self._context, self._usage, self._token, self._store = context, usage, token, store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """Write a message. Raises QuotaError or UnauthenticatedError."""
        assert self._store is not None
        self._store.still_valid(self._token)
        self._usage.check_bytes()
        await self._context.write(message)
        self._usage.sent(_size(message))


def _check_producer(token: Token, producer: str) -> None:
    """Raise NotAllowedError where a token is not for this producer; "" is the one that its stream began with."""
    if producer and not token.may_tell_for(producer):
        raise NotAllowedError(
            f"authorization: {token.name} may tell for {', '.join(token.producers)}, and not for {producer[:80]}",
            "PRODUCER_NOT_ALLOWED",
        )


def _size(message: Any) -> int:
    return len(message) if isinstance(message, bytes) else int(message.ByteSize())


def _parts(handler: Any) -> tuple[Any, Any]:
    """Return a handler's behaviour and the function that makes handlers of its kind."""
    if handler.request_streaming:
        if handler.response_streaming:
            return handler.stream_stream, grpc.stream_stream_rpc_method_handler
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return handler.unary_stream, grpc.unary_stream_rpc_method_handler
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler


def _with(handler: Any, call: Any) -> Any:
    """Return a handler whose behaviour is ``call``, to which a request that cannot be read comes as an InputError.

    gRPC itself would answer a stranger's rubbish with UNKNOWN, and write a traceback to the log.
    """
    read = handler.request_deserializer

    def parse(request: bytes) -> Any:
        try:
            return read(request)
        except DecodeError as error:
            return InputError("request", f"{len(request)} bytes", f"is no message of this method: {error}")

    return _parts(handler)[1](call, parse if read is not None else None, handler.response_serializer)


def _foreign(handler: Any) -> Any:
    """Return a handler of a service that is not ours, health for example, to which only what can be read comes.

    What is not asynchronous is what grpcio's package has not implemented: None, as for a method that does not exist.
    """
    answer, _ = _parts(handler)
    if not (inspect.iscoroutinefunction(answer) or inspect.isasyncgenfunction(answer)):
        return None

    async def call(request: Any, context: Any) -> Any:
        if isinstance(request, InputError):
            await abort(context, request)
        return await answer(_readable(request) if handler.request_streaming else request, context)

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for each in answer(_readable(requests), context):
                yield each
        except InputError as error:
            await abort(context, error)

    return _with(handler, stream if inspect.isasyncgenfunction(answer) else call)


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for each in requests:
        if isinstance(each, InputError):
            raise each
        yield each


def _refusal(handler: Any, error: ForcedMoveError) -> Any:
    """Return a handler that refuses; without a deserializer, a stranger's request is never parsed."""

    async def refuse(_: Any, context: Any) -> None:
        await abort(context, error)

    return _parts(handler)[1](refuse)
