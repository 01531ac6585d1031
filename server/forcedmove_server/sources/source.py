"""What every source of market events is: a named object that yields event batches in time order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry


class Source(Protocol):
    """A named stream of market events: live, recorded or simulated; the events are the same.

    ``batches`` registers the source's instruments as it meets them and yields batches in event-time order until the
    source ends. It may block (it is run on its own thread) and is closed by closing the iterator. Faults of the world
    are counted in ``defects``; input that cannot be used at all raises an InputError.
    """

    name: str
    defects: Defects

    def batches(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
        """Yield the events."""
        ...

    def progress(self) -> float | None:
        """Share of the input read so far, 0..1; None when the source has no end."""
        ...
