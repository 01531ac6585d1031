"""Charts of leverage weights: what the prior was, what they became, and how far they moved."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import matplotlib
import matplotlib.dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from forcedmove_server.scorecard.report.result import WeightSnapshot
from forcedmove_server.scorecard.report.style import DIM, INK, drawable, numbered
from forcedmove_server.scorecard.report.wording import SIDES

#: matplotlib's own annotations leave this module out
_dates: Any = matplotlib.dates
#: a layer thinner than this has no room for its name
_LEAST_NAMED = 0.045

#: snapshots of one venue and side by time
Course = list[WeightSnapshot]


def courses(weights: tuple[WeightSnapshot, ...]) -> dict[tuple[str, int], Course]:
    """Sort snapshots into courses by venue and side, in order of venue."""
    found: dict[tuple[str, int], Course] = {}
    for snapshot in sorted(weights, key=lambda s: (s.venue, s.side, s.at_ns)):
        found.setdefault((snapshot.venue, snapshot.side), []).append(snapshot)
    return found


def total_variation(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Total variation distance of two laws: ``sum(|a - b|) / 2``, 0 for equal and 1 for disjoint ones."""
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 2


def draw_tiers(axes: Axes, course: Course) -> None:
    """Draw weights by leverage: prior, the last posterior, and the truth where it is known."""
    last = course[-1]
    x = np.arange(len(last.leverages))
    axes.bar(x, last.posterior, width=0.8, color=numbered(0)[0], alpha=0.85, label="calibrated")
    axes.plot(x, last.prior, "_", color=INK, markersize=11, markeredgewidth=1.6, label="prior")
    if last.truth is not None:
        colour, marker, _ = numbered(1)
        axes.plot(x, last.truth, marker, color=colour, markersize=5, label="truth")
    step = 1 if len(x) <= 9 else 2
    axes.set_xticks(x[::step], [f"{leverage:g}×" for leverage in last.leverages[::step]])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("leverage at entry")
    top = max(*last.posterior, *last.prior, *(last.truth or ()))
    axes.set_ylim(0, top * 1.25)
    axes.legend(loc="upper center", ncols=3, columnspacing=1.2, handlelength=1.2)
    axes.set_title(_name(last))


def draw_course(axes: Axes, course: Course) -> None:
    """Draw weights over time, a layer per tier, from the lowest leverage below to the highest above."""
    times = _times(course)
    shares = np.array([snapshot.posterior for snapshot in course]).T
    tiers = len(shares)
    ramp = matplotlib.colormaps["cividis"]
    colours = [ramp(0.08 + 0.9 * k / max(tiers - 1, 1)) for k in range(tiers)]
    axes.stackplot(times, shares, colors=colours, edgecolor="white", linewidth=0.4)
    middle = np.cumsum(shares[:, -1]) - shares[:, -1] / 2
    for k, (y, share) in enumerate(zip(middle, shares[:, -1], strict=True)):
        if share >= _LEAST_NAMED:
            label = f" {course[-1].leverages[k]:g}×"
            axes.text(1.0, y, label, transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=DIM)
    axes.set_ylim(0, 1)
    axes.set_xlim(times[0], times[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    axes.grid(visible=False)
    _time_axis(axes)
    axes.set_title(_name(course[-1]))


def draw_distances(axes: Axes, side: int, found: list[Course]) -> None:
    """Draw total variation distance over time: to the prior solid, to the truth dashed where it is known."""
    top = 0.05
    for position, course in enumerate(found):
        colour, marker, _ = numbered(position)
        times = _times(course)
        moved = [total_variation(snapshot.posterior, snapshot.prior) for snapshot in course]
        mark: dict[str, Any] = {"marker": marker, "markevery": max(len(course) // 6, 1), "markersize": 3.5}
        axes.plot(times, moved, color=colour, label=drawable(course[0].venue), **mark)
        missed = [np.nan if s.truth is None else total_variation(s.posterior, s.truth) for s in course]
        axes.plot(times, missed, color=colour, linestyle="--", linewidth=1.2)
        top = max(top, *moved, *(value for value in missed if np.isfinite(value)))
    axes.set_ylim(0, top * 1.3)
    _time_axis(axes)
    axes.set_ylabel("total variation distance")
    axes.legend(loc="upper left", ncols=2)
    axes.set_title(f"{SIDES[side].capitalize()}s: solid to prior, dashed to truth")


def _name(snapshot: WeightSnapshot) -> str:
    return drawable(f"{snapshot.venue}, {SIDES[snapshot.side]}s")


def _times(course: Course) -> Any:
    return _dates.date2num(np.array([snapshot.at_ns for snapshot in course], "datetime64[ns]"))


def _time_axis(axes: Axes) -> None:
    locator = _dates.AutoDateLocator(minticks=3, maxticks=6, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_dates.ConciseDateFormatter(locator, tz=UTC))
