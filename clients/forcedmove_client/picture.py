"""Pictures of maps: one moment, or the heatmap of price over time. Needs matplotlib: the extra [plot]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, StrMethodFormatter
from numpy.typing import NDArray

from forcedmove_client.frames import MapFrame
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.ladder import Ladder, build_ladder, largest_clusters, split
from forcedmove_client.terminal.palette import (
    BACKGROUND,
    DIM,
    EDGE,
    LONG_STOPS,
    MARK,
    SHORT_STOPS,
    TEXT,
    shade,
    venue_colour,
)

F64 = NDArray[np.float64]

#: matplotlib's own annotations leave this module out
_dates: Any = matplotlib.dates

#: dark violet over teal to yellow, even in lightness, and black where there is nothing
_HEAT = ("#0b0e14", "#2a1150", "#3b3a8f", "#1f7a93", "#2bb673", "#b7dd29", "#fff7a8")
#: more columns than a picture has pixels are thinned out
_MOST_COLUMNS = 2_400


def render_png(frame: MapFrame, path: Path | str, reach: float = 0.1, rows: int = 160) -> None:
    """Draw one map: price against notional, longs to the left, shorts to the right, clusters annotated.

    Bars are stacked by the venue or leverage axis if the frame keeps one. A frame with a credible band gets a row per
    bin, since bands of bins do not add up, and the band as an outline. Raises OSError where ``path`` cannot be written,
    ValueError for a band of a frame that keeps other axes than side and price.
    """
    bounds = _bounds(frame)
    if bounds is not None:
        rows = 2 * math.ceil(reach * frame.mark_price / frame.bin_width)
    ladder = build_ladder(frame, rows, reach)
    figure, axes = canvas(11, 9)
    middle = ladder.low + ladder.step / 2
    side_of = np.where(middle < frame.mark_price, -1.0, 1.0)
    _stack(axes, frame, ladder.groups, ladder.by_group, middle, ladder.step, ladder.long, ladder.short)
    widest = max(ladder.peak, 1.0)
    if bounds is not None:
        widest = max(widest, _outline(axes, [build_ladder(bound, rows, reach) for bound in bounds]))
    axes.axhline(frame.mark_price, color=MARK, linewidth=1.4)
    axes.axvline(0, color=EDGE, linewidth=1)
    label = f"mark {figures.price(frame.mark_price, frame.bin_width / 100)}"
    axes.text(-widest * 1.02, frame.mark_price, label, color=MARK, va="bottom", weight="bold")
    low, high = float(ladder.low[-1]), float(ladder.low[0] + ladder.step)
    visible = [c for c in largest_clusters(frame, len(frame.clusters)) if low <= c.peak_price < high][:8]
    for cluster in visible:
        row = ladder.row_of(cluster.peak_price) or 0
        sign = float(side_of[row])
        venues = sorted(cluster.venues.items(), key=lambda item: -item[1])[:3]
        names = ", ".join(f"{venue} {usd / cluster.notional_usd:.0%}" for venue, usd in venues)
        axes.annotate(
            f"{figures.money(cluster.notional_usd)}  {figures.move(cluster.distance)}\n{names}",
            xy=(0, cluster.peak_price),
            xytext=(-sign * widest * 0.06, cluster.peak_price),
            ha="right" if sign > 0 else "left",
            va="center",
            fontsize=8,
            color=TEXT,
            arrowprops={"arrowstyle": "-", "color": shade(cluster.side, 0.5), "linewidth": 1.0},
        )
    axes.set_xlim(-widest * 1.05, widest * 1.05)
    axes.set_ylim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda usd, _: figures.money(abs(usd))))
    axes.yaxis.set_major_formatter(StrMethodFormatter(f"{{x:,.{figures.decimals_for(ladder.step)}f}}"))
    per = f"notional per {figures.price(ladder.step, ladder.step)} USD"
    if frame.band is not None:
        per += f", outlined: {100 * frame.band.level:g} % credible band"
    interest = figures.money(sum(market.open_interest_usd for market in frame.markets))
    axes.set_title(
        f"{frame.symbol} liquidation map · {figures.utc(frame.event_time)} UTC · open interest {interest} · "
        f"coverage {frame.coverage:.0%} · {frame.weighting}",
        color=TEXT,
        loc="left",
        fontsize=10,
    )
    axes.set_xlabel(f"longs liquidated   ◂   {per}   ▸   shorts liquidated")
    figure.savefig(path, format="png", facecolor=BACKGROUND)


class History:
    """What one symbol's map went through: notional by absolute bin over time, and the mark.

    Takes the frames of the first symbol it meets and of one server's run; ``len`` is the number of columns kept.
    """

    def __init__(self) -> None:
        self.symbol = ""
        self._times: list[np.datetime64] = []
        self._marks: list[float] = []
        self._columns: list[tuple[int, F64]] = []
        self._bin_width = 0.0
        self._every, self._seen = 1, 0

    def __len__(self) -> int:
        return len(self._times)

    def add(self, frame: MapFrame) -> None:
        """Keep a frame; other symbols, and frames that are not newer than the last, are left out."""
        self.symbol = self.symbol or frame.symbol
        if frame.symbol != self.symbol or (self._times and frame.event_time <= self._times[-1]):
            return
        self._seen += 1
        if self._seen % self._every:
            return
        by_side, _, _ = split(frame)
        self._bin_width = frame.bin_width
        self._times.append(frame.event_time)
        self._marks.append(frame.mark_price)
        self._columns.append((round(float(frame.price_low[1]) / frame.bin_width), by_side[:, 1:-1].sum(0)))
        if len(self._times) > _MOST_COLUMNS:
            del self._times[::2], self._marks[::2], self._columns[::2]
            self._every *= 2

    def grid(self, low: float, high: float) -> tuple[F64, F64]:
        """Return bin edges f64 [B + 1] and USD by bin and time f64 [B, N] between two prices."""
        first, last = int(low // self._bin_width), int(-(-high // self._bin_width))
        heat = np.zeros((last - first, len(self._columns)))
        for k, (begin, values) in enumerate(self._columns):
            here, there = max(first, begin), min(last, begin + len(values))
            if there > here:
                heat[here - first : there - first, k] = values[here - begin : there - begin]
        return np.arange(first, last + 1, dtype=np.float64) * self._bin_width, heat

    def render(self, path: Path | str, reach: float = 0.06) -> None:
        """Draw time against price: brightness is notional, the line is the mark.

        ``reach`` is the least range around the mark's path, as a fraction. Raises ValueError with fewer than two
        columns, OSError where ``path`` cannot be written.
        """
        if len(self) < 2:
            raise ValueError(f"history: {len(self)} maps, at least two are needed")
        marks = np.array(self._marks)
        low, high = float(marks.min()) * (1 - reach), float(marks.max()) * (1 + reach)
        edges, heat = self.grid(low, high)
        times = _dates.date2num(np.array(self._times, "datetime64[us]"))
        borders = np.concatenate(([times[0]], (times[1:] + times[:-1]) / 2, [times[-1]]))
        figure, axes = canvas(13, 7.5)
        top = float(np.quantile(heat[heat > 0], 0.998)) if np.any(heat > 0) else 1.0
        norm = PowerNorm(0.9, vmin=0, vmax=top, clip=True)
        mesh = axes.pcolormesh(borders, edges, heat, cmap=colour_map(_HEAT), norm=norm, shading="flat", rasterized=True)
        axes.plot(times, marks, color=BACKGROUND, linewidth=3.2, solid_joinstyle="round")
        axes.plot(times, marks, color="#ffffff", linewidth=1.5, solid_joinstyle="round", label="mark price")
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(low, high)
        locator = _dates.AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(_dates.ConciseDateFormatter(locator))
        axes.yaxis.set_major_formatter(StrMethodFormatter(f"{{x:,.{figures.decimals_for(self._bin_width)}f}}"))
        axes.yaxis.tick_right()
        width = figures.price(self._bin_width, self._bin_width)
        axes.set_title(f"{self.symbol} liquidation heatmap · UTC · USD per {width} of price", color=TEXT, loc="left")
        dollars = FuncFormatter(lambda usd, _: figures.money(usd))
        bar = figure.colorbar(mesh, ax=axes, pad=0.06, fraction=0.03, format=dollars)
        bar.outline.set_edgecolor(EDGE)
        bar.ax.tick_params(colors=DIM)
        figure.savefig(path, format="png", facecolor=BACKGROUND)


def _bounds(frame: MapFrame) -> tuple[MapFrame, MapFrame] | None:
    """Return the band's bounds as maps; None without a band."""
    if frame.band is None:
        return None
    if frame.axes != ("side", "price"):
        raise ValueError(f"axes = {frame.axes}: the band of a sum is not that of its parts; keep side and price only")
    return replace(frame, grid=frame.band.low, band=None), replace(frame, grid=frame.band.high, band=None)


