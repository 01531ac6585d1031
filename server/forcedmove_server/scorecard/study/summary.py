"""A study's means, gains and courses, with intervals over seeds.

A seed is what is independent: hours, symbols, sides and regimes of one seed are averaged first, or add up their sums,
and stay together when intervals are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.resampling import Estimate, Resampling
from forcedmove_server.scorecard.study.result import (
    BASELINES,
    CALIBRATED,
    FEEDS,
    MAPS,
    MEASURES,
    PRIOR,
    BandScore,
    StudyResult,
    StudyRun,
)

F64 = NDArray[np.float64]

#: the row of all regimes together
OVERALL = "all"
SCOPES = ("market", "symbol", "market_sized", "symbol_sized")
#: what a course of weights shows: the field of a score
DISTANCES = ("prior", "calibrated", "live_prior", "live_calibrated", "live_true")

_RESAMPLING = Resampling(resamples=2000)


@dataclass(frozen=True, slots=True)
class Mean:
    """A measure of a map, averaged over the seeds' means."""

    regime: str
    map: str
    measure: str
    value: Estimate


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better than ``over`` a map is by a measure, paired by seed; positive is better, whatever the measure."""

    regime: str
    map: str
    over: str
    measure: str
    value: Estimate


@dataclass(frozen=True, slots=True)
class Course:
    """A total-variation distance by hour, the mean over the markets of venues with one kind of feed."""

    regime: str
    feed: str
    distance: str
    hours: tuple[int, ...]
    values: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Covered:
    """Share of bins inside the band, the same by true USD, and the shares of bins that lay below and above it."""

    regime: str
    scope: str
    share: Estimate
    share_of_usd: Estimate
    below: Estimate
    above: Estimate


@dataclass(frozen=True, slots=True)
class CoveredCourse:
    """Share of bins inside the band by hour."""

    regime: str
    scope: str
    hours: tuple[int, ...]
    values: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Everything a study comes to. Intervals are 95 % bootstraps over seeds."""

    means: tuple[Mean, ...]
    gains: tuple[Gain, ...]
    courses: tuple[Course, ...]
    covered: tuple[Covered, ...]
    covered_courses: tuple[CoveredCourse, ...]


def summarise(study: StudyResult) -> StudySummary:
    """Return a study's summary, by regime and overall."""
    parts = _parts(study)
    return StudySummary(
        means=tuple(mean for regime, runs in parts for mean in _means(regime, runs, study.skip_hours)),
        gains=tuple(gain for regime, runs in parts for gain in _gains(regime, runs, study.skip_hours)),
        courses=tuple(course for regime, runs in parts for course in _courses(regime, runs)),
        covered=tuple(
            _covered(regime, scope, runs, study.skip_hours) for regime, runs in parts for scope in SCOPES
        ),
        covered_courses=tuple(_covered_course(regime, scope, runs) for regime, runs in parts for scope in SCOPES),
    )  # fmt: skip


def _parts(study: StudyResult) -> list[tuple[str, list[StudyRun]]]:
    """Return the runs of all regimes together, and those of each where there are more."""
    found = [(OVERALL, list(study.runs))]
    if len(study.regimes) > 1:
        found += [(regime, [run for run in study.runs if run.regime == regime]) for regime in study.regimes]
    return found if len(found) > 1 else [(study.regimes[0], list(study.runs))]


def _run_means(runs: list[StudyRun], skip_hours: int) -> F64:
    """Return the mean of every measure of every map in each run: float64 ``[R, maps, measures]``."""
    sums, counts = np.zeros((len(runs), len(MAPS), len(MEASURES))), np.zeros((len(runs), len(MAPS), 1))
    place = {name: k for k, name in enumerate(MAPS)}
    for k, run in enumerate(runs):
        for score in run.maps:
            if score.hour > skip_hours:
                sums[k, place[score.map]] += [getattr(score, measure.field) for measure in MEASURES]
                counts[k, place[score.map]] += 1
    with np.errstate(invalid="ignore"):
        means: F64 = sums / counts
    return means


def _means(regime: str, runs: list[StudyRun], skip_hours: int) -> Iterable[Mean]:
    found = _run_means(runs, skip_hours)
    for m, name in enumerate(MAPS):
        for k, measure in enumerate(MEASURES):
            yield Mean(regime, name, measure.field, _mean(found[:, m, k], runs))


def _gains(regime: str, runs: list[StudyRun], skip_hours: int) -> Iterable[Gain]:
    found = _run_means(runs, skip_hours)
    place = {name: k for k, name in enumerate(MAPS)}
    pairs = [(own, over) for own in (PRIOR, CALIBRATED) for over in BASELINES] + [(CALIBRATED, PRIOR)]
    for own, over in pairs:
        for k, measure in enumerate(MEASURES):
            gain = found[:, place[own], k] - found[:, place[over], k]
            yield Gain(regime, own, over, measure.field, _mean(gain if measure.more_is_better else -gain, runs))


def _courses(regime: str, runs: list[StudyRun]) -> Iterable[Course]:
    for feed in FEEDS:
        kept = [(run, score) for run in runs for score in run.weights if score.feed == feed]
        hours = sorted({score.hour for _, score in kept})
        for distance in DISTANCES if hours else ():
            values = tuple(
                _ratio([(run, getattr(score, distance), 1.0) for run, score in kept if score.hour == hour])
                for hour in hours
            )
            yield Course(regime, feed, distance, tuple(hours), values)


def _covered(regime: str, scope: str, runs: list[StudyRun], skip_hours: int) -> Covered:
    kept = [(run, s) for run in runs for s in run.bands if s.scope == scope and s.hour > skip_hours]
    return Covered(
        regime,
        scope,
        share=_ratio([(run, s.inside, s.bins) for run, s in kept]),
        share_of_usd=_ratio([(run, s.usd_inside, s.usd) for run, s in kept]),
        below=_ratio([(run, s.below, s.bins) for run, s in kept]),
        above=_ratio([(run, s.above, s.bins) for run, s in kept]),
    )


def _covered_course(regime: str, scope: str, runs: list[StudyRun]) -> CoveredCourse:
    kept: list[tuple[StudyRun, BandScore]] = [(run, s) for run in runs for s in run.bands if s.scope == scope]
    hours = sorted({score.hour for _, score in kept})
    values = tuple(_ratio([(run, s.inside, s.bins) for run, s in kept if s.hour == hour]) for hour in hours)
    return CoveredCourse(regime, scope, tuple(hours), values)


def _mean(values: F64, runs: list[StudyRun]) -> Estimate:
    return _ratio([(run, value, 1.0) for run, value in zip(runs, values.tolist(), strict=True)])


def _ratio(parts: list[tuple[StudyRun, float, float]]) -> Estimate:
    """Return a ratio of sums with its interval over seeds; ``n`` counts runs."""
    return _RESAMPLING.ratio(
        [top for _, top, _ in parts],
        [bottom for _, _, bottom in parts],
        [run.seed for run, _, _ in parts],
        n=len({(run.regime, run.seed) for run, _, _ in parts}),
    )
