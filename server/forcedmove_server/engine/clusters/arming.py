"""When a chain is armed, and what becomes of it: one state machine per symbol and side.

::

    nothing ──conditions held for the dwell──▶ armed ──the mark reached the near edge──▶ triggered ──▶ (resolved)
                                                 │ ▲ depth, notional or nearness grew by a rung: escalated
                                                 ├─┘
                                                 ├──conditions missed by the hysteresis, and for longer──▶ disarmed
                                                 └──the horizon is over──▶ expired: not armed again until it disarms

One chain is armed per symbol and side at a time, and nothing new is while a triggered one is not resolved: what falls
then belongs to it. The chain is that of a cluster with an identity; when that ends in another, the arm goes with it, or
what keeps an expired one from being armed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.config import ArmingConfig
from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.engine.clusters.tracking import Track
from forcedmove_server.engine.frames import ChainInfo

_SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cluster on the way of the mark, and the chain that starts when the mark reaches its near edge.

    ``distance`` is that of the edge from the mark, as a fraction of the mark, never negative.
    """

    cluster: Track
    near_usd: float
    distance: float
    chain: ChainInfo

    @property
    def venues(self) -> int:
        """Venues on which the chain fires."""
        return len({venue for level in self.chain.levels for venue in level.venues})


def shortfall(config: ArmingConfig, candidate: Candidate, volume_day_usd: float | None, slack: float = 1.0) -> str:
    """Return which condition is missed by more than the factor ``slack``, in words; empty where none is.

    Least counts of levels and venues are divided by it and rounded down, to one at least: no factor above 1 is lost to
    rounding, and a chain never holds without a level.

    ``volume_day_usd`` is what the symbol trades in a day, None where that is not known.
    """
    chain = candidate.chain
    least_usd = config.min_notional_usd
    if volume_day_usd is not None:
        least_usd = min(least_usd, config.min_volume_share * volume_day_usd)
    if candidate.distance > config.distance_fraction * slack:
        return f"{candidate.distance:.2%} away"
    if len(chain.levels) < _least(config.min_levels, slack):
        return f"fires {len(chain.levels)} levels"
    if chain.total_usd * slack < least_usd:
        return f"fires ${chain.total_usd:,.0f}"
    run = abs(chain.terminal_price_usd / candidate.near_usd - 1)
    if run * slack < config.min_run_fraction:
        return f"carries the mark {run:.2%}"
    if candidate.venues < _least(config.min_venues, slack):
        return f"fires on {candidate.venues} venues"
    return ""


def _least(count: int, slack: float) -> int:
    return max(1, math.floor(count / slack))


class Rungs(NamedTuple):
    """The most that was announced of an arm so far."""

    levels: int
    total_usd: float
    distance: float


@dataclass(slots=True)
class Arm:
    """A chain that is armed, or triggered and not yet resolved. ``latest`` is what it looked like last."""

    cluster: int
    at_ns: int
    first: Candidate
    latest: Candidate
    rungs: Rungs
    unmet_ns: int | None = None
    triggered_ns: int | None = None
    #: sequence number of its first event, which names it
    number: int = 0


class Change(NamedTuple):
    """A step of the state machine."""

    kind: EventKind
    arm: Arm
    reason: str


