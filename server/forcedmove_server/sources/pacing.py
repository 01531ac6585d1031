"""Batches at a speed factor of wall time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

from forcedmove_server.errors import ConfigError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.sources.batching import cut_at, first_ns

_SLICE_S = 0.1
_SECOND_NS = 1_000_000_000


def paced(
    batches: Iterator[EventBatch], speed: float | None, stop: threading.Event | None = None, pace_from_ns: int = 0
) -> Iterator[EventBatch]:
    """Yield the batches so that ``speed`` seconds of event time pass in one second; None: as fast as possible.

    Batches are cut so that about ten come in a second; none comes before its last event is due. Events before
    ``pace_from_ns`` come at once. A consumer that falls behind gets what is due without waiting: the schedule is kept
    from the first paced event on. ``stop`` ends the wait and the iteration. Raises ConfigError for a speed that is not
    positive.
    """
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise ConfigError("speed", speed, "must be a positive number")
    stop = stop or threading.Event()
    begin_ns, began = 0, 0.0
    for batch in batches:
        for piece in _pieces(batch, speed, pace_from_ns):
            if speed is not None and piece.until_ns > pace_from_ns:
                if not begin_ns:
                    begin_ns, began = max(pace_from_ns, first_ns(piece)), time.monotonic()
                due = began + (piece.until_ns - begin_ns) / _SECOND_NS / speed
                stop.wait(max(0.0, due - time.monotonic()))
            if stop.is_set():
                return
            yield piece


def _pieces(batch: EventBatch, speed: float | None, pace_from_ns: int) -> Iterator[EventBatch]:
    """Cut a batch into tenths of a second of wall time; what comes before the pacing stays whole."""
    if speed is None or batch.until_ns <= pace_from_ns:
        yield batch
        return
    step_ns = max(1, int(_SLICE_S * speed * _SECOND_NS))
    first = max(pace_from_ns, first_ns(batch))
    ends = [*range(first + step_ns, batch.until_ns, step_ns), batch.until_ns]
    yield from cut_at(batch, [first, *ends] if first_ns(batch) < first < batch.until_ns else ends)
