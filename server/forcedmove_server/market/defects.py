"""What was wrong with the input: counted, sampled, never silent."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Defects:
    """What could not be used, counted by kind, with one sampled place per kind.

    Kinds are ``<what>.<defect>``, for example ``trades.out_of_order`` or ``open_interest.zero``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    _noting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def note(self, kind: str, rows: int = 1, sample: str = "") -> None:
        """Count ``rows`` defects of one kind; the first sample of a kind is kept."""
        if rows > 0:
            with self._noting:
                self.counts[kind] += rows
                if sample:
                    self.samples.setdefault(kind, sample)

    def so_far(self) -> list[tuple[str, int, str]]:
        """Return kind, count and sample of everything noted so far; from any thread."""
        with self._noting:
            return [(kind, rows, self.samples.get(kind, "")) for kind, rows in sorted(self.counts.items())]
