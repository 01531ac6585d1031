"""Were the cascades that came the ones announced? Errors of floor, total and depth; lead time; false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from forcedmove_server.errors import InputError

_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class CascadeAlarm:
    """A chain that was armed at ``at_ns`` and stood until ``until_ns`` (disarmed, or end of its horizon).

    ``symbol`` is the underlying, ``side`` that of the liquidated positions; ``floor_usd`` the terminal price,
    ``total_usd`` the notional, ``depth`` the levels that the chain fires.
    """

    symbol: str
    side: int
    at_ns: int
    until_ns: int
    floor_usd: float
    total_usd: float
    depth: int


@dataclass(frozen=True, slots=True)
class CascadeSeen:
    """A cascade that happened; it began at ``at_ns``."""

    symbol: str
    side: int
    at_ns: int
    floor_usd: float
    total_usd: float
    depth: int


@dataclass(frozen=True, slots=True)
class CascadeScore:
    """Alarms against cascades. Errors are predicted minus seen, as means of their absolute values over ``hits``.

    ``floor_error_bp`` in basis points of the floor seen, ``total_error`` relative to the total seen, ``depth_error`` in
    levels; ``lead_time_s`` is the median; ``false_alarms_per_day`` counts alarms that no cascade followed while they
    stood, per day of ``observed_s``.
    """

    alarms: int
    cascades: int
    hits: int
    missed: int
    false_alarms: int
    observed_s: float
    floor_error_bp: float | None
    total_error: float | None
    depth_error: float | None
    lead_time_s: float | None
    false_alarms_per_day: float | None
    reason: str | None = None


def score_cascades(
    alarms: Sequence[CascadeAlarm], cascades: Sequence[CascadeSeen], begin_ns: int, end_ns: int
) -> CascadeScore:
    """Match every cascade with the newest alarm of its symbol and side that stood when it began, and compare.

    An alarm answers for one cascade, and must precede it: one raised at the same instant leads by nothing and is no
    alarm. Alarms that stand beyond ``end_ns`` are undecided unless they hit, and are left out. Raises InputError when
    the observed span is not positive.
    """
    if end_ns <= begin_ns:
        raise InputError("end_ns", end_ns, f"must lie after begin_ns = {begin_ns}")
    newest_first = sorted(alarms, key=lambda a: (a.at_ns, a.until_ns, a.symbol, a.side, a.floor_usd), reverse=True)
    free = dict.fromkeys(range(len(newest_first)))
    hits: list[tuple[CascadeAlarm, CascadeSeen]] = []
    for seen in sorted(cascades, key=lambda c: (c.at_ns, c.symbol, c.side, c.floor_usd)):
        for number in free:
            alarm = newest_first[number]
            same = (alarm.symbol, alarm.side) == (seen.symbol, seen.side)
            if same and alarm.at_ns < seen.at_ns <= alarm.until_ns:
                hits.append((alarm, seen))
                del free[number]
                break
    decided = [number for number in free if newest_first[number].until_ns <= end_ns]
    observed_ns = end_ns - begin_ns
    return CascadeScore(
        alarms=len(hits) + len(decided),
        cascades=len(cascades),
        hits=len(hits),
        missed=len(cascades) - len(hits),
        false_alarms=len(decided),
        observed_s=observed_ns / 1e9,
        floor_error_bp=fmean(abs(a.floor_usd / c.floor_usd - 1) * 1e4 for a, c in hits) if hits else None,
        total_error=fmean(abs(a.total_usd / c.total_usd - 1) for a, c in hits) if hits else None,
        depth_error=fmean(abs(a.depth - c.depth) for a, c in hits) if hits else None,
        lead_time_s=median((c.at_ns - a.at_ns) / 1e9 for a, c in hits) if hits else None,
        false_alarms_per_day=len(decided) * _DAY_NS / observed_ns,
        reason=None if hits else "no cascade followed an alarm" if cascades else "no cascade was seen",
    )
