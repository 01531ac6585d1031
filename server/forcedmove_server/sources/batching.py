"""Batches cut, joined and put in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from forcedmove_server.market.events import EventBatch, Records


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


def in_time_order(pieces: list[Records]) -> Records:
    """Merge sorted runs; rows of one time keep the order of the runs."""
    if len(pieces) == 1:
        return pieces[0]
    rows = joined(pieces)
    times = np.ascontiguousarray(rows["time_ns"])
    if np.all(times[1:] >= times[:-1]):
        return rows
    return rows[np.argsort(times, kind="stable")]


def joined(pieces: Sequence[Records]) -> Records:
    """Concatenate rows of one dtype; NumPy's own function looks for a common dtype of the fields each time."""
    rows = np.empty(sum(map(len, pieces)), pieces[0].dtype)
    end = 0
    for piece in pieces:
        rows[end : end + len(piece)] = piece
        end += len(piece)
    return rows


def split(batch: EventBatch, max_rows: int) -> Iterator[EventBatch]:
    """Cut a batch that is too large, between different times; rows of one time stay together."""
    kinds = batch.by_kind()
    if len(batch) <= max_rows:
        yield batch
        return
    times = np.sort(np.concatenate([rows["time_ns"] for rows in kinds.values()]))
    ends = [int(end) for end in np.unique(times[max_rows::max_rows]) if end > times[0]]
    yield from cut_at(batch, [*ends, batch.until_ns])


def cut_at(batch: EventBatch, ends_ns: Sequence[int]) -> Iterator[EventBatch]:
    """Cut a batch at ascending times; the last should be its ``until_ns``."""
    kinds = batch.by_kind()
    times = {kind: np.ascontiguousarray(rows["time_ns"]) for kind, rows in kinds.items()}
    start = dict.fromkeys(kinds, 0)
    for end in ends_ns:
        stop = {kind: int(np.searchsorted(times[kind], end)) for kind in kinds}
        yield EventBatch(end, **{kind: rows[start[kind] : stop[kind]] for kind, rows in kinds.items()})
        start = stop


def from_time(batches: Iterator[EventBatch], begin_ns: int) -> Iterator[EventBatch]:
    """Leave out what was handed on before: batches that end by a time, and of the one across it what lies before."""
    for batch in batches:
        if batch.until_ns <= begin_ns:
            continue
        yield list(cut_at(batch, [begin_ns, batch.until_ns]))[1] if first_ns(batch) < begin_ns else batch


def first_ns(batch: EventBatch) -> int:
    """Return the time of a batch's first event; of an empty one, its end."""
    return min((int(rows["time_ns"][0]) for rows in batch.by_kind().values() if len(rows)), default=batch.until_ns)