class SideArming:
    """The state machine of one symbol and side. ``arm`` is the one that stands, if any."""

    def __init__(self, side: int, config: ArmingConfig) -> None:
        self.arm: Arm | None = None
        self._side, self._config = side, config
        self._dwell_ns, self._leave_ns, self._horizon_ns = (
            round(seconds * _SECOND_NS) for seconds in (config.dwell_s, config.leave_dwell_s, config.horizon_s)
        )
        #: a cluster whose conditions have been met since a time, but not for long enough
        self._met: tuple[int, int] | None = None
        #: a cluster that has expired, and when it last met the conditions
        self._expired: tuple[int, int] | None = None

    @property
    def waits(self) -> bool:
        """Whether time alone may change something."""
        return self.arm is not None or self._met is not None or self._expired is not None

    def step(
        self,
        now_ns: int,
        low_usd: float,
        high_usd: float,
        candidates: Sequence[Candidate],
        merged: Mapping[int, int],
        volume_day_usd: float | None,
    ) -> list[Change]:
        """Take the next tick; return what changed.

        ``low_usd`` and ``high_usd`` are how far the mark went since the tick before, ``candidates`` the clusters that
        may be armed, the preferred ones first, ``merged`` into which identity others ended.
        """
        changes: list[Change] = []
        if self._expired is not None:
            cluster, met_ns = self._expired
            self._expired = merged.get(cluster, cluster), met_ns
        self._forgive(now_ns, candidates, volume_day_usd)
        if self.arm is None:
            self._find(now_ns, candidates, volume_day_usd, changes)
        elif self.arm.triggered_ns is None:
            self._follow(self.arm, now_ns, low_usd, high_usd, candidates, merged, volume_day_usd, changes)
        return changes

    def resolve(self, reason: str) -> Change:
        """End a triggered arm. Raises ValueError where there is none."""
        arm = self.arm
        if arm is None or arm.triggered_ns is None:
            raise ValueError("nothing was triggered")
        self.arm = None
        return Change(EventKind.RESOLVED, arm, reason)

    def _find(
        self, now_ns: int, candidates: Sequence[Candidate], volume_day_usd: float | None, changes: list[Change]
    ) -> None:
        expired = self._expired[0] if self._expired else None
        good = [c for c in candidates if c.cluster.id != expired and not shortfall(self._config, c, volume_day_usd)]
        if not good:
            self._met = None
            return
        chosen = next((c for c in good if self._met and c.cluster.id == self._met[0]), good[0])
        if self._met is None or self._met[0] != chosen.cluster.id:
            self._met = chosen.cluster.id, now_ns
        if now_ns - self._met[1] < self._dwell_ns:
            return
        self._met = None
        chain = chosen.chain
        rungs = Rungs(len(chain.levels), chain.total_usd, chosen.distance)
        self.arm = Arm(chosen.cluster.id, now_ns, chosen, chosen, rungs)
        changes.append(Change(EventKind.ARMED, self.arm, "conditions met"))

    def _follow(
        self,
        arm: Arm,
        now_ns: int,
        low_usd: float,
        high_usd: float,
        candidates: Sequence[Candidate],
        merged: Mapping[int, int],
        volume_day_usd: float | None,
        changes: list[Change],
    ) -> None:
        edge = arm.latest.near_usd
        if low_usd < edge if self._side == LONG else high_usd >= edge:
            arm.triggered_ns = now_ns
            changes.append(Change(EventKind.TRIGGERED, arm, "the mark reached its near edge"))
            return
        arm.cluster = merged.get(arm.cluster, arm.cluster)
        found = next((c for c in candidates if c.cluster.id == arm.cluster), None)
        missed = "its cluster is gone"
        if found is not None:
            arm.latest = found
            missed = shortfall(self._config, found, volume_day_usd, self._config.hysteresis)
        if missed:
            arm.unmet_ns = now_ns if arm.unmet_ns is None else arm.unmet_ns
            if now_ns - arm.unmet_ns >= self._leave_ns:
                self.arm = None
                changes.append(Change(EventKind.DISARMED, arm, missed))
                return
        else:
            arm.unmet_ns = None
            self._climb(arm, changes)
        if now_ns - arm.at_ns >= self._horizon_ns:
            self.arm = None
            self._expired = arm.cluster, now_ns
            changes.append(Change(EventKind.EXPIRED, arm, f"not triggered in {self._config.horizon_s:g} s"))

    def _climb(self, arm: Arm, changes: list[Change]) -> None:
        """Escalate where something grew by a rung since the most that was announced of it."""
        rung, before, now = self._config.rung_factor, arm.rungs, arm.latest
        reasons = []
        levels, total = len(now.chain.levels), now.chain.total_usd
        if levels >= rung * before.levels:
            reasons.append(f"levels {before.levels} to {levels}")
        if total >= rung * before.total_usd:
            reasons.append(f"notional ${before.total_usd:,.0f} to ${total:,.0f}")
        if now.distance * rung <= before.distance:
            reasons.append(f"distance {before.distance:.2%} to {now.distance:.2%}")
        if not reasons:
            return
        arm.rungs = Rungs(max(levels, before.levels), max(total, before.total_usd), min(now.distance, before.distance))
        changes.append(Change(EventKind.ESCALATED, arm, "; ".join(reasons)))

    def _forgive(self, now_ns: int, candidates: Sequence[Candidate], volume_day_usd: float | None) -> None:
        """Let an expired cluster be armed again once it has missed the conditions for long enough."""
        if self._expired is None:
            return
        cluster, met_ns = self._expired
        found = next((c for c in candidates if c.cluster.id == cluster), None)
        if found is not None and not shortfall(self._config, found, volume_day_usd, self._config.hysteresis):
            self._expired = cluster, now_ns
        elif now_ns - met_ns >= self._leave_ns:
            self._expired = None
