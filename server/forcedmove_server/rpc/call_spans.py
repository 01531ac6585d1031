"""A span around every call, whatever becomes of it; what spans are is up to who begins them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import grpc

Metadata = Sequence[tuple[str, str | bytes]]

#: metadata key by which a call says what it is part of (W3C Trace Context)
TRACEPARENT_KEY = "traceparent"
#: of the call that is being answered; None where it has no span
TRACEPARENT: ContextVar[str | None] = ContextVar("TRACEPARENT", default=None)
#: what a call sends that is no part of anything: a parent that nobody keeps
UNTRACED = ((TRACEPARENT_KEY, f"00-{1:032x}-{1:016x}-00"),)


class CallSpan(Protocol):
    """The span of one call. ``traceparent`` is what calls that are made for it send."""

    @property
    def traceparent(self) -> str:
        """Value of the metadata key of that name."""
        ...

    def end(self, code: grpc.StatusCode) -> None:
        """End it with the call's status."""
        ...


class CallSpans(Protocol):
    """Begins spans of calls."""

    def call(self, method: str, metadata: Metadata, began_ns: int) -> CallSpan:
        """Begin the span of a call to ``/service/method`` that came at ``began_ns``, Unix nanoseconds."""
        ...


def spanned(
    handler: Any, make: Callable[..., Any], answer: Any, spans: CallSpans, details: grpc.HandlerCallDetails
) -> Any:
    """Return a handler of the kind that ``make`` makes, whose behaviour is ``answer`` inside a span.

    A call whose request never comes has none.
    """
    method, metadata, began_ns = details.method, details.invocation_metadata or (), time.time_ns()

    @contextmanager
    def span(context: Any) -> Iterator[None]:
        begun, code = spans.call(method, metadata, began_ns), grpc.StatusCode.UNKNOWN
        TRACEPARENT.set(begun.traceparent)  # gRPC answers every call in a task of its own
        try:
            yield
            code = context.code() or grpc.StatusCode.OK
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            begun.end(code)

    async def call(request: Any, context: Any) -> Any:
        with span(context):
            return await answer(request, context)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        with span(context):
            async for each in answer(request, context):
                yield each

    behaviour = stream if inspect.isasyncgenfunction(answer) else call
    return make(behaviour, handler.request_deserializer, handler.response_serializer)
