"""A study's figures in words and lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from forcedmove_server.scorecard.report.wording import NONE, number, percent
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.study.result import CALIBRATED, FEEDS, MAPS, MEASURES, PRIOR, TRUE
from forcedmove_server.scorecard.study.summary import OVERALL, SCOPES, Course, StudySummary

_NAMES = {
    PRIOR: "ours, default prior",
    CALIBRATED: "ours, calibrated online",
    TRUE: "ours, true weights",
    "naive": "naive",
    "naive_maintenance": "naive with maintenance",
    "distance": "distance only",
}
FEED_NAMES = {"full": "all liquidations published", "sampled": "some published", "none": "none published"}
SCOPE_NAMES = {
    "market": "single markets",
    "symbol": "symbols",
    "market_sized": "markets, sizes known",
    "symbol_sized": "symbols, sizes known",
}
#: share of bins that a 90 % band should cover
NOMINAL = (0.85, 0.95)


def study_map(name: str) -> str:
    """Return what a map of a study is called."""
    return _NAMES.get(name, name)


def regime_name(regime: str) -> str:
    """Return what a row of the summary is of."""
    return "all regimes" if regime == OVERALL else regime


def whole(summary: StudySummary) -> str:
    """Return the part of a summary that all runs are in: overall, or the only regime there is."""
    return summary.means[0].regime


def regimes_of(summary: StudySummary) -> list[str]:
    """Return the parts of a summary in their order, the whole first."""
    return list(dict.fromkeys(mean.regime for mean in summary.means))


def mean_of(summary: StudySummary, regime: str, name: str, measure: str) -> Estimate:
    """Return one mean of a summary."""
    return next(m.value for m in summary.means if (m.regime, m.map, m.measure) == (regime, name, measure))


def gain_of(summary: StudySummary, regime: str, name: str, over: str, measure: str) -> Estimate:
    """Return one gain of a summary."""
    return next(
        g.value for g in summary.gains if (g.regime, g.map, g.over, g.measure) == (regime, name, over, measure)
    )  # fmt: skip


def courses_of(summary: StudySummary, regime: str, distance: str) -> dict[str, Course]:
    """Return the courses of one distance, by feed."""
    return {c.feed: c for c in summary.courses if (c.regime, c.distance) == (regime, distance)}


def numbers(values: tuple[int, ...]) -> str:
    """Return whole numbers, ascending ones in a row as a range."""
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def bounds(found: Estimate, digits: int = 3, signed: bool = False) -> str:
    """Return value and interval, without a reason where there is no interval."""
    if found.value is None:
        return NONE
    told = number(found.value, digits, signed)
    if found.low is None or found.high is None:
        return told
    return f"{told} [{number(found.low, digits, signed)}, {number(found.high, digits, signed)}]"


def share_bounds(found: Estimate) -> str:
    """Return a share with its interval, in percent."""
    if found.value is None:
        return NONE
    if found.low is None or found.high is None:
        return percent(found.value)
    return f"{percent(found.value)} [{percent(found.low)}, {percent(found.high)}]"


def mean_lines(summary: StudySummary) -> Iterator[str]:
    """Yield the means of all maps as lines of a table, for the whole and then for every regime."""
    width = 26
    for regime in regimes_of(summary):
        yield f"{regime_name(regime):<26}" + "".join(f"{m.name:>{width}}" for m in MEASURES)
        for name in MAPS:
            cells = (bounds(mean_of(summary, regime, name, m.field), m.digits) for m in MEASURES)
            yield f"  {study_map(name):<24}" + "".join(f"{cell:>{width}}" for cell in cells)


def distance_lines(summary: StudySummary) -> Iterator[str]:
    """Yield how far weights are from the shares of opened notional, at the beginning and at the end."""
    found = courses_of(summary, whole(summary), "calibrated")
    for feed in FEEDS:
        if feed in found:
            course = found[feed]
            yield (
                f"weights to the true ones, total variation: {bounds(course.values[0])} at first, "
                f"{bounds(course.values[-1])} after {course.hours[-1]} h ({FEED_NAMES[feed]})"
            )


def coverage_line(summary: StudySummary, level: float) -> str:
    """Return how often bands held the truth."""
    told = (
        f"{share_bounds(one.share)} of bins of {SCOPE_NAMES[scope]}"
        for scope in SCOPES[:2]
        for one in summary.covered
        if (one.regime, one.scope) == (whole(summary), scope)
    )
    return f"{percent(level, 0)} bands hold {', '.join(told)}"
