"""The whole market in one picture: symbols by shocks, coloured by what the shocks become. Needs matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from forcedmove_client.picture import canvas, colour_map
from forcedmove_client.scan import ScanResult, SymbolScan
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.palette import BACKGROUND, DIM, EDGE, MARK, TEXT

F64 = NDArray[np.float64]

#: from the background over violet and orange to pale yellow: lightness rises evenly
_STOPS = ("#141824", "#3b1f5e", "#7d2a6b", "#c6405a", "#f0783f", "#fbbf4b", "#fff7a8")
#: cells are labelled while rows have their full height
_ROW_INCHES, _COLUMN_INCHES = 0.3, 0.46
#: inches around the cells: names to the left, measures to the right
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.1, 3.0, 1.0, 1.0
#: inches of all rows beyond which they become narrower, and least distance of two names
_TALLEST, _NAME_INCHES = 38.0, 0.15
_LEAST_WIDTH = 3.0


def render_market(found: ScanResult, path: Path | str, colour: Literal["amplification", "move"]) -> None:
    """Draw a scan: its ranked symbols from the top, shocks from the left, each cell coloured and labelled.

    ``colour`` is the amplification, or the move that the chain ends with. To the right stand the tips and the measures.
    A mark in a cell says that the chain ran out of the map's window. Raises ValueError for a scan without symbols,
    OSError where ``path`` cannot be written.
    """
    symbols = found.ranked
    if not symbols:
        raise ValueError("scan: no symbol to draw")
    order = np.argsort(symbols[0].shocks, kind="stable")
    shocks = symbols[0].shocks[order]
    values = np.stack([_values(one, colour)[order] for one in symbols])
    beyond = np.stack([one.beyond_window[order] for one in symbols])
    rows, columns = values.shape
    across, down_inches = max(columns * _COLUMN_INCHES, _LEAST_WIDTH), min(rows * _ROW_INCHES, _TALLEST)
    width, height = across + _LEFT + _RIGHT, down_inches + _TOP + _BOTTOM
    figure, axes = canvas(width, height)
    figure.set_layout_engine("none")
    axes.set_position((_LEFT / width, _BOTTOM / height, across / width, down_inches / height))
    norm = _norm(values, colour)
    mesh = axes.pcolormesh(
        np.arange(columns + 1), np.arange(rows + 1), values, cmap=colour_map(_STOPS), norm=norm, edgecolors=BACKGROUND,
        linewidth=0.8,
    )  # fmt: skip
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    if down_inches == rows * _ROW_INCHES:
        _label(axes, values, beyond, norm, colour)
    named = range(0, rows, math.ceil(_NAME_INCHES * rows / down_inches))  # names that would overlap are left out
    _name_axes(axes, symbols, shocks, named)
    down = int((shocks < 0).sum())
    if 0 < down < columns:
        axes.axvline(down, color=MARK, linewidth=1.6)
        axes.annotate(
            "mark", (down, rows), (0, -3), textcoords="offset points", color=MARK, ha="center", va="top", fontsize=8
        )
    _measures(axes, symbols, named)
    what = "amplification: how far the mark ends over how far it was shocked" if colour == "amplification" else (
        "where the chain ends, as a move of the mark"
    )  # fmt: skip
    scale = figure.add_axes((_LEFT / width, 0.55 / height, min(across, 8.0) / width, 0.13 / height))
    bar = figure.colorbar(mesh, cax=scale, orientation="horizontal")
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value, colour)))
    bar.ax.xaxis.set_major_locator(FixedLocator([tick for tick in _ticks(colour) if norm.vmin <= tick <= norm.vmax]))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.outline.set_edgecolor(EDGE)
    bar.ax.tick_params(colors=DIM, labelsize=8)
    bar.set_label(what, color=DIM, fontsize=8)
    newest = max(one.event_time for one in symbols)
    axes.set_title(
        f"{rows} of {found.summary.scanned} symbols · {figures.utc(newest)} UTC · by rank",
        color=TEXT, loc="left", fontsize=10, pad=10,
    )  # fmt: skip
    figure.savefig(path, format="png", facecolor=BACKGROUND)


def _values(one: SymbolScan, colour: str) -> F64:
    found: F64 = one.amplification if colour == "amplification" else np.abs(one.terminal_move)
    return found


def _norm(values: F64, colour: str) -> Any:
    """A scale that keeps small differences apart: logarithmic from 1x, or a root of the move."""
    if colour == "amplification":
        return LogNorm(1.0, max(float(values.max()), 1.5), clip=True)
    return PowerNorm(0.6, vmin=0.0, vmax=max(float(values.max()), 1e-6), clip=True)


def _ticks(colour: str) -> tuple[float, ...]:
    """Where the scale of colours is labelled, within its ends."""
    if colour == "amplification":
        return (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    return (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def _text(value: float, colour: str) -> str:
    if colour == "amplification":
        return f"{value:.1f}x" if value < 9.95 else f"{value:.0f}x"
    return f"{100 * value:.1f}%" if value < 0.0995 else f"{100 * value:.0f}%"


def _label(axes: Axes, values: F64, beyond: NDArray[np.bool_], norm: Any, colour: str) -> None:
    for (row, column), value in np.ndenumerate(values):
        dark = float(norm(value)) > 0.62
        text = _text(float(value), colour).removesuffix("x").removesuffix("%") + ("+" if beyond[row, column] else "")
        axes.text(
            column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5, color=BACKGROUND if dark else TEXT
        )


def _name_axes(axes: Axes, symbols: list[SymbolScan], shocks: F64, places: range) -> None:
    axes.set_yticks([k + 0.5 for k in places], [symbols[k].symbol for k in places])
    decimals = 1 if np.all(np.abs(shocks) >= 0.00995) else 2
    axes.set_xticks(np.arange(len(shocks)) + 0.5, [figures.move(float(s), decimals) for s in shocks])
    axes.tick_params(axis="y", colors=TEXT, labelsize=8, length=0)
    axes.tick_params(axis="x", colors=DIM, labelsize=7.5, length=0, rotation=90 if len(shocks) > 12 else 0)
    axes.xaxis.tick_top()
    for spine in axes.spines.values():
        spine.set_visible(False)


def _measures(axes: Axes, symbols: list[SymbolScan], places: range) -> None:
    """Write tips and measures beside some rows."""
    heads = (("tips at", 0.15), ("fragility", 1.3), ("loss / horizon", 2.0))

    def write(inches: float, row: float, text: str, colour: str) -> None:
        axes.annotate(
            text, (1, row), (72 * inches, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            color=colour, fontsize=7.5, ha="left", va="center", annotation_clip=False,
        )  # fmt: skip

    for name, inches in heads:
        axes.annotate(
            name, (1, 1), (72 * inches, 5), xycoords="axes fraction", textcoords="offset points", color=DIM,
            fontsize=7.5, ha="left", va="bottom",
        )  # fmt: skip
    for row in places:
        one = symbols[row]
        tips = [figures.move(tip, 1) for tip in (one.tipping_down, one.tipping_up) if tip is not None]
        fragility = f"{one.max_fragility:.2g}" if math.isfinite(one.max_fragility) else "∞"
        for (_, inches), text in zip(
            heads, (" ".join(tips) or "–", fragility, figures.money(one.expected_loss_usd)), strict=True
        ):
            write(inches, row + 0.5, text, TEXT)