def _outline(axes: Axes, bounds: Sequence[Ladder]) -> float:
    """Draw lower and upper bounds by row, in one line each, and return the most of them."""
    for ladder, colour in zip(bounds, (BACKGROUND, TEXT), strict=True):
        edges = np.append(ladder.low[::-1], ladder.low[0] + ladder.step)
        for amounts, sign in ((ladder.long, -1), (ladder.short, 1)):
            axes.stairs(
                sign * amounts[::-1], edges, orientation="horizontal", baseline=None, color=colour, linewidth=0.6
            )
    return max(ladder.peak for ladder in bounds)


def _stack(
    axes: Axes,
    frame: MapFrame,
    groups: Sequence[str],
    by_group: F64,
    middle: F64,
    step: float,
    long: F64,
    short: F64,
) -> None:
    """Draw the bars: one part per group, split by side as the row is, or one part by intensity."""
    peak = max(float(long.max(initial=0)), float(short.max(initial=0)), 1.0)
    if not groups:
        for side, amounts, sign in (("long", long, -1), ("short", short, 1)):
            colours = [shade(side, float(usd) / peak) for usd in amounts]
            axes.barh(middle, sign * amounts, height=step, color=colours, linewidth=0)
        return
    both = np.maximum(long + short, 1e-12)
    venues = sorted({market.venue for market in frame.markets})
    ramp = colour_map((*LONG_STOPS[1:], *SHORT_STOPS[:0:-1]))
    for amounts, sign in ((long, -1), (short, 1)):
        start = np.zeros(len(middle))
        for k, name in enumerate(groups):
            part = by_group[:, k] * amounts / both
            colour = venue_colour(name, venues) if name in venues else ramp(k / max(len(groups) - 1, 1))
            axes.barh(middle, sign * part, left=sign * start, height=step, color=colour, linewidth=0, label=name)
            start += part
    handles, labels = axes.get_legend_handles_labels()
    count = len(groups)
    axes.legend(handles[:count], labels[:count], loc="lower right", frameon=False, labelcolor=TEXT, fontsize=9)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure without pyplot, which would keep it in a global list."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor=BACKGROUND)
    axes = figure.add_subplot()
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=DIM)
    axes.xaxis.label.set_color(DIM)
    for spine in axes.spines.values():
        spine.set_color(EDGE)
    return figure, axes


def colour_map(stops: Sequence[str]) -> Any:
    """Return a matplotlib colour map that runs evenly through some colours."""
    return LinearSegmentedColormap.from_list("forcedmove", list(stops))
