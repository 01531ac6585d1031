"""What is traced of a process: its calls and its ticks."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from forcedmove_server.config import ServerConfig
from forcedmove_server.engine.frames import Tick
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.errors import InputError
from forcedmove_server.tracing.sender import Sender

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Status

logger = logging.getLogger(__name__)

#: statuses that are a server's fault, as OpenTelemetry's conventions for gRPC have it
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def require_packages(endpoint: str) -> None:
    """Raise InputError where OpenTelemetry, which sending traces to ``endpoint`` needs, is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ModuleNotFoundError as error:
        reason = f"needs OpenTelemetry, of which {error.name} is missing: pip install 'forcedmove[tracing]'"
        raise InputError("server.trace_endpoint", endpoint, reason) from error


@asynccontextmanager
async def tracing(server: ServerConfig, process: str) -> AsyncIterator[Traces | None]:
    """Trace while the block runs, as ``process`` of a server; None where nothing is traced. Raises InputError."""
    if server.trace_endpoint is None:
        yield None
        return
    traces = Traces(server.trace_endpoint, server.trace_share, process)
    try:
        yield traces
    finally:
        await asyncio.to_thread(traces.close)


class Traces:
    """Sends spans to ``endpoint``: of ``share`` of the traces that begin here, and of those that callers keep.

    Variables of the SDK hold for what has no key here, ``OTEL_EXPORTER_OTLP_HEADERS`` for example.
    """

    def __init__(self, endpoint: str, share: float, process: str) -> None:
        """Raises InputError where OpenTelemetry is not installed."""
        require_packages(endpoint)
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._sender = Sender(endpoint)
        instance = f"{socket.gethostname()}/{process}/{os.getpid()}"
        provider = TracerProvider(
            ParentBased(TraceIdRatioBased(share)),
            Resource.create({"service.name": "forcedmove", "service.instance.id": instance}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._sender.processor)
        self._tracer = provider.get_tracer("forcedmove_server")
        self._extract = TraceContextTextMapPropagator().extract
        self._within, self._server, self._fault = (
            trace.set_span_in_context,
            trace.SpanKind.SERVER,
            trace.Status(trace.StatusCode.ERROR),
        )
        logger.info("traces go to %s, as %s", endpoint, instance)

    def call(self, method: str, metadata: Sequence[tuple[str, str | bytes]], began_ns: int) -> _CallSpan:
        """Begin the span of a call to ``/service/method``; see rpc.call_spans.CallSpans."""
        service, _, name = method[1:].rpartition("/")
        parent = self._extract({key: value for key, value in metadata if isinstance(value, str)})
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracer.start_span(method[1:], parent, self._server, about, start_time=began_ns)
        return _CallSpan(span, self._fault)

    def ticks(self, stages: StageTimes) -> Callable[[Tick], None]:
        """Return what makes a span of each tick, and one below it of each stage, called when its times are known.

        Stages are worked at in pieces, between ticks too: each is as long as its pieces together, one comes after the
        other, and the last ends when the tick is published.
        """
        before = stages.read()

        def ticked(tick: Tick) -> None:
            nonlocal before
            now, end_ns = stages.read(), time.time_ns()
            # a stage that did nothing this time is the same object as before
            took_ns = {
                each.stage: int(each.last_s * 1e9) for each, last in zip(now, before, strict=True) if each is not last
            }
            before = now
            at_ns = end_ns - sum(took_ns.values())
            about = {"forcedmove.tick": tick.number, "forcedmove.changed": len(tick.changed)}
            whole = self._tracer.start_span("tick", attributes=about, start_time=at_ns)
            if whole.is_recording():
                within = self._within(whole)
                for stage, stage_ns in took_ns.items():
                    span = self._tracer.start_span(f"tick {stage}", within, start_time=at_ns)
                    at_ns += stage_ns
                    span.end(at_ns)
            whole.end(end_ns)

        return ticked

    def close(self) -> None:
        """Send what is left, for a second at most."""
        self._sender.close()


class _CallSpan:
    """See rpc.call_spans.CallSpan."""

    __slots__ = ("_fault", "_span")

    def __init__(self, span: Span, fault: Status) -> None:
        self._span, self._fault = span, fault

    @property
    def traceparent(self) -> str:
        known = self._span.get_span_context()
        return f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"

    def end(self, code: grpc.StatusCode) -> None:
        self._span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in _FAULTS:
            self._span.set_status(self._fault)
        self._span.end()
