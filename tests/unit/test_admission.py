"""Admission without a clock: windows are ended by hand, waits are said."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress

import pytest

from forcedmove_server.config import OverloadConfig
from forcedmove_server.errors import QuotaError
from forcedmove_server.rpc.admission import KINDS, Admission, Gate, Kind

CONFIG = OverloadConfig(call_delay_ms=20, engine_delay_ms=500, answer_delay_ms=500, snapshot_delay_ms=100)


#: calls a second that make every wait here a queue
BUSY_HZ = 10_000.0


def windows(admission: Admission, wait_s: float, count: int, queue: str = "calls", calls_hz: float = BUSY_HZ) -> None:
    for _ in range(count):
        for name, gate in admission.gates.items():
            gate.saw(wait_s if name == queue else 0.0)
            gate.end_window(calls_hz)


def let_in(admission: Admission, kind: Kind, calls: int = 100) -> int:
    found = 0
    for _ in range(calls):
        try:
            admission.admit(kind)
        except QuotaError:
            continue
        found += 1
    return found


def let_in_all(admission: Admission, kind: Kind, calls: int) -> None:
    for _ in range(calls):
        admission.admit(kind)


def test_an_idle_server_lets_everything_in() -> None:
    admission = Admission(CONFIG)
    windows(admission, 0.001, 5)
    assert {kind: let_in(admission, kind) for kind in KINDS} == dict.fromkeys(KINDS, 100)
    assert not any(admission.shed.values())


def test_a_wait_is_told_until_the_next_one() -> None:
    admission = Admission(CONFIG)
    admission.gates["calls"].saw(0.08)
    for _ in range(3):
        admission.end_window(0.1, {})
        assert admission.waits_s["calls"] == 0.08
    assert admission.gates["calls"].wait_s == 0.0
    admission.gates["calls"].saw(0.001)
    admission.end_window(0.1, {"engine": 0.5})
    assert (admission.waits_s["calls"], admission.waits_s["engine"]) == (0.001, 0.5)


def test_a_window_is_idle_until_somebody_calls_and_while_nobody_waits_for_an_answer() -> None:
    admission = Admission(CONFIG)
    assert admission.is_idle
    admission.admit("read")
    assert not admission.is_idle
    with admission.answering("read"):
        admission.end_window(0.1, {})
        assert not admission.is_idle
    assert admission.is_idle


@pytest.mark.parametrize(
    ("wait_ms", "shut"),
    [(19, 0), (25, 1), (35, 2), (50, 3), (70, 4), (90, 5)],
)
def test_classes_are_shut_out_one_after_the_other_as_the_wait_rises(wait_ms: float, shut: int) -> None:
    admission = Admission(CONFIG)
    windows(admission, wait_ms / 1e3, 200)
    assert [let_in(admission, kind) == 0 for kind in KINDS] == [number < shut for number in range(len(KINDS))]
    assert [let_in(admission, kind) == 100 for kind in KINDS] == [number >= shut for number in range(len(KINDS))]
    assert [admission.shed[kind] > 0 for kind in KINDS] == [number < shut for number in range(len(KINDS))]


def test_a_burst_that_drains_within_a_window_sheds_nothing() -> None:
    admission = Admission(CONFIG)
    for _ in range(50):
        for wait_s in (0.3, 0.1, 0.001, 0.2):
            admission.gates["calls"].saw(wait_s)
        admission.gates["calls"].end_window(BUSY_HZ)
    assert let_in(admission, "scan") == 100


def test_a_wait_that_does_not_end_counts_while_it_lasts_and_not_less_than_the_last_one() -> None:
    gate = Gate("calls", 0.02)
    gate.end_window(BUSY_HZ, so_far_s=0.05)
    assert gate.wait_s == 0.05
    gate.saw(2.0)
    gate.end_window(BUSY_HZ)
    gate.end_window(BUSY_HZ, so_far_s=0.01)  # the next one has just begun to wait: nothing says that the queue is gone
    assert gate.wait_s == 2.0
    gate.end_window(BUSY_HZ, so_far_s=3.0)
    assert gate.wait_s == 3.0
    gate.end_window(BUSY_HZ)
    assert gate.wait_s == 0.0


def test_a_queue_is_shut_to_those_who_wait_in_it_only() -> None:
    admission = Admission(CONFIG)
    windows(admission, 10.0, 200, "snapshots")
    assert [kind for kind in KINDS if let_in(admission, kind) == 0] == ["read", "stream"]


@pytest.mark.parametrize(("wait_s", "shut"), [(0.5, []), (0.6, ["scan"]), (0.8, ["scan", "simulate"])])
def test_questions_are_refused_while_a_turn_would_come_too_late_and_scans_before_them(
    wait_s: float, shut: list[Kind]
) -> None:
    wait = [wait_s]
    admission = Admission(CONFIG, lambda: wait[0], lambda: 0.5)
    assert [kind for kind in KINDS if let_in(admission, kind) == 0] == shut
    assert admission.waits_s["answers"] == wait_s
    if shut:
        with pytest.raises(QuotaError, match="answers wait") as caught:
            admission.admit("scan")
        assert caught.value.retry_s == pytest.approx(wait_s)  # by then the turns ahead are over
        wait[0] = 0.0
        assert let_in(admission, "scan") == 100


def test_a_share_falls_by_half_at_most_recovers_in_two_seconds_and_thins_evenly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    admission = Admission(CONFIG)
    windows(admission, 100.0, 2)
    assert admission.gates["calls"].shares["ingest"] == pytest.approx(0.5, abs=0.001)
    pattern = []
    for _ in range(8):
        before = admission.shed["read"]
        let_in(admission, "read", 1)
        pattern.append(admission.shed["read"] == before)
    assert sum(pattern) in (3, 4)
    assert pattern[:6:2] != [True] * 3 or pattern[1:6:2] != [True] * 3
    windows(admission, 0.0, 9)
    assert admission.gates["calls"].shares["ingest"] == pytest.approx(0.95, abs=0.001)
    windows(admission, 0.0, 2)
    assert let_in(admission, "ingest") == 100
    shed = [record for record in caplog.records if "are shed" in record.message]
    back = [record for record in caplog.records if "are let in" in record.message]
    assert len(shed) == len(back) == len(KINDS)


def test_one_slow_window_is_no_queue_and_neither_is_a_wait_of_few_calls() -> None:
    admission = Admission(CONFIG)
    for _ in range(50):
        windows(admission, 0.5, 1)
        windows(admission, 0.001, 1)
    assert let_in(admission, "scan") == 100
    windows(admission, 0.1, 50, calls_hz=79)  # 7.9 calls wait: a slow machine
    assert let_in(admission, "scan") == 100
    windows(admission, 0.1, 50, calls_hz=81)
    assert let_in(admission, "scan") < 10


def test_the_rate_of_calls_is_that_of_the_classes_that_wait_there_refused_ones_too() -> None:
    admission = Admission(CONFIG)
    for _ in range(50):
        let_in(admission, "scan", 50)
        for gate in admission.gates.values():
            gate.saw(0.5)
        admission.end_window(0.1, {"engine": 0.1})
    assert admission.gates["calls"].shares["scan"] < 0.01
    assert admission.gates["snapshots"].shares == {"read": 1.0, "stream": 1.0}  # none of these came
    admission.end_window(0.1, {})
    assert admission.gates["calls"].shares["scan"] > 0.04  # nobody asked in that window


def test_a_third_of_the_load_is_let_in_where_a_third_can_be_served() -> None:
    """A queue of a served rate, fed with three times of it: the wait settles near the threshold, the rest is shed."""
    admission, served_per_window, queue = Admission(CONFIG), 20.0, 0.0
    waits, counts = [], Counter[bool]()
    for window in range(600):
        before = admission.shed["read"]
        let_in(admission, "read", 60)
        taken = 60 - (admission.shed["read"] - before)
        queue = max(queue + taken - served_per_window, 0.0)
        for gate in admission.gates.values():
            gate.saw(queue / served_per_window * 0.1 if gate.name == "calls" else 0.0)
            gate.end_window(BUSY_HZ)
        if window >= 100:
            waits.append(admission.gates["calls"].wait_s)
            counts[True] += taken
    assert 0.9 < counts[True] / (500 * served_per_window) <= 1.05  # nothing that could have been served was refused
    assert max(waits) < 0.2
    assert sum(waits) / len(waits) < 0.08


def test_room_for_calls_in_flight_goes_by_class() -> None:
    admission = Admission(OverloadConfig(max_in_flight=20))
    for number, kind in ((10, "scan"), (12, "simulate"), (15, "read"), (18, "stream"), (20, "ingest")):
        assert let_in(admission, kind, 1) == 1
        admission.in_flight = number
        assert let_in(admission, kind, 1) == 0
    fresh = Admission(OverloadConfig(max_in_flight=20))
    with suppress(KeyError), fresh.answering("scan"):
        assert fresh.in_flight == 1
        raise KeyError
    assert fresh.in_flight == 0


def busy(admission: Admission, answers_hz: int, seconds: int = 1) -> None:
    """Windows at whose beginning and end 100 reads are being answered; so many answers come in each tenth one."""
    admission.reads = 100
    admission.end_window(0.1, {})
    for number in range(10 * seconds + 1):
        for _ in range(answers_hz if number % 10 == 9 else 0):
            with admission.answering("read"):
                pass
        admission.end_window(0.1, {})
    admission.reads = 0
    admission.end_window(0.1, {})


def test_calls_are_refused_while_those_ahead_would_take_too_long() -> None:
    admission = Admission(CONFIG, jitter=lambda: 0.5)
    admission.reads = 100
    assert let_in(admission, "scan", 10) == 10  # nothing is known of how long they take
    busy(admission, 100)
    admission.reads = 51
    assert [kind for kind in KINDS if let_in(admission, kind, 1) == 0] == ["scan"]
    admission.reads = 151
    assert [kind for kind in KINDS if let_in(admission, kind, 1) == 0] == ["scan", "simulate", "read"]
    with pytest.raises(QuotaError, match=r"151 reads wait 1\d+ ms, at most 1000 ms") as caught:
        admission.admit("read")
    assert 0.5 <= caught.value.retry_s < 0.7
    admission.reads = 7
    assert let_in(admission, "scan", 1) == 1


def test_questions_that_take_long_say_nothing_of_the_wait_of_reads() -> None:
    admission = Admission(CONFIG)
    for _ in range(60):
        admission.in_flight, admission.reads = 60, 1
        admission.end_window(0.1, {})
    assert let_in(admission, "read", 10) == 10


def test_the_rate_of_answers_is_learnt_while_the_server_is_busy_only() -> None:
    admission = Admission(CONFIG)
    busy(admission, 100)
    for _ in range(100):  # an idle server answers few, which says nothing of what it could
        with admission.answering("read"):
            pass
        admission.end_window(0.1, {})
    admission.reads = 45
    assert let_in(admission, "scan", 1) == 1
    busy(admission, 1_000, 8)
    admission.reads = 120
    assert let_in(admission, "scan", 1) == 1


def test_a_refusal_says_what_waits_and_when_to_ask_again() -> None:
    delays = []
    for jitter in (0.0, 0.5, 1.0):
        admission = Admission(CONFIG, jitter=lambda value=jitter: value)
        windows(admission, 0.050, 2)
        let_in(admission, "scan", 1)
        with pytest.raises(QuotaError, match=r"calls wait 50 ms, at most 20 ms .* scan calls are shed") as caught:
            let_in_all(admission, "scan", 3)
        assert caught.value.reason == "OVERLOADED"
        delays.append(caught.value.retry_s)
    assert delays == sorted(delays)
    assert delays[0] < delays[1] < delays[2] < 2.0
    windows(admission, 1.0, 2_000)  # a share that is too small for a float
    with pytest.raises(QuotaError) as caught:
        admission.admit("scan")
    assert 10.0 <= caught.value.retry_s <= 12.5
