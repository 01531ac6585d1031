"""Trades are taken once, and what is missing is noticed: repeats, holes, counts that begin anew, bounded memory."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.collectors.continuity import HOLE_PATIENCE_NS, Continuity
from forcedmove_server.collectors.records import Trade
from tests.live.samples import BTC, NOW_NS, SECOND_NS, liquidation, trade

_LATER_NS = NOW_NS + HOLE_PATIENCE_NS


def numbered(sequence: int, time_ns: int | None = None) -> Trade:
    when = NOW_NS - (1_000 - sequence) if time_ns is None else time_ns
    return trade(sequence, when, sequence=sequence)


def taken(seen: Continuity, *sequences: int, received_ns: int = NOW_NS) -> list[bool]:
    return [seen.admit(numbered(sequence), received_ns, 0) for sequence in sequences]


def test_a_repeated_trade_is_refused_and_is_no_hole() -> None:
    seen = Continuity()
    assert taken(seen, 1, 2, 2, 1, 3) == [True, True, False, False, True]
    assert seen.lost(_LATER_NS) is None


def test_a_repeated_liquidation_is_refused() -> None:
    seen = Continuity()
    assert [seen.admit(liquidation(n), NOW_NS, 0) for n in (7, 7, 8)] == [True, False, True]


def test_events_without_ids_are_all_different() -> None:
    seen = Continuity()
    assert all(seen.admit(trade(1, trade_id=""), NOW_NS, 0) for _ in range(3))


def test_a_hole_that_is_closed_by_reordering_is_none() -> None:
    seen = Continuity()
    taken(seen, 1, 3, 2, 4)
    assert seen.lost(_LATER_NS) is None


def test_a_hole_waits_for_its_patience_and_is_told_once() -> None:
    seen = Continuity()
    taken(seen, 1, 4)
    assert seen.lost(_LATER_NS - 1) is None
    hole = seen.lost(_LATER_NS)
    assert hole is not None
    assert hole.missing == 2
    assert (hole.begin_ns, hole.end_ns) == (numbered(1).time_ns, numbered(4).time_ns)
    assert seen.lost(_LATER_NS + SECOND_NS) is None


def test_holes_that_are_not_overdue_are_kept_for_later() -> None:
    seen = Continuity()
    taken(seen, 1, 3)
    taken(seen, 5, received_ns=NOW_NS + 1)
    first, second = seen.lost(_LATER_NS), seen.lost(_LATER_NS + 1)
    assert first is not None
    assert second is not None
    assert first.end_ns == numbered(3).time_ns
    assert second.begin_ns == numbered(3).time_ns


def test_a_late_trade_after_its_hole_was_told_is_taken_all_the_same() -> None:
    seen = Continuity()
    taken(seen, 1, 3)
    assert seen.lost(_LATER_NS) is not None
    assert taken(seen, 2) == [True]
    assert seen.lost(_LATER_NS + SECOND_NS) is None


def test_a_count_that_begins_anew_is_followed_however_close_it_is() -> None:
    for last in (5_000_000, 500):
        seen = Continuity()
        seen.admit(numbered(last, NOW_NS), NOW_NS, 0)
        for sequence in (1, 2, 4):
            seen.admit(numbered(sequence, NOW_NS + sequence), NOW_NS, 0)
        hole = seen.lost(_LATER_NS)
        assert hole is not None
        assert hole.missing == 1


def test_an_old_number_with_an_old_stamp_is_late_and_begins_nothing() -> None:
    seen = Continuity()
    seen.admit(numbered(500, NOW_NS), NOW_NS, 0)
    seen.admit(numbered(499, NOW_NS - 1), NOW_NS, 0)
    seen.admit(numbered(501, NOW_NS + 1), NOW_NS, 0)
    assert seen.lost(_LATER_NS) is None


def test_the_first_number_may_be_any() -> None:
    seen = Continuity()
    taken(seen, 123_456)
    assert seen.lost(_LATER_NS) is None


def test_a_hole_of_unstamped_or_skewed_trades_counts_from_their_receipt() -> None:
    """A gap that begins in 1970, or ends in a minute, would be announced far too long or far too late."""
    hour = 3600 * SECOND_NS
    for wrong_ns in (0, NOW_NS + hour, NOW_NS - hour):
        seen = Continuity()
        seen.admit(numbered(1, wrong_ns), NOW_NS - SECOND_NS, 0)
        seen.admit(numbered(3, wrong_ns), NOW_NS, 0)
        hole = seen.lost(_LATER_NS)
        assert hole is not None
        assert (hole.begin_ns, hole.end_ns) == (NOW_NS - SECOND_NS, NOW_NS)


def test_what_a_venue_replays_counts_only_if_it_is_from_after_the_start() -> None:
    seen = Continuity()
    started = NOW_NS - 10
    assert not seen.admit(trade(1, started, replayed=True), NOW_NS, started)
    assert seen.admit(trade(2, started + 1, replayed=True), NOW_NS, started)
    assert not seen.admit(trade(2, started + 1, replayed=True), NOW_NS, started)


def test_what_a_venue_replays_beyond_our_memory_is_not_taken_twice() -> None:
    seen = Continuity()
    for number in range(2_000):
        assert seen.admit(trade(number, NOW_NS + number), NOW_NS, 0)
    again = [seen.admit(trade(number, NOW_NS + number, replayed=True), NOW_NS, 0) for number in range(2_000)]
    assert not any(again)
    assert seen.admit(trade(2_000, NOW_NS + 2_000, replayed=True), NOW_NS, 0)


def test_replayed_events_without_ids_are_not_taken_twice() -> None:
    """After a reconnect nothing but their time tells them from those that came before."""
    seen = Continuity()
    assert seen.admit(trade(1, NOW_NS, trade_id=""), NOW_NS, 0)
    assert not seen.admit(trade(1, NOW_NS, trade_id="", replayed=True), NOW_NS, 0)
    assert seen.admit(trade(2, NOW_NS + 1, trade_id="", replayed=True), NOW_NS, 0)


def test_memory_is_bounded() -> None:
    seen = Continuity()
    for number in range(0, 300_000, 3):
        seen.admit(numbered(number, NOW_NS), NOW_NS + number, 0)
        if number % 300 == 0:
            seen.lost(NOW_NS + number, patience_ns=300)
    held = sum(sys.getsizeof(getattr(seen, name)) for name in seen.__slots__ if hasattr(seen, name))
    assert held < 64 * 1024


def test_one_enormous_hole_costs_no_more_than_a_small_one() -> None:
    seen = Continuity()
    taken(seen, 1, 2**53)
    hole = seen.lost(_LATER_NS)
    assert hole is not None
    assert hole.missing >= 1


@given(st.lists(st.integers(0, 200), max_size=120))
def test_every_number_is_taken_once_and_every_missing_one_is_told(numbers: list[int]) -> None:
    seen = Continuity()
    admitted = [n for n in numbers if seen.admit(Trade(BTC, NOW_NS + n, 1.0, 1.0, 1, n, n), NOW_NS, 0)]
    assert sorted(admitted) == sorted(set(numbers))
    hole = seen.lost(_LATER_NS)
    if numbers:
        after_first = [n for n in range(numbers[0], max(numbers)) if n not in numbers]
        assert (hole.missing if hole else 0) <= len(after_first)
        assert bool(hole) == bool(after_first)
