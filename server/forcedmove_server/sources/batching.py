"""Batches in the sizes an offline run wants: many small ones joined."""

from __future__ import annotations

from collections.abc import Iterator

from forcedmove_server.market.events import EventBatch, Records
from forcedmove_server.sources.replay.merge import joined


def coalesced(batches: Iterator[EventBatch], rows: int = 32768) -> Iterator[EventBatch]:
    """Join consecutive batches until they hold at least ``rows`` rows. The events and their order stay the same."""
    held: list[EventBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= rows:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(batches: list[EventBatch]) -> EventBatch:
    if len(batches) == 1:
        return batches[0]
    kinds: dict[str, Records] = {}
    for kind in batches[0].by_kind():
        pieces = [rows for batch in batches if len(rows := batch.by_kind()[kind])]
        if pieces:
            kinds[kind] = pieces[0] if len(pieces) == 1 else joined(pieces)
    return EventBatch(batches[-1].until_ns, **kinds)
