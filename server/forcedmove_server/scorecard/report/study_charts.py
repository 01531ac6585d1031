"""The charts of a study: functions that draw on axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from forcedmove_server.scorecard.report.study_wording import (
    FEED_NAMES,
    NOMINAL,
    SCOPE_NAMES,
    courses_of,
    gain_of,
    mean_of,
    regime_name,
    regimes_of,
    study_map,
    whole,
)
from forcedmove_server.scorecard.report.style import DIM, INK, drawable, look, numbered
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.study.result import BASELINES, CALIBRATED, FEEDS, MAPS, PRIOR, TRUE, Measure
from forcedmove_server.scorecard.study.summary import SCOPES, StudySummary

#: maps of ours take the colours that no baseline has
_LOOKS = {PRIOR: 6, CALIBRATED: 0, TRUE: 4}


def draw_means(axes: Axes, summary: StudySummary, measure: Measure) -> None:
    """Draw a measure of every map by regime."""
    regimes = regimes_of(summary)
    for position, name in enumerate(MAPS):
        found = [mean_of(summary, regime, name, measure.field) for regime in regimes]
        _points(axes, found, position, len(MAPS), *_look(name), label=study_map(name))
    if measure.field in ("spearman", "bits"):
        axes.axhline(0, color=INK, linewidth=0.8)
    _by_regime(axes, regimes)
    axes.set_title(drawable(measure.name + ("" if measure.more_is_better else " (less is better)")))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, columnspacing=1.0, handlelength=1.2)


def draw_gains(axes: Axes, summary: StudySummary, measure: Measure) -> None:
    """Draw the gain of the calibrated map over each baseline, and over the default prior, by regime."""
    regimes = regimes_of(summary)
    axes.axhline(0, color=INK, linewidth=0.8)
    others = (*BASELINES, PRIOR)
    for position, over in enumerate(others):
        found = [gain_of(summary, regime, CALIBRATED, over, measure.field) for regime in regimes]
        _points(axes, found, position, len(others), *_look(over), label=f"over {study_map(over)}")
    _by_regime(axes, regimes)
    axes.set_title(drawable(f"Calibrated: gain in {measure.name}"))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, columnspacing=1.0, handlelength=1.2)


def draw_weights(axes: Axes, summary: StudySummary, regime: str, live: bool) -> None:
    """Draw total-variation distance to the truth by hour: a line per kind of feed, that of the prior dashed."""
    top = 0.02
    fields = ("live_calibrated", "live_prior") if live else ("calibrated", "prior")
    for position, feed in enumerate(FEEDS):
        colour, marker, _ = numbered(position)
        for distance, dash in zip(fields, ("-", "--"), strict=True):
            course = courses_of(summary, regime, distance).get(feed)
            if course is None:
                continue
            hours, values = np.array(course.hours), _values(course.values)
            style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.5 if dash == "-" else 1.0}
            if dash == "-":
                style |= {"marker": marker, "markevery": max(len(hours) // 6, 1), "markersize": 3.5}
                style["label"] = FEED_NAMES[feed]
                axes.fill_between(hours, *_band(course.values), color=colour, alpha=0.18, linewidth=0)
            axes.plot(hours, values, **style)
            top = max(top, float(np.nanmax(values)), float(np.nanmax(_band(course.values)[1])))
    axes.set_ylim(0, top * 1.6)  # room for the legend above the lines
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("hours")
    axes.set_ylabel("total variation to the truth")
    axes.legend(loc="upper left", labelspacing=0.25)
    axes.set_title(drawable(f"{regime_name(regime)}, {'live' if live else 'opened'} notional"))


def draw_coverage(axes: Axes, summary: StudySummary) -> None:
    """Draw the share of bins inside the band by regime."""
    regimes = regimes_of(summary)
    _nominal(axes)
    for position, scope in enumerate(SCOPES):
        found = [next(c.share for c in summary.covered if (c.regime, c.scope) == (regime, scope)) for regime in regimes]
        _points(axes, found, position, len(SCOPES), *numbered(position)[:2], label=SCOPE_NAMES[scope])
    _by_regime(axes, regimes)
    axes.legend(loc="lower left", ncols=2, columnspacing=1.0, handlelength=1.2)
    axes.set_title("Share of bins inside the 90 % band")


def draw_coverage_course(axes: Axes, summary: StudySummary) -> None:
    """Draw the same by hour, over all runs."""
    _nominal(axes)
    for position, scope in enumerate(SCOPES):
        colour, marker, _ = numbered(position)
        course = next(c for c in summary.covered_courses if (c.regime, c.scope) == (whole(summary), scope))
        hours = np.array(course.hours)
        axes.fill_between(hours, *_band(course.values), color=colour, alpha=0.18, linewidth=0)
        axes.plot(hours, _values(course.values), color=colour, marker=marker, markersize=3, label=SCOPE_NAMES[scope])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("hours")
    axes.legend(loc="lower right", ncols=2, columnspacing=1.0, handlelength=1.2)
    axes.set_title("The same by hour, all runs")


def _look(name: str) -> tuple[str, str]:
    colour, marker, _ = numbered(_LOOKS[name]) if name in _LOOKS else look(name)
    return colour, marker


def _points(
    axes: Axes, found: list[Estimate], position: int, of: int, colour: str, marker: str, label: str
) -> None:  # fmt: skip
    """Draw one series of points with whiskers, side by side with ``of`` - 1 others."""
    x = np.arange(len(found)) + (position - (of - 1) / 2) * 0.8 / of
    for at, one in zip(x, found, strict=True):
        if one.low is not None and one.high is not None:
            axes.plot([at, at], [one.low, one.high], color=colour, linewidth=1.3)
    known = all(one.low is not None for one in found)
    face = colour if known else "white"
    axes.plot(x, _values(tuple(found)), marker, color=colour, markerfacecolor=face, markersize=3.5, label=label)


def _by_regime(axes: Axes, regimes: list[str]) -> None:
    axes.set_xticks(range(len(regimes)), [regime_name(r).replace(" ", "\n").replace("-", "-\n") for r in regimes])
    axes.set_xlim(-0.6, len(regimes) - 0.4)
    axes.grid(visible=False, axis="x")
    for edge in range(1, len(regimes)):
        axes.axvline(edge - 0.5, color="#e8ebef", linewidth=0.7)


def _nominal(axes: Axes) -> None:
    axes.axhspan(*NOMINAL, color="#009e73", alpha=0.12, linewidth=0)
    axes.axhline(0.9, color=DIM, linewidth=0.8)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _values(found: tuple[Estimate, ...]) -> Any:
    return np.array([np.nan if one.value is None else one.value for one in found])


def _band(found: tuple[Estimate, ...]) -> tuple[Any, Any]:
    """Lower and upper bounds; the value itself where there is no interval."""
    value = _values(found)
    low = np.array([np.nan if one.low is None else one.low for one in found])
    high = np.array([np.nan if one.high is None else one.high for one in found])
    return np.where(np.isnan(low), value, low), np.where(np.isnan(high), value, high)
