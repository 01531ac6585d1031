"""A dead connection is found out, and a quiet one is not given up."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors import liveness
from forcedmove_server.collectors.liveness import ConnectionLostError, Liveness

S = 10**9


class Clock:
    """Stands in for ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return round(self.now * S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(liveness, "time", made)
    return made


def test_a_silent_connection_is_asked_once_and_given_up_when_it_does_not_answer(clock: Clock) -> None:
    alive = Liveness(60.0)
    clock.now += 4.9
    assert not alive.probe_is_due()
    clock.now += 0.2
    assert alive.probe_is_due()
    assert not alive.probe_is_due()
    clock.now += 3.9
    alive.check()
    clock.now += 0.2
    with pytest.raises(ConnectionLostError, match="a ping is not answered"):
        alive.check()


def test_an_answered_ping_is_life_enough(clock: Clock) -> None:
    alive = Liveness(60.0)
    for _ in range(10):
        clock.now += 11.0
        assert alive.probe_is_due()
        clock.now += 1.0
        alive.heard()
        alive.check()


def test_without_an_answer_silence_counts_too(clock: Clock) -> None:
    alive = Liveness(3.0)
    clock.now += 3.1
    with pytest.raises(ConnectionLostError, match=r"silent for 3\.1 s"):
        alive.check()


def test_a_gap_begins_with_the_oldest_of_the_last_stamps_and_ends_by_the_clock_of_the_venue(clock: Clock) -> None:
    alive = Liveness(60.0)
    received = alive.heard()
    assert (alive.since_ns(received), alive.until_ns(received)) == (received, received)
    for stamp in (received - S, received - 2 * S, received - 3600 * S):  # the last cannot be right
        alive.stamped(stamp)
    assert alive.since_ns(received) == received - 2 * S
    assert alive.until_ns(received + S) == received + S
    alive.stamped(received + 3 * S)  # a clock that is ahead
    assert alive.until_ns(received + S) == received + 4 * S


def test_the_venues_own_ping_comes_at_its_interval(clock: Clock) -> None:
    alive = Liveness(60.0)
    assert not alive.ping_is_due(0.0)
    assert not alive.ping_is_due(20.0)
    clock.now += 20.0
    assert alive.ping_is_due(20.0)
    assert not alive.ping_is_due(20.0)
