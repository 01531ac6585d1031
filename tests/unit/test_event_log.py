"""The event log: numbers without gaps, a bound, and what a reader is told who asks for what is gone."""

from __future__ import annotations

import threading

import pytest

from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.engine.clusters.log import EventLog, Wanted
from forcedmove_server.errors import GoneError
from tests.unit.event_samples import event

EVERYTHING = Wanted()


def filled(count: int, kept: int = 100) -> EventLog:
    log = EventLog(7, kept)
    for seq in range(1, count + 1):
        kind = EventKind.ARMED if seq % 2 else EventKind.DISARMED
        log.append(event(seq, epoch=7, kind=kind, symbol="BTC" if seq % 3 else "ETH"))
    return log


def seqs(log: EventLog, from_seq: int = 0, most: int = 1_000, wanted: Wanted = EVERYTHING) -> list[int]:
    return [found.seq for found in log.read(from_seq, most, wanted).events]


def test_pages_go_on_where_the_last_one_ended() -> None:
    log = filled(10)
    assert seqs(log) == list(range(1, 11))
    page = log.read(0, 4, EVERYTHING)
    assert ([e.seq for e in page.events], page.next_seq) == ([1, 2, 3, 4], 5)
    assert seqs(log, page.next_seq) == [5, 6, 7, 8, 9, 10]
    assert log.read(11, 4, EVERYTHING) == ((), 11)


def test_filters_do_not_hold_the_reader_back() -> None:
    log = filled(10)
    wanted = Wanted(frozenset({"ETH"}), frozenset({EventKind.ARMED}))
    page = log.read(0, 100, wanted)
    assert ([e.seq for e in page.events], page.next_seq) == ([3, 9], 11)
    assert log.read(0, 1, wanted).next_seq == 4


def test_the_oldest_are_dropped_and_asking_for_them_says_what_is_kept() -> None:
    log = filled(250, kept=100)
    assert (log.first_seq, log.next_seq) == (151, 251)
    assert seqs(log)[0] == 151
    with pytest.raises(GoneError, match="from_seq = 150: events 151 to 250 are kept"):
        log.read(150, 10, EVERYTHING)
    with pytest.raises(GoneError, match="events 151 to 250"):
        log.read(252, 10, EVERYTHING)  # not there yet
    assert log.read(251, 10, EVERYTHING).events == ()


def test_numbers_of_another_epoch_are_refused() -> None:
    with pytest.raises(GoneError, match="epoch = 6: the server has restarted since; its epoch is 7"):
        filled(3).read(1, 10, EVERYTHING, epoch=6)
    assert len(filled(3).read(1, 10, EVERYTHING, epoch=7).events) == 3


def test_a_gap_or_another_epoch_cannot_be_appended() -> None:
    log = filled(3)
    with pytest.raises(ValueError, match="is not 7-4"):
        log.append(event(5, epoch=7))
    with pytest.raises(ValueError, match="is not 7-4"):
        log.append(event(4, epoch=8))


def test_readers_on_other_threads_see_every_event_once() -> None:
    log, seen, news = EventLog(7, 5_000), [], threading.Event()
    stop = log.on_event(news.set)

    def read() -> None:
        at = 1
        while at <= 2_000:
            page = log.read(at, 64, EVERYTHING)
            seen.extend(found.seq for found in page.events)
            if page.next_seq == log.next_seq and at <= 2_000:
                news.wait(0.01)
                news.clear()
            at = page.next_seq

    reader = threading.Thread(target=read)
    reader.start()
    for seq in range(1, 2_001):
        log.append(event(seq, epoch=7))
    reader.join(20)
    stop()
    assert seen == list(range(1, 2_001))
