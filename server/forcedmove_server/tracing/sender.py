"""Ended spans to a collector, from a thread of its own: what it does not take is dropped, and nothing waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

#: how long a batch is tried to be sent
_SEND_S = 5.0
#: how long what is left at the end may take
_FLUSH_S = 1.0


class Sender:
    """Sends what its ``processor`` is told of: the SDK's, a bounded queue that drops the oldest, and a thread."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # they tell of every try and of every span that is dropped: what became of it is told below, once
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http:"), timeout=_SEND_S)
        self._exporter = TellingExporter(exporter, endpoint)
        self.processor: SpanProcessor = BatchSpanProcessor(cast("SpanExporter", self._exporter))

    def close(self) -> None:
        """Send what is left, for a second at most, and end: the SDK by itself would try for half a minute."""
        flushing = threading.Thread(target=self.processor.force_flush, name="last traces", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
        self._exporter.shutdown()
        self.processor.shutdown()


class TellingExporter:
    """A SpanExporter that says once that its collector takes nothing, and once that it does again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter, self._endpoint = exporter, endpoint
        self._fails = self._ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult | None:
        """Send spans, for some seconds at most."""
        result = None
        try:
            result = self._exporter.export(spans)
        except Exception:
            if not self._ended:  # gRPC complains of a channel that is closed while it is used
                raise
        fails = result is None or result.name != "SUCCESS"
        if fails and not self._fails:
            logger.warning("%s takes no traces: they are dropped until it does", self._endpoint)
        elif self._fails and not fails:
            logger.info("%s takes traces again", self._endpoint)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Give up what is being sent, and send no more."""
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()
