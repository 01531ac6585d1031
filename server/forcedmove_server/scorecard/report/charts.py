"""The charts of a report: functions that draw on axes, so that page and picture show the same ones."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from forcedmove_server.scorecard.report.result import DecileLift, RealisedExample, ResidualBins
from forcedmove_server.scorecard.report.style import DIM, INK, drawable, look, numbered
from forcedmove_server.scorecard.report.wording import SIDES, duration, map_name, missing, number, price
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.summary import ReachScore

_WASH = "#e6e9ee"
_LABEL: dict[str, Any] = {
    "textcoords": "offset points",
    "ha": "center",
    "fontsize": 7.5,
    "bbox": {"boxstyle": "square,pad=0.1", "color": "white", "linewidth": 0},
    "zorder": 1.5,
}


def nothing(axes: Axes, why: str) -> None:
    """Say in place of a chart why there is none."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, drawable(why, None), ha="center", va="center", color=DIM, wrap=True, transform=axes.transAxes)


def draw_intervals(axes: Axes, title: str, unit: str, found: list[tuple[str, Estimate]], least: int | None) -> None:
    """Draw one figure of every map as a point with its interval, zero marked: the null."""
    rows, across = len(found), axes.get_yaxis_transform()
    axes.axvline(0, color=INK, linewidth=1)
    reach = 0.0
    for row, (name, value) in enumerate(found):
        colour, marker, _ = look(name, row)
        y = rows - 1 - row
        if value.value is None:
            why = textwrap.shorten(missing(value, least), 46, placeholder=" …)")
            axes.text(0.03, y, why, color=DIM, va="center", fontsize=7, bbox=_LABEL["bbox"], transform=across)
            continue
        known = value.low is not None and value.high is not None
        if value.low is not None and value.high is not None:
            axes.plot([value.low, value.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(value.value, y, marker, color=colour, markersize=6, markerfacecolor=colour if known else "white")
        label = number(value.value, 3, signed=True)
        axes.annotate(label, (value.value, y), (0, 6), **_LABEL)
        reach = max(reach, *(abs(x) for x in (value.value, value.low, value.high) if x is not None))
    axes.set_xlim(-1.15 * (reach or 1), 1.15 * (reach or 1))
    axes.set_ylim(-0.6, rows - 0.3)
    axes.set_yticks(range(rows), [_short(name) for name, _ in reversed(found)])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)
    axes.set_title(title)


def draw_residuals(axes: Axes, found: ResidualBins, reach: float) -> None:
    """Draw mean released residuals over crossed ones; ``reach`` is the axis' half height, the same for all maps."""
    colour, marker, _ = look(found.map)
    axes.axhline(0, color=INK, linewidth=0.8)
    crossed = np.array(found.crossed) * 100
    _whiskers(axes, crossed, found.released, 100, colour, marker)
    axes.plot(crossed, found.slope * crossed, color=colour, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_ylim(-reach * 100, reach * 100)
    axes.set_xlabel("crossed beyond controls, percentile points")
    axes.set_ylabel("released beyond controls")
    axes.set_title(f"{drawable(map_name(found.map))}: r = {number(found.correlation, 3, signed=True)}")


def residual_reach(found: list[ResidualBins]) -> float:
    """Half height that holds the bins of all maps."""
    bounds = [
        abs(bound)
        for one in found
        for value in one.released
        for bound in (value.value, value.low, value.high)
        if bound is not None
    ]
    return 1.1 * max(bounds, default=0.1)


def draw_lift(axes: Axes, found: list[DecileLift]) -> None:
    """Draw lift over random bins by decile of density; shaded: random bins of the same distance, of the first map."""
    axes.axhline(1, color=INK, linewidth=0.8)
    deciles, top = np.arange(1, 11), 1.2
    shift = 0.13
    for position, one in enumerate(found):
        colour, marker, dash = look(one.map, position)
        x = deciles + shift * (position - (len(found) - 1) / 2)
        _whiskers(axes, x, one.shares, 10, colour, marker)
        values = [np.nan if share.value is None else share.value * 10 for share in one.shares]
        axes.plot(x, values, color=colour, linewidth=1, linestyle=dash, label=drawable(map_name(one.map)))
        highs = [bound * 10 for share in one.shares for bound in (share.value, share.high) if bound is not None]
        top = max(top, *highs, *(share * 10 for share in one.matched))
    matched = np.array(found[0].matched) * 10
    label = "random bins, same distance"
    axes.stairs(matched, np.arange(0.5, 11), fill=True, color=_WASH, zorder=0.5, label=label)
    # room for the legend above the points
    axes.set_ylim(0, top * 1.5)
    axes.set_xticks(deciles)
    axes.set_xlabel("tenth of touched bins, 10 = densest")
    axes.set_ylabel("times what random bins catch")
    axes.set_title(f"By {found[0].source}, {duration(found[0].horizon_ns)}")
    axes.legend(loc="upper left", ncols=2, columnspacing=1.0, fontsize=6.5)


def draw_reliability(axes: Axes, score: ReachScore) -> None:
    """Draw observed over forecast frequency of reach; areas are counts of forecasts."""
    bins = score.reach.reliability
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    n = np.array([b.n for b in bins], np.float64)
    forecast, observed = [b.forecast for b in bins], [b.observed for b in bins]
    colour, _, _ = numbered(0)
    axes.plot(forecast, observed, color=colour, linewidth=1)
    axes.scatter(forecast, observed, s=8 + 90 * n / n.max(), color=colour, alpha=0.75, linewidth=0, zorder=3)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("forecast probability of reach")
    axes.set_ylabel("frequency observed")
    skill = score.reach.skill
    told = "" if skill is None else f", skill {number(skill, 2, signed=True)}"
    axes.set_title(f"Within {duration(score.horizon_ns)}{told}")


def draw_realised(axes: Axes, example: RealisedExample) -> None:
    """Draw shares of predicted mass upward and of realised downward, by price; each scaled to its sum."""
    edges = np.array(example.edges_usd)
    step = (edges[-1] - edges[0]) / 8

    def shares(values: tuple[float, ...]) -> Any:
        total = sum(values)
        return np.array(values) / (total if total > 0 else 1.0)

    predicted, realised = shares(example.predicted), shares(example.realised)
    top = max(predicted.max(), realised.max(), 1e-9)
    axes.stairs(predicted, edges, fill=True, color=look("ours")[0], alpha=0.85, label="predicted")
    axes.stairs(-realised, edges, fill=True, color=INK, alpha=0.8, label="realised")
    if example.naive is not None:
        naive = shares(example.naive)
        top = max(top, naive.max())
        axes.stairs(naive, edges, color=look("naive")[0], linewidth=1.3, label="naive")
    axes.axhline(0, color=INK, linewidth=0.8)
    # room for the legend above the bars
    axes.set_ylim(-top * 1.1, top * 1.45)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value) * 100:g} %"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda usd, _: price(usd, step)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("price, USD")
    axes.set_ylabel("realised   |   predicted")
    axes.yaxis.label.set_fontsize(7.5)
    axes.legend(loc="upper center", ncols=3, columnspacing=1.2, handlelength=1.2)
    axes.set_title(drawable(f"{example.venue} {example.symbol}, {SIDES[example.side]}s"))


def _short(name: str) -> str:
    return drawable("\n".join(textwrap.wrap(map_name(name), 14)[:3]), None)


def _whiskers(axes: Axes, x: Any, values: tuple[Estimate, ...], scale: float, colour: str, marker: str) -> None:
    """Draw points with their intervals, hollow where there is none."""
    for at, found in zip(x, values, strict=True):
        if found.value is None:
            continue
        known = found.low is not None and found.high is not None
        if found.low is not None and found.high is not None:
            axes.plot([at, at], [found.low * scale, found.high * scale], color=colour, linewidth=1.3)
        axes.plot(at, found.value * scale, marker, color=colour, markerfacecolor=colour if known else "white")
