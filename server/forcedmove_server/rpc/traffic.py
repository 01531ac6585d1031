"""What streams of maps sent and left out, counted where it happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class TrafficCounts:
    """Of all streams of a server since it started. Belongs to the event loop; any thread may read it.

    ``messages`` and ``sent_bytes`` are the responses handed to gRPC, heartbeats aside; ``frames`` the
    maps in them; ``conflated`` maps that a newer one of the same symbol replaced before a slow reader took them.
    """

    messages: int = 0
    sent_bytes: int = 0
    frames: int = 0
    conflated: int = 0

    def sent(self, message: bytes, frames: int = 0) -> None:
        """Count one response, and the maps in it that were not counted yet."""
        self.messages += 1
        self.sent_bytes += len(message)
        self.frames += frames


@dataclass(slots=True)
class IngestCounts:
    """Streams of ingest that are open, and what became of requests since the server started, by outcome.

    Belongs to the event loop; any thread may read it.
    """

    streams: int = 0
    outcomes: Counter[str] = field(default_factory=lambda: Counter(applied=0, repeated=0, refused=0, postponed=0))
