"""An OpenTelemetry collector on loopback: what OTLP brings it, by span."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Seen(NamedTuple):
    """A span. ``parent`` is empty where a trace begins; ``process`` is the instance without host and number."""

    name: str
    trace: str
    id: str
    parent: str
    process: str
    attributes: dict[str, Any]
    is_server: bool
    is_error: bool
    start_ns: int
    end_ns: int


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span it is sent, and what it was sent as bytes and metadata."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw = b""
        self.endpoint = ""
        self.metadata: set[Any] = set()

    def named(self, name: str, process: str | None = None) -> list[Seen]:
        return [span for span in self.spans if span.name == name and process in (None, span.process)]

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.metadata |= {tuple(pair) for pair in context.invocation_metadata()}
        self.raw += request.SerializeToString()
        for of_process in request.resource_spans:
            resource = _values(of_process.resource.attributes)
            assert resource["service.name"] == "forcedmove"
            for span in (each for scope in of_process.scope_spans for each in scope.spans):
                self.spans.append(
                    Seen(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        resource["service.instance.id"].split("/")[1],
                        _values(span.attributes),
                        span.kind == span.SPAN_KIND_SERVER,
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                    )
                )
        return trace_service_pb2.ExportTraceServiceResponse()


def _values(pairs: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in pairs}


@asynccontextmanager
async def collecting(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Collector]:
    """A collector that listens, with TLS where it has credentials."""
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    if credentials is None:
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        collector.endpoint = f"https://localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
