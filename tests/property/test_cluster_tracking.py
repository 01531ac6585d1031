"""Identity of clusters: what drifts, grows, splits or merges keeps the right number, and noise changes none."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.engine.clusters.tracking import MOST_TRACKS, Followed, Run, Track, TrackingRule, follow

S = 10**9
AT_ONCE = TrackingRule(share=0.01, hysteresis=1.25, dwell_ns=0)
PATIENT = TrackingRule(share=0.01, hysteresis=1.25, dwell_ns=10 * S)
TOTAL = 10_000


def step(
    tracks: tuple[Track, ...], runs: list[Run], now_s: float = 0, rule: TrackingRule = AT_ONCE, next_id: int = 1
) -> Followed:
    def held(begin: int, end: int) -> int:
        return sum(run.notional for run in runs if run.begin < end and begin < run.end)

    return follow(tracks, sorted(runs), TOTAL, held, round(now_s * S), rule, next_id)


def ids(followed: Followed) -> list[int]:
    return [track.id for track in followed.tracks]


@given(st.lists(st.integers(-1, 1), max_size=60), st.lists(st.integers(0, 1), max_size=60))
def test_a_cluster_that_drifts_and_grows_keeps_its_identity(drift: list[int], growth: list[int]) -> None:
    begin, width = 1_000, 3
    now = step((), [Run(begin, begin + width, begin, 500)])
    for moved, more in zip(drift, growth, strict=False):
        begin, width = begin + moved, width + more
        now = step(now.tracks, [Run(begin, begin + width, begin, 500 + 100 * width)], next_id=now.next_id)
        assert ids(now) == [1]
        assert (now.tracks[0].begin, now.tracks[0].end) == (begin, begin + width)


@given(st.integers(100, 4_000), st.integers(100, 4_000), st.integers(1, 20))
def test_the_larger_part_keeps_the_identity_and_gives_it_back_when_it_merges(left: int, right: int, gap: int) -> None:
    whole = step((), [Run(10, 50, 20, left + right)])
    parts = [Run(10, 30 - gap, 15, left), Run(30, 50, 40, right)] if gap < 20 else [Run(30, 50, 40, right)]
    split = step(whole.tracks, parts, 1, next_id=whole.next_id)
    largest = max(split.tracks, key=lambda track: (track.notional, -track.begin))
    assert largest.id == 1
    assert len(set(ids(split))) == len(parts)
    merged = step(split.tracks, [Run(10, 50, 20, left + right)], 2, next_id=split.next_id)
    assert merged.tracks[0].id == 1
    later = step(merged.tracks, [Run(10, 50, 20, left + right)], 3, next_id=merged.next_id)
    assert ids(later) == [1]


def test_what_merged_goes_into_the_larger_one_once_that_has_lasted() -> None:
    two = [Run(10, 14, 12, 3_000), Run(16, 20, 18, 1_000)]
    now = step((), two, 0, PATIENT)
    now = step(now.tracks, two, 10, PATIENT, now.next_id)
    assert all(track.standing for track in now.tracks)
    one = [Run(10, 20, 12, 4_100)]
    now = step(now.tracks, one, 12, PATIENT, now.next_id)
    assert ids(now) == [1, 2]
    now = step(now.tracks, two, 15, PATIENT, now.next_id)  # it was noise
    assert [(t.id, t.notional) for t in now.tracks] == [(1, 3_000), (2, 1_000)]
    for second in (16, 26, 27):
        now = step(now.tracks, one, second, PATIENT, now.next_id)
    assert ids(now) == [1]
    assert now.merged == ((2, 1),) or now.ended == ()


@given(st.lists(st.booleans(), min_size=20, max_size=80), st.lists(st.integers(70, 140), min_size=80, max_size=80))
def test_noise_around_the_threshold_does_not_flap(found: list[bool], notional: list[int]) -> None:
    """Seen half of the time, at sizes on both sides of the share: one identity, from the dwell on."""
    now = Followed((), (), (), 1)
    for second in range(12):
        now = step(now.tracks, [Run(5, 9, 6, 120)], second, PATIENT, now.next_id)
    assert now.tracks[0].standing
    kept = now.tracks[0].id
    last_good = 11
    for second, (seen, size) in enumerate(zip(found, notional, strict=False), 12):
        good = seen and size >= TOTAL * PATIENT.share / PATIENT.hysteresis
        now = step(now.tracks, [Run(5, 9, 6, size)] if seen else [], second, PATIENT, now.next_id)
        last_good = second if good else last_good
        if second - last_good > 10:
            assert kept not in ids(now)
            return
        assert kept in ids(now)
        assert sum(track.standing for track in now.tracks) == 1


RUNS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 5_000)), max_size=12)


@given(st.lists(st.tuples(RUNS, st.integers(1, 30)), max_size=12))
def test_identities_are_unique_and_never_given_twice(ticks: list[tuple[list[tuple[int, int, int]], int]]) -> None:
    now, second = Followed((), (), (), 1), 0
    alive: set[int] = set()
    gone: set[int] = set()
    for shapes, seconds in ticks:
        runs, at = [], 0
        for gap, width, notional in shapes:
            runs.append(Run(at + gap, at + gap + width, at + gap, notional))
            at += gap + width
        second += seconds
        before = now.next_id
        now = step(now.tracks, runs, second, PATIENT, now.next_id)
        names = ids(now)
        assert len(set(names)) == len(names) <= MOST_TRACKS
        assert all(a.begin <= b.begin for a, b in pairwise(now.tracks))
        assert {name for name in names if name not in alive} <= set(range(before, now.next_id))
        gone |= alive - set(names)
        assert not gone & set(names)
        assert {name for name, _ in now.merged} | set(now.ended) <= gone
        assert all(heir in names for _, heir in now.merged)
        alive = set(names)


def test_there_is_a_bound_and_the_largest_stay() -> None:
    runs = [Run(3 * k, 3 * k + 1, 3 * k, 100 + k) for k in range(MOST_TRACKS + 10)]
    now = step((), runs)
    assert len(now.tracks) == MOST_TRACKS
    assert min(track.notional for track in now.tracks) == 110
