"""Batches in the sizes an offline run wants: many small ones joined, the next ones read ahead on a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from forcedmove_server.market.events import EventBatch, Records
from forcedmove_server.sources.replay.merge import joined

#: batches read ahead at most
_AHEAD = 4


def coalesced(batches: Iterator[EventBatch], rows: int = 1 << 12) -> Iterator[EventBatch]:
    """Join consecutive batches until they hold at least ``rows`` rows. The events and their order stay the same."""
    held: list[EventBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= rows:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def read_ahead(batches: Iterator[EventBatch]) -> Iterator[EventBatch]:
    """Run an iterator on a thread of its own, a few batches ahead. Its exceptions are raised here."""
    ready: queue.Queue[EventBatch | BaseException | None] = queue.Queue(_AHEAD)
    stopping = threading.Event()

    def put(item: EventBatch | BaseException | None) -> bool:
        while not stopping.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  raised again by whoever reads
            put(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopping.set()
        thread.join()


def _join(batches: list[EventBatch]) -> EventBatch:
    if len(batches) == 1:
        return batches[0]
    kinds: dict[str, Records] = {}
    for kind in batches[0].by_kind():
        pieces = [rows for batch in batches if len(rows := batch.by_kind()[kind])]
        if pieces:
            kinds[kind] = pieces[0] if len(pieces) == 1 else joined(pieces)
    return EventBatch(batches[-1].until_ns, **kinds)
