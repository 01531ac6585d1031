"""When a stream's consumer acknowledges, and which window it asks for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.credit import WINDOW, Credit, told_after


class Stream:
    """A stream's credit on a clock of its own, and what was told: (second, number, window)."""

    def __init__(self, most: int = WINDOW, adapts: bool = True, stalled_after_ms: int = 10_000) -> None:
        self.now = 0.0
        self.credit = Credit(lambda: self.now)
        self.told: list[tuple[float, int, int]] = []
        self.number = 0
        self.credit.opened()
        self.note(self.credit.asked(most, adapts))
        terms = heatmap_pb2.Terms(stalled_after_ms=stalled_after_ms)
        self.credit.received(heatmap_pb2.SubscribeResponse(terms=terms))

    def note(self, ack: heatmap_pb2.Ack | None) -> None:
        if ack is not None:
            self.told.append((round(self.now, 6), ack.number, ack.window))

    def take(self, count: int, takes_s: float, waits_s: float = 0.0, size: int = 0) -> None:
        """Receive responses, each of which the consumer takes so long for, after waiting for it."""
        for _ in range(count):
            self.note(self.credit.consumed())
            self.now += waits_s
            self.number += 1
            fragment = heatmap_pb2.Fragment(content=bytes(size))
            self.credit.received(heatmap_pb2.SubscribeResponse(number=self.number, fragment=fragment))
            self.credit.handed_out()
            self.now += takes_s
        self.note(self.credit.consumed())


def test_a_fast_consumer_ends_with_a_wide_window_and_seldom_tells() -> None:
    stream = Stream()
    stream.take(200, takes_s=0.001, waits_s=0.099)
    assert [window for _, _, window in stream.told[:5]] == [2, 4, 8, 16, 24]
    numbers = [number for _, number, _ in stream.told[4:]]
    assert {after - before for before, after in pairwise(numbers)} == {18}


def test_a_slow_consumer_gets_one_response_at_a_time() -> None:
    stream = Stream()
    stream.take(5, takes_s=2.0)
    assert stream.told == [(0, 0, 2), (2, 1, 1), (4, 2, 1), (6, 3, 1), (8, 4, 1), (10, 5, 1)]


@pytest.mark.parametrize(("takes_s", "window"), [(0.01, 24), (0.05, 19), (0.1, 9), (0.2, 4), (0.3, 3), (0.7, 1)])
def test_a_window_lasts_about_a_second(takes_s: float, window: int) -> None:
    stream = Stream()
    stream.take(60, takes_s + 1e-9)
    assert stream.credit.window == stream.told[-1][2] == window


def test_a_consumer_that_becomes_slow_or_fast_or_pauses_is_followed() -> None:
    stream = Stream()
    stream.take(60, 0.01)
    assert stream.credit.window == WINDOW
    stream.take(20, 3.0)
    assert stream.credit.window == 1
    stream.take(60, 0.01)
    assert stream.credit.window == WINDOW
    stream.take(1, 3_600.0)
    stream.take(30, 0.01)
    assert stream.credit.window == WINDOW


def test_what_is_consumed_slowly_is_told_long_before_the_server_takes_it_for_stopped() -> None:
    stream = Stream(adapts=False)
    stream.take(10, takes_s=1.0)
    assert stream.told == [(2, 2, 0), (4, 4, 0), (6, 6, 0), (8, 8, 0), (10, 10, 0)]


def test_nothing_is_told_where_nothing_was_consumed() -> None:
    stream = Stream()
    stream.now += 100
    assert stream.credit.consumed() is None
    stream.take(1, 0.01)
    assert len(stream.told) == 2


def test_large_responses_are_told_sooner() -> None:
    stream = Stream(most=16, adapts=False)
    stream.take(4, 0.001, size=256 << 10)
    assert [number for _, number, _ in stream.told] == [2, 4]
    stream.take(2, 0.001, size=600 << 10)  # two may wait: to tell of both at once would be to wait for more
    assert [number for _, number, _ in stream.told] == [2, 4, 5, 6]


def test_a_window_that_was_asked_for_stays_and_none_is_never_told() -> None:
    fixed, without = Stream(most=5, adapts=False), Stream(most=0, adapts=False)
    fixed.take(12, 0.001)
    assert (fixed.told, fixed.credit.window) == ([(0.003, 3, 0), (0.006, 6, 0), (0.009, 9, 0), (0.012, 12, 0)], 5)
    without.take(100, 1.0)
    assert without.told == []


def test_it_begins_anew_with_every_call_and_subscription() -> None:
    stream = Stream()
    stream.take(60, 0.01)
    asked = stream.credit.asked(16, True)
    assert asked == heatmap_pb2.Ack(window=2)
    stream.credit.opened()
    stream.now += 100
    assert stream.credit.consumed() is None
    stream.number = 0
    stream.take(1, 0.01)
    assert stream.told[-1][1:] == (1, 4)


def test_parts_of_windows() -> None:
    assert [told_after(window) for window in (1, 2, 3, 4, 8, 24, 64)] == [1, 1, 2, 3, 6, 18, 48]
