"""Whether a soak meets its requirement, in figures and in sentences.

    All venues at once under random faults: no event lost outside an announced gap, none duplicated, every gap announced
    within 1 s, resynced within 10 s, memory flat, no task leaked, clean shutdown within 2 s.

**Announced.** The clock starts at the fault, when the emulator cuts the connection or the topic off, and stops when the
first row of a gap is handed on by the supervisor. The gap has to be of a market and channel that a confirmed topic of
that very connection brought, and to cover the moment of the fault; a fault is announced when the last of its feeds is,
and one feed without such a gap is a failure. A gap may begin later than the fault by 50 ms and ``loop_wait_s`` (250 ms
at most): what was on its way is read that late. Feeds in a gap that was announced before have nothing to add.
What can be seen (the connection ends) has 1 s. What is silent (half open, a stall that outlasts the limit of silence, a
muted topic) has that limit and 1 s; nothing is subtracted. When a connection ends while one of its topics is mute, the
gap of that topic has to begin before it fell silent. Calls that are polled announce gaps too, which are not timed here.

**Resynced.** By venue and channel: from the look at which fewer markets were fed than are wanted, which is when the
loss was noticed, to the look at which all were again, ten times a second. Outages that overlap count as one, and one
that has not ended counts up to the end. The silence before a loss is noticed is no part of it.

**Memory flat.** The resident size after a collection, and after the allocator gave back what is free (messages of
17 MiB come and go), without the ledger's own bytes. Through the second half of the soak a line is laid by the method of
Theil and Sen (P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 63, 1968), which single
peaks do not move. It fails when the whole 95 % interval of the slope lies above 0.5 MiB a minute, about 20 bytes an
event at the usual rate, or when the interval is so wide that a leak of 2 MiB a minute could hide in it. Soaks of less
than five minutes are still warming up (256 trades a market are remembered) and are not judged, which ``memory_judged``
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus
from tests.emulator.faults import VISIBLE_FAULTS, Fault, Incident
from tests.emulator.ledger import Account, Ledger

ANNOUNCED_S = 1.0
RESYNCED_S = 10.0
SHUTDOWN_S = 2.0
GROWTH_MIB_PER_MIN = 0.5
#: a leak that memory must be steady enough to show
_TOLD_MIB_PER_MIN = 2.0
_MEMORY_JUDGED_S = 300.0
_LONGEST_FLIGHT_S = 0.25
#: sentences and examples of one kind that are shown
_SHOWN = 20


@dataclass
class Spread:
    """How long something took, in seconds, and how long it may; without any ``count`` there is nothing to tell."""

    limit_s: float | None
    count: int = 0
    median_s: float | None = None
    p99_s: float | None = None
    max_s: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float], limit_s: float | None) -> Spread:
        """Spread of some durations; the percentile is one of them."""
        if not seconds:
            return cls(limit_s)
        median, p99, most = (float(np.quantile(seconds, q, method="higher")) for q in (0.5, 0.99, 1.0))
        return cls(limit_s, len(seconds), round(median, 3), round(p99, 3), round(most, 3))


@dataclass
class Announcements:
    """From fault to announcement: by kind of fault, and by fault."""

    visible: Spread = field(default_factory=lambda: Spread(ANNOUNCED_S))
    silent: Spread = field(default_factory=lambda: Spread(None))
    mute: Spread = field(default_factory=lambda: Spread(None))
    by_fault: dict[str, Spread] = field(default_factory=dict)
    #: faults of connections that brought nothing confirmed, or nothing that was not missing already
    nothing_to_announce: int = 0
    late: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def judge_announcements(
    ledger: Ledger,
    incidents: Iterable[Incident],
    silence_s: float,
    mute_s: Callable[[Incident], float],
    loop_wait_s: float = 0.0,
) -> Announcements:
    """Compare faults with gaps; ``silence_s`` is the limit for connections, ``mute_s`` that for a muted topic."""
    flight_ns = round(min(loop_wait_s, _LONGEST_FLIGHT_S) * 1e9)
    delays: dict[Fault, list[float]] = {}
    limits: dict[Fault, float] = {}
    found = Announcements()
    for incident in incidents:
        fault = incident.fault
        if fault is Fault.STALL and incident.lasts_s <= silence_s + ANNOUNCED_S:
            continue  # all of it may still come in time
        patience_s = 0.0 if fault in VISIBLE_FAULTS else mute_s(incident) if fault is Fault.MUTE else silence_s
        limit_s = patience_s + ANNOUNCED_S
        announced, missing = _announced(ledger, incident, flight_ns)
        text = f"{incident.venue}: {fault} at {incident.at_ns}"
        if missing:
            found.missing.append(f"{text}: no gap covers it of {', '.join(missing)}")
        elif not announced:
            found.nothing_to_announce += 1
        if not announced:
            continue
        delay_s = max(announced)
        delays.setdefault(fault, []).append(delay_s)
        limits[fault] = max(limits.get(fault, 0.0), limit_s)  # venues differ in how long a topic may be mute
        if delay_s > limit_s:
            found.late.append(f"{text}: announced after {delay_s:.2f} s, {limit_s:g} s are allowed")
    visible = [delay for fault in VISIBLE_FAULTS for delay in delays.get(fault, ())]
    silent = [delay for fault in (Fault.HALF_OPEN, Fault.STALL) for delay in delays.get(fault, ())]
    found.visible = Spread.of(visible, ANNOUNCED_S)
    found.silent = Spread.of(silent, silence_s + ANNOUNCED_S)
    found.mute = Spread.of(delays.get(Fault.MUTE, ()), limits.get(Fault.MUTE))
    found.by_fault = {str(fault): Spread.of(own, limits[fault]) for fault, own in sorted(delays.items())}
    return found


def _announced(ledger: Ledger, incident: Incident, flight_ns: int) -> tuple[list[float], list[str]]:
    """Seconds from the fault to the announcement, of feeds that have one to make, and feeds that never made it."""
    delays: list[float] = []
    missing: list[str] = []
    for key, channel in sorted(incident.feeds):
        gaps = ledger.gaps((key, channel))
        covering = [gap.announced_ns for gap in gaps if gap.covers(incident.at_ns, flight_ns)]
        if not covering:
            missing.append(f"{key} {channel.name}")
        elif min(covering) >= incident.at_ns:
            delays.append((min(covering) - incident.at_ns) / 1e9)
    return delays, missing


class Outages:
    """How long channels that had been fed were not; ``look`` is called often, ``end`` once."""

    def __init__(self) -> None:
        self._fed: set[tuple[str, Channel]] = set()
        self._since: dict[tuple[str, Channel], float] = {}
        self.lasted_s: list[float] = []
        self.too_long: list[str] = []

    def look(self, feeds: Iterable[FeedStatus], now: float) -> None:
        """Note which channels are fed; ``now`` in monotonic seconds."""
        for status in feeds:
            key = status.venue, status.channel
            if not status.wanted:
                continue
            if status.live < status.wanted:
                if key in self._fed:
                    self._since.setdefault(key, now)
                continue
            self._fed.add(key)
            if key in self._since:
                self._over(key, now, "fed again after")

    def end(self, now: float) -> None:
        """Count what is not fed yet."""
        for key in list(self._since):
            self._over(key, now, "not fed again for")

    def _over(self, key: tuple[str, Channel], now: float, what: str) -> None:
        lasted_s = now - self._since.pop(key)
        self.lasted_s.append(lasted_s)
        if lasted_s > RESYNCED_S:
            self.too_long.append(f"{key[0]} {key[1].name}: {what} {lasted_s:.2f} s")


@dataclass(frozen=True)
class Growth:
    """Slope of memory, MiB a minute, and its 95 % interval."""

    slope: float
    low: float
    high: float

    @classmethod
    def of(cls, minutes: Sequence[float], mib: Sequence[float]) -> Growth:
        """Slope over the second half of the samples."""
        half = len(mib) // 2
        found = stats.theilslopes(mib[half:], minutes[half:], alpha=0.95)
        return cls(float(found.slope), float(found.low_slope), float(found.high_slope))

    def complaints(self) -> list[str]:
        """What is wrong with it."""
        shown = f"{self.slope:.2f} MiB a minute ({self.low:.2f} to {self.high:.2f})"
        if self.low > GROWTH_MIB_PER_MIN:
            return [f"memory grows by {shown}, {GROWTH_MIB_PER_MIN:g} are allowed"]
        if self.high - self.slope > _TOLD_MIB_PER_MIN:
            return [f"memory is too restless to tell whether it grows: {shown}"]
        return []


@dataclass
class Report:
    """What a soak found; ``lost`` events lie outside announced gaps. It passed when nothing ``failed``."""

    venues: int = 0
    seconds: float = 0.0
    published: int = 0
    received: int = 0
    in_gaps: int = 0
    gaps: int = 0
    lost_count: int = 0
    repeated_count: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    announcements: Announcements = field(default_factory=Announcements)
    resync: Spread = field(default_factory=lambda: Spread(RESYNCED_S))
    slow_resyncs: list[str] = field(default_factory=list)
    not_live_at_end: list[str] = field(default_factory=list)
    shutdown_s: float = 0.0
    tasks_left: int = 0
    memory_mib: list[float] = field(default_factory=list)
    memory_judged: bool = False
    memory_growth_mib_per_min: Growth | None = None
    #: the longest that the event loop, which both sides share, let a task of ours wait
    loop_wait_s: float = 0.0
    cpu_share: float = 0.0
    defects: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def conclude(self, account: Account, outages: Outages, growth: Growth | None) -> None:
        """Fill in what was counted and say which limits are missed; all else has been filled in before."""
        self.published, self.received, self.in_gaps, self.lost, self.repeated = account
        self.lost_count, self.repeated_count = len(self.lost), len(self.repeated)
        self.resync, self.slow_resyncs = Spread.of(outages.lasted_s, RESYNCED_S), outages.too_long
        self.memory_growth_mib_per_min = growth
        self.memory_judged = growth is not None and self.seconds >= _MEMORY_JUDGED_S
        told = self.announcements
        self.failed = [
            *([] if self.received else ["no event was received: nothing was judged"]),
            *_counted("events lost outside announced gaps", self.lost),
            *_counted("events taken more than once", self.repeated),
            *_counted("events that nobody published", self.strange),
            *_counted("faults not announced", told.missing),
            *_counted("faults announced late", told.late),
            *_counted("channels not fed again in time", self.slow_resyncs),
            *_counted("channels not fed at the end", self.not_live_at_end),
        ]
        if growth is not None and self.memory_judged:
            self.failed += growth.complaints()
        if self.tasks_left:
            self.failed.append(f"{self.tasks_left} tasks left behind")
        if self.shutdown_s > SHUTDOWN_S:
            self.failed.append(f"shut down after {self.shutdown_s:.2f} s, {SHUTDOWN_S:g} s are allowed")
        for examples in (self.lost, self.repeated, self.strange, told.missing, told.late, self.slow_resyncs):
            del examples[_SHOWN:]


def _counted(what: str, examples: Sequence[str]) -> list[str]:
    return [f"{len(examples)} {what}, the first: {examples[0]}"] if examples else []
