"""How early a score warns of cascades, against how often it warns of none: whole curves.

An alarm is raised where none stands and the score reaches a threshold, and stands for ``STANDS_S``. A cascade that
begins later and while it stands was warned of; an alarm without one was false. Each score is swept over its thresholds,
and scores are compared where they raise equally many alarms. An alarm at random warns of as many cascades as the share
of time that it stands (Molchan, Pure Appl. Geophys. 149, 1997).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.cascade.alarm_study import SCORES, STANDS_S, Watched
from forcedmove_server.scorecard.resampling import Estimate, Resampling

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: alarms per symbol and day at which scores are compared, and thresholds that are tried
RATES = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
_THRESHOLDS = 120
_SECOND_NS, _DAY_NS = 10**9, 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One score at one threshold; rates are per symbol (both sides) and day.

    ``warned`` is the share of cascades that an alarm stood for, with an interval over seeds; ``standing`` the share of
    time that alarms stand, which is what alarms at random would warn of. ``lead_s`` is the median from an alarm to the
    cascade, None without one.
    """

    score: str
    threshold: float
    alarms_per_day: float
    false_per_day: float
    warned: Estimate
    standing: float
    lead_s: float | None


def raised(minutes: I64, score: F64, threshold: float) -> I64:
    """When alarms are raised, i64 nanoseconds; see the module."""
    at = minutes[score >= threshold]
    found: list[int] = []
    for time_ns in at.tolist():
        if not found or time_ns >= found[-1] + STANDS_S * _SECOND_NS:
            found.append(time_ns)
    return np.array(found, np.int64)


def curve(watched: Sequence[Watched], resampling: Resampling | None = None) -> list[CurvePoint]:
    """Sweep every score: its points at the thresholds whose alarms come nearest to each of :data:`RATES`."""
    draw = resampling or Resampling()
    found = []
    for column, name in enumerate(SCORES):
        scores = [np.array([row[column] for row in own.scores]) for own in watched]
        positive = np.concatenate(scores)
        positive = positive[positive > 0]
        if not len(positive):
            continue
        tried = np.unique(np.quantile(positive, 1 - np.geomspace(1e-3, 1, _THRESHOLDS)))
        points = [_point(watched, scores, name, float(threshold), draw) for threshold in tried]
        chosen = {min(range(len(points)), key=lambda k: abs(points[k].alarms_per_day - rate)) for rate in RATES}
        found += [points[k] for k in sorted(chosen, reverse=True)]
    return found


def _point(
    watched: Sequence[Watched], scores: Sequence[F64], name: str, threshold: float, draw: Resampling
) -> CurvePoint:
    stands_ns = STANDS_S * _SECOND_NS
    alarms = false = 0
    observed_ns = standing_ns = 0
    leads: list[float] = []
    warned, cascades, seeds = [], [], []
    for own, score in zip(watched, scores, strict=True):
        minutes = np.array(own.minutes, np.int64)
        at, began, end = raised(minutes, score, threshold), np.array(own.began, np.int64), int(minutes[-1])
        before = np.searchsorted(at, began) - 1  # the newest alarm before each cascade
        hit = (
            (before >= 0) & (began <= at[np.maximum(before, 0)] + stands_ns) if len(at) else np.zeros(len(began), bool)
        )
        leads += ((began[hit] - at[before[hit]]) / _SECOND_NS).tolist()
        decided = at[at + stands_ns <= end]
        false += len(np.setdiff1d(decided, at[before[hit]])) if len(at) else 0
        alarms += len(at)
        observed_ns += end - int(minutes[0])
        standing_ns += int(np.minimum(at + stands_ns, end).sum() - at.sum())
        warned.append(int(hit.sum()))
        cascades.append(len(began))
        seeds.append(own.seed)
    days = observed_ns / 2 / _DAY_NS  # of symbols: both sides are one
    return CurvePoint(
        score=name,
        threshold=threshold,
        alarms_per_day=alarms / days,
        false_per_day=false / days,
        warned=draw.ratio(warned, cascades, seeds, sum(cascades)),
        standing=standing_ns / observed_ns,
        lead_s=float(np.median(leads)) if leads else None,
    )


def lines(watched: Sequence[Watched], points: Sequence[CurvePoint]) -> Iterator[str]:
    """Put curves into words."""
    cascades, seeds = sum(len(own.began) for own in watched), len({own.seed for own in watched})
    yield f"{cascades} cascades of {seeds} markets; alarms stand for {STANDS_S / 60:g} minutes; per symbol and day"
    yield ""
    yield f"{'':<22}{'alarms':>8}{'false':>8}{'warned of':>22}{'at random':>11}{'lead, s':>9}"
    for point in points:
        found, lead = point.warned, "-" if point.lead_s is None else f"{point.lead_s:.0f}"
        told = "-" if found.value is None else f"{found.value:.2f}"
        if found.low is not None and found.high is not None:
            told += f" [{found.low:.2f}, {found.high:.2f}]"
        rates = f"{point.alarms_per_day:>8.1f}{point.false_per_day:>8.1f}"
        yield f"{point.score:<22}{rates}{told:>22}{point.standing:>11.2f}{lead:>9}"


def to_json(points: Sequence[CurvePoint]) -> str:
    """Every point of the curves."""
    return json.dumps([dataclasses.asdict(point) for point in points], indent=1)
