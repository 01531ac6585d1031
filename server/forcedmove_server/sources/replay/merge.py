"""Feeds merged into one stream of batches in event-time order.

Each feed is read ahead by one block on one worker thread; which block comes next never depends on timing, so the same
files give the same batches. Memory holds what the feeds have decoded beyond the window being built: about two blocks
each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import EVENT_DTYPES, EventBatch, Records
from forcedmove_server.sources.batching import in_time_order, joined, split
from forcedmove_server.sources.replay.blocks import EARLIEST_NS, LATEST_NS, Block, Feed, Times

_EXHAUSTED = LATEST_NS + 1


class Lane:
    """One feed being read: its sorted rows up to a watermark, and the block after them on its way."""

    def __init__(self, feed: Feed, wanted: Callable[[str], bool], pool: ThreadPoolExecutor, from_ns: int) -> None:
        self.feed = feed
        self.watermark_ns = EARLIEST_NS
        self.markets: NDArray[np.int32] = np.empty(0, np.int32)  # registry index of the feed's instruments
        self._from_ns = from_ns
        self._pool = pool
        self._blocks = feed.open(wanted)
        self._next: Future[Block | None] = pool.submit(next, self._blocks, None)
        self._held: dict[str, tuple[Times, Records]] = {}

    def fetch(self) -> Block | None:
        """Wait for the next block and start on the one after; None at the end of the feed."""
        block = self._next.result()
        if block is None:
            self.watermark_ns = _EXHAUSTED
        else:
            self._next = self._pool.submit(next, self._blocks, None)
        return block

    def hold(self, block: Block) -> None:
        """Add a block's rows, their markets turned into registry indices."""
        for kind, rows in block.kinds.items():
            if len(rows):
                rows["market"] = self.markets[rows["market"]]
                self._hold_kind(kind, rows)
        self.watermark_ns = max(self.watermark_ns, block.watermark_ns)

    def _hold_kind(self, kind: str, rows: Records) -> None:
        times = np.ascontiguousarray(rows["time_ns"])
        if kind in self._held and len(self._held[kind][0]):
            times = np.concatenate((self._held[kind][0], times))
            rows = joined([self._held[kind][1], rows])
        if not np.all(times[1:] >= times[:-1]):
            order = np.argsort(times, kind="stable")
            times, rows = times[order], rows[order]
        if times[0] < self._from_ns:
            cut = int(np.searchsorted(times, self._from_ns))
            times, rows = times[cut:], rows[cut:]
        self._held[kind] = times, rows

    def first_ns(self) -> int:
        """Time of the earliest row held; the watermark where none is."""
        return min((int(times[0]) for times, _ in self._held.values() if len(times)), default=self.watermark_ns)

    def rows_before(self, until_ns: int) -> int:
        """Count the held rows before a time."""
        return sum(int(np.searchsorted(times, until_ns)) for times, _ in self._held.values())

    def take(self, until_ns: int, into: dict[str, list[Records]]) -> None:
        """Move the rows before a time into the lists by kind."""
        for kind, (times, rows) in self._held.items():
            cut = int(np.searchsorted(times, until_ns))
            if cut:
                into[kind].append(rows[:cut])
                self._held[kind] = times[cut:], rows[cut:]


def merge(
    lanes: Sequence[Lane], arrived: Callable[[Lane, Block], None], window_ns: int, max_rows: int, until_ns: int
) -> Iterator[EventBatch]:
    """Yield batches of at most about ``max_rows`` rows and ``window_ns`` of event time, up to ``until_ns``.

    Windows lie on multiples of ``window_ns``; empty ones are passed over. ``arrived`` sees every block before its rows
    are used.
    """
    while lanes:
        lagging = min(lanes, key=lambda lane: lane.watermark_ns)
        start = min(lane.first_ns() for lane in lanes)
        if start >= until_ns or start >= _EXHAUSTED:
            return
        window_end = min((start // window_ns + 1) * window_ns, until_ns)
        end = min(lagging.watermark_ns, window_end)
        if end < window_end and (end <= start or sum(lane.rows_before(end) for lane in lanes) < max_rows):
            block = lagging.fetch()
            if block is not None:
                arrived(lagging, block)
                lagging.hold(block)
            continue
        pieces: dict[str, list[Records]] = {kind: [] for kind in EVENT_DTYPES}
        for lane in lanes:
            lane.take(end, pieces)
        batch = EventBatch(end, **{kind: in_time_order(rows) for kind, rows in pieces.items() if rows})
        yield from split(batch, max_rows)
