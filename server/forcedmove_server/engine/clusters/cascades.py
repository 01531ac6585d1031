"""When a cascade happened: the one place that says so.

A cascade of longs (of shorts: the mirror image) is a fall of the mark, within ``window``, by at least ``move`` of the
price and ``sigmas`` standard deviations of what the symbol moves in that time, during which at least ``released`` of
its open interest was liquidated (see :func:`.observed.released`). It *began* with the first observation after the
latest one from which the fall was large enough, and *ended* when the mark made no new low for ``QUIET_S`` (after
``LONGEST_S`` at the latest) and most open interest has been observed since (or ``WAIT_S`` were over). A fall that
released too little is a move and nothing more.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.engine.clusters.observed import Released, Seen, released

QUIET_S, WAIT_S, LONGEST_S = 60, 600, 3_600
_SECOND_NS = 10**9
#: the history of one window holds at most about so many observations
_MOST_KEPT = 1024


class CascadeRule(NamedTuple):
    """See the module; ``window_ns`` nanoseconds, the others shares."""

    window_ns: int
    move: float
    sigmas: float
    released: float


@dataclass(slots=True)
class _Point:
    """An observation from which the mark may fall: ``height`` is log price, of shorts negated."""

    height: float
    seen: Seen
    levels: tuple[float, ...]
    next_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A fall (rise) that is over. ``levels`` is how many of those that were expected before it the mark reached."""

    cascade: bool
    began_ns: int
    ended_ns: int
    floor_usd: float
    floor_ns: int
    levels: int
    released: Released


@dataclass(slots=True)
class _Running:
    start: _Point
    began_ns: int
    lowest: float
    floor_usd: float
    floor_ns: int


class SideMoves:
    """Watches one side of one symbol."""

    def __init__(self, side: int, rule: CascadeRule) -> None:
        self._side, self._rule = side, rule
        self._points: deque[_Point] = deque()
        self._running: _Running | None = None

    @property
    def running(self) -> bool:
        """Whether a fall that may be a cascade is going on."""
        return self._running is not None

    def take(self, seen: Seen, volatility_day: float, levels: tuple[float, ...], bin_width: float) -> Move | None:
        """Take the next observation; return a move that it ended.

        ``levels`` are lower edges of the bins where something is expected to fire, which a later move is held against.
        """
        lowest, height = self._heights(seen)
        if self._points and self._points[-1].next_ns is None:
            self._points[-1].next_ns = seen.time_ns
        done = None
        if self._running is None:
            self._begin(seen, lowest, volatility_day)
        if self._running is not None:
            done = self._go_on(self._running, seen, lowest, bin_width)
        self._push(_Point(height, seen, levels))
        return done

    def _heights(self, seen: Seen) -> tuple[float, float]:
        if self._side == LONG:
            return math.log(seen.low_usd), math.log(seen.mark_usd)
        return -math.log(seen.high_usd), -math.log(seen.mark_usd)

    def _furthest(self, seen: Seen) -> float:
        return seen.low_usd if self._side == LONG else seen.high_usd

    def _push(self, point: _Point) -> None:
        """Keep the observations that nothing later is as high as, newest last."""
        points, now_ns = self._points, point.seen.time_ns
        while points and points[-1].height <= point.height:
            points.pop()
        if not points or now_ns - points[-1].seen.time_ns >= self._rule.window_ns // _MOST_KEPT:
            points.append(point)
        while len(points) > 1 and (points[0].next_ns or now_ns) < now_ns - self._rule.window_ns:
            points.popleft()

    def _begin(self, seen: Seen, lowest: float, volatility_day: float) -> None:
        rule = self._rule
        for point in reversed(self._points):
            gap_s = max(rule.window_ns, seen.time_ns - point.seen.time_ns) / _SECOND_NS
            if (point.next_ns or seen.time_ns) < seen.time_ns - rule.window_ns:
                return
            least = max(-math.log1p(-rule.move), rule.sigmas * volatility_day * math.sqrt(gap_s / 86_400))
            if point.height - lowest >= least:
                began_ns = point.next_ns or seen.time_ns
                self._running = _Running(point, began_ns, lowest, self._furthest(seen), seen.time_ns)
                return

    def _go_on(self, running: _Running, seen: Seen, lowest: float, bin_width: float) -> Move | None:
        if lowest < running.lowest:
            running.lowest, running.floor_usd, running.floor_ns = lowest, self._furthest(seen), seen.time_ns
        quiet_s = (seen.time_ns - running.floor_ns) / _SECOND_NS
        long_s = (seen.time_ns - running.began_ns) / _SECOND_NS
        settled = quiet_s >= WAIT_S or _observed_since(seen, running.floor_ns)
        if not (long_s >= LONGEST_S + WAIT_S or (settled and (quiet_s >= QUIET_S or long_s >= LONGEST_S))):
            return None
        self._running = None
        self._points.clear()
        left = released(running.start.seen, seen, self._side)
        return Move(
            cascade=left.total > 0 and left.total >= self._rule.released * left.interest,
            began_ns=running.began_ns,
            ended_ns=seen.time_ns,
            floor_usd=running.floor_usd,
            floor_ns=running.floor_ns,
            levels=levels_reached(running.start.levels, running.floor_usd, self._side, bin_width),
            released=left,
        )


def levels_reached(levels: tuple[float, ...], floor_usd: float, side: int, bin_width: float) -> int:
    """Count the levels (lower edges of bins) whose bin a mark that went to ``floor_usd`` has entered."""
    if side == LONG:
        return sum(floor_usd < level + bin_width for level in levels)
    return sum(floor_usd >= level for level in levels)


def _observed_since(seen: Seen, time_ns: int) -> bool:
    """Whether most of the open interest has been observed after a time."""
    worth = np.nan_to_num(seen.quantity * seen.usd)
    return float(worth[seen.interest_ns > time_ns].sum()) >= 0.5 * float(worth.sum())
