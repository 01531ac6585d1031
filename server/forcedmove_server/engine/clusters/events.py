"""What is told of armed chains: plain immutable values, numbered in the order that they happened.

Money and prices are USD, times UTC nanoseconds of the event clock. An *arm* is one chain from its ARMED to what became
of it; all of its events carry its number, which is the sequence number of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forcedmove_server.engine.frames import ChainInfo, SideName


class EventKind(StrEnum):
    """What happened to an arm. After ARMED come any ESCALATED, then one of the next three; RESOLVED after TRIGGERED."""

    ARMED = "armed"
    ESCALATED = "escalated"
    TRIGGERED = "triggered"
    DISARMED = "disarmed"
    EXPIRED = "expired"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a cluster is made of, largest first; ``mean_age_s`` None where nothing entered levels of its own there."""

    venues: tuple[tuple[str, float], ...]
    leverages: tuple[tuple[float, float], ...]
    mean_age_s: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What really came of a chain that was triggered. ``cascade``: one that began when it was armed or later.

    ``liquidated_usd`` was told by feeds, ``released_usd`` is the open interest that left; ``total_usd`` takes the first
    on venues that tell every liquidation and the larger one elsewhere. ``lead_time_s`` is from ARMED to the cascade's
    first move, None where none followed. ``levels`` of those that were expected, and clusters
    beyond them, that the mark reached.
    """

    cascade: bool
    began_ns: int
    ended_ns: int
    floor_usd: float
    floor_ns: int
    liquidated_usd: float
    released_usd: float
    total_usd: float
    levels: int
    lead_time_s: float | None


@dataclass(frozen=True, slots=True)
class ArmEvent:
    """One event. ``distance_fraction`` is that of the cluster's near edge from the mark, negative below it.

    ``touch`` are pairs (horizon in seconds, probability that the mark touches the near edge within it). The cluster and
    the chain of TRIGGERED and RESOLVED are those of the tick before it was reached: afterwards they are not there any
    more. ``total_p95_usd`` None where no distribution was computed.
    """

    epoch: int
    seq: int
    kind: EventKind
    arm: int
    cluster: int
    symbol: str
    side: SideName
    time_ns: int
    tick: int
    mark_usd: float
    price_low_usd: float
    price_high_usd: float
    distance_fraction: float
    notional_usd: float
    facts: ClusterFacts
    chain: ChainInfo
    volatility_day: float
    touch: tuple[tuple[float, float], ...]
    reason: str
    total_p95_usd: float | None = None
    outcome: Outcome | None = None

    @property
    def event_id(self) -> str:
        """Unique over restarts of the server."""
        return f"{self.epoch:x}-{self.seq}"
