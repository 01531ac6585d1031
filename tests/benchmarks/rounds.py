"""Contestants of one race: answers compared first, then medians of interleaved repeats.

A shared machine speeds up and slows down over seconds. Contestants that take turns share its moods, so that ratios are
steadier than times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


def nothing() -> None:
    """Prepare nothing."""


class Contestant(NamedTuple):
    """One way of getting an answer. Only ``work`` is timed."""

    name: str
    work: Callable[[], Any]
    prepare: Callable[[], Any] = nothing  # before every run
    answer: Callable[[], Any] | None = None  # an array or several, after ``work``; what ``work`` returns by default
    rounds: int | None = None  # of its own, for what takes seconds
    question: str = ""  # answers to the same question must be equal


def medians(contestants: Sequence[Contestant], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contestant by name.

    Raises AssertionError when an answer differs from that of the first contestant with the same question: everyone runs
    once to be compared before the race begins. That run counts for those with fewer rounds, which need no warming up;
    their others are spread over the race.
    """
    first: dict[str, tuple[str, list[Any]]] = {}
    seconds: dict[str, list[float]] = {}
    for contestant in contestants:
        assert contestant.name not in seconds, f"{contestant.name} takes part twice"
        got, spent = _run(contestant)
        seconds[contestant.name] = [] if contestant.rounds is None else [spent]
        answer = _arrays(got if contestant.answer is None else contestant.answer())
        if contestant.question not in first:
            first[contestant.question] = contestant.name, [np.array(array) for array in answer]
        name, expected = first[contestant.question]
        for one, other in zip(answer, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{contestant.name} against {name}")
    for number in range(rounds):
        for contestant in contestants:
            own = rounds if contestant.rounds is None else min(contestant.rounds - 1, rounds)
            if (number + 1) * own // rounds > number * own // rounds:
                seconds[contestant.name].append(_run(contestant)[1])
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _run(contestant: Contestant) -> tuple[Any, float]:
    contestant.prepare()
    begin = time.perf_counter()
    got = contestant.work()
    return got, time.perf_counter() - begin


def _arrays(answer: Any) -> list[Any]:
    return list(answer) if isinstance(answer, tuple) else [answer]
