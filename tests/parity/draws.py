"""Where the numbers of a test's tables come from: Hypothesis under pytest, a seeded generator elsewhere.

Builders ask a :class:`Draws` and do not know which it is. This module needs NumPy alone, so that the same checks run on
a machine with a GPU and little else; what draws from Hypothesis is in :mod:`tests.parity.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Numbers(NamedTuple):
    """Numbers to draw from: integers of spans, both ends included, and single points; each alternative equally often.

    Simple ones come first: Hypothesis shrinks towards them.
    """

    spans: tuple[tuple[int, int], ...] = ()
    points: tuple[float, ...] = ()


class Draws(Protocol):
    """A source of choices."""

    def integers(self, low: int, high: int) -> int:
        """One of ``low .. high``, both included."""
        ...

    def sampled(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        ...

    def permutation(self, size: int) -> list[int]:
        """``0 .. size - 1`` in any order."""
        ...

    def array(self, numbers: Numbers, size: int, dtype: Any) -> NDArray[Any]:
        """One-dimensional array of ``size`` numbers."""
        ...


class SeededDraws:
    """Choices of a seeded generator: the same seed gives the same tables. Ends of spans come often."""

    def __init__(self, *seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def integers(self, low: int, high: int) -> int:
        return int(self.array(Numbers(((low, high),)), 1, np.int64 if low < 0 else np.uint64)[0])

    def sampled(self, options: Sequence[T]) -> T:
        return options[int(self.generator.integers(len(options)))]

    def permutation(self, size: int) -> list[int]:
        order: list[int] = self.generator.permutation(size).tolist()
        return order

    def array(self, numbers: Numbers, size: int, dtype: Any) -> NDArray[Any]:
        """One array in eight holds two numbers only, so that many meet in one place."""
        if size > 2 and self.generator.integers(8) == 0:
            return self.array(numbers, 2, dtype)[self.generator.integers(2, size=size)]
        chosen = self.generator.integers(len(numbers.spans) + bool(numbers.points), size=size)
        drawn = np.zeros(size, dtype)
        for alternative, span in enumerate(numbers.spans):
            here = np.flatnonzero(chosen == alternative)
            word = np.int64 if span[0] < 0 else np.uint64
            values = self.generator.integers(*span, size=len(here), dtype=word, endpoint=True)
            ends = np.array(span, word)[self.generator.integers(2, size=len(here))]
            drawn[here] = np.where(self.generator.integers(8, size=len(here)) == 0, ends, values).astype(dtype)
        here = np.flatnonzero(chosen == len(numbers.spans))
        if len(here):
            drawn[here] = np.array(numbers.points, dtype)[self.generator.integers(len(numbers.points), size=len(here))]
        return drawn


def subset(draws: Draws, size: int) -> NDArray[np.int32]:
    """Some of ``0 .. size - 1``, in any order, without repeats."""
    order = draws.permutation(size)
    return np.array(order[draws.integers(0, size) :], np.int32)
