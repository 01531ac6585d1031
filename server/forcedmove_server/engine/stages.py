"""How long the stages of a tick take: histograms that one thread fills and any thread reads."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: upper bounds of the buckets in seconds, each included; a last one has no bound
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class StageHistogram:
    """Durations of one stage: ``counts`` per bucket of ``BOUNDS_S`` and beyond, not cumulative; ``sum_s`` seconds."""

    stage: str
    counts: tuple[int, ...]
    sum_s: float
    last_s: float

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)


class StageReading(Protocol):
    """Durations of stages."""

    def read(self) -> tuple[StageHistogram, ...]:
        """Return them as they are now."""


class StageTimes:
    """Times of stages, one duration per tick and stage, whatever the number of pieces a stage is done in.

    What ``timing`` and ``timed`` measure is added up until ``end_tick``; a stage that did nothing then has no duration.
    All of it belongs to one thread, except ``read``.
    """

    def __init__(self, *stages: str) -> None:
        self._pending = dict.fromkeys(stages, 0.0)
        #: replaced as a whole, so that a reader on another thread sees counts and sum of the same moment
        self._done = {stage: StageHistogram(stage, (0,) * (len(BOUNDS_S) + 1), 0.0, 0.0) for stage in stages}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to ``stage``. Raises KeyError for a stage that was not named."""
        before, begin = self._pending[stage], time.perf_counter()
        try:
            yield
        finally:
            self._pending[stage] = before + time.perf_counter() - begin

    def timed(self, stage: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``work`` and add the time that takes to ``stage``."""
        with self.timing(stage):
            return work(*args, **kwargs)

    def end_tick(self) -> None:
        """Count one duration of every stage that did something since the last call."""
        for stage, seconds in self._pending.items():
            if seconds > 0.0:
                self._pending[stage] = 0.0
                before = self._done[stage]
                counts = list(before.counts)
                counts[bisect_left(BOUNDS_S, seconds)] += 1
                self._done[stage] = StageHistogram(stage, tuple(counts), before.sum_s + seconds, seconds)

    def read(self) -> tuple[StageHistogram, ...]:
        """Return the histograms as they are now."""
        return tuple(self._done.values())
