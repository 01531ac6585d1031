"""Which cluster of this tick is which cluster of the last one.

A cluster is followed by its price bins, in absolute numbers, so that it keeps its identity while it drifts and grows.
Two ranges touch where they overlap or lie side by side. Tracks choose among the runs that touch them, standing ones
first and the larger first; each takes the run with the most notional that is still free:

* **split**: the part with the most notional keeps the identity, the others are new;
* **merge**: what merged keeps the identity of the larger one, the others end in it once that has lasted the dwell;
* a run that touches nothing is new. Identities rise and are never given twice.

Two thresholds and a dwell keep noise from flapping: a cluster is a *candidate* from a share of its side's notional on
and *stands* once it has lasted the dwell; one that stands ends when it was not found, or was below the share by the
factor of hysteresis, for longer than the dwell.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

#: tracks of one symbol and side at most: the smallest candidates give way first, then the smallest that stand
MOST_TRACKS = 64


class Run(NamedTuple):
    """A cluster as it was found: bins ``begin <= bin < end``, absolute, the one with the most, and cents."""

    begin: int
    end: int
    peak: int
    notional: int


@dataclass(frozen=True, slots=True)
class Track:
    """A cluster that is followed.

    ``since_ns`` is when it began, ``seen_ns`` when it was last found above the threshold it would leave at.
    """

    id: int
    begin: int
    end: int
    peak: int
    notional: int
    since_ns: int
    seen_ns: int
    standing: bool = False


class TrackingRule(NamedTuple):
    """``share`` of its side's notional that makes a candidate; ``hysteresis`` by which less of it ends one."""

    share: float
    hysteresis: float
    dwell_ns: int


class Followed(NamedTuple):
    """All tracks after a step, by ascending bins; ``merged`` are pairs (identity that ended, one it went into)."""

    tracks: tuple[Track, ...]
    merged: tuple[tuple[int, int], ...]
    ended: tuple[int, ...]
    next_id: int


def follow(
    tracks: Sequence[Track],
    runs: Sequence[Run],
    total: int,
    held: Callable[[int, int], int],
    now_ns: int,
    rule: TrackingRule,
    next_id: int,
) -> Followed:
    """Follow the tracks of one symbol and side to the runs that were found at ``now_ns``.

    Runs are disjoint and ascend. ``total`` is the side's notional in cents, ``held(begin, end)`` what it has between
    two bins now. Only tracks that stand are told of as merged or ended.
    """
    begins, ends = [run.begin for run in runs], [run.end for run in runs]
    enter, leave = rule.share * total, rule.share * total / rule.hysteresis
    taken: dict[int, Track] = {}
    alive: list[Track] = []
    gone: list[tuple[Track, list[int]]] = []  # with the runs that lie where it was
    for track in sorted(tracks, key=lambda t: (not t.standing, -t.notional, t.id)):
        touching = range(bisect_left(ends, track.begin), bisect_right(begins, track.end))
        free = [k for k in touching if k not in taken]
        if free:
            chosen = max(free, key=lambda k: (runs[k].notional, -k))
            found = _found(track, runs[chosen], leave, now_ns, rule)
            if found is not None:
                taken[chosen] = found
                alive.append(found)
            else:
                gone.append((track, []))
        elif track.standing and now_ns - track.seen_ns <= rule.dwell_ns:
            alive.append(replace(track, notional=held(track.begin, track.end)))
        else:
            gone.append((track, list(touching)))
    for k, run in enumerate(runs):
        if k not in taken and run.notional >= enter and run.notional > 0:
            standing = rule.dwell_ns == 0
            alive.append(Track(next_id, *run, since_ns=now_ns, seen_ns=now_ns, standing=standing))
            next_id += 1
    alive.sort(key=lambda t: (not t.standing, -t.notional, t.id))
    gone += [(track, []) for track in alive[MOST_TRACKS:]]
    kept = alive[:MOST_TRACKS]
    merged, ended = [], []
    names = {track.id for track in kept}
    for track, into in gone:
        if not track.standing:
            continue
        heir = max(into, key=lambda k: (runs[k].notional, -k)) if into else None
        if heir is not None and taken[heir].id in names:
            merged.append((track.id, taken[heir].id))
        else:
            ended.append(track.id)
    kept.sort(key=lambda t: (t.begin, t.id))
    return Followed(tuple(kept), tuple(merged), tuple(ended), next_id)


def _found(track: Track, run: Run, leave: float, now_ns: int, rule: TrackingRule) -> Track | None:
    """Return the track where the run is, or None where it ended in it."""
    moved = replace(track, begin=run.begin, end=run.end, peak=run.peak, notional=run.notional)
    if run.notional >= leave:
        standing = track.standing or now_ns - track.since_ns >= rule.dwell_ns
        return replace(moved, seen_ns=now_ns, standing=standing)
    if track.standing and now_ns - track.seen_ns <= rule.dwell_ns:
        return moved
    return None
