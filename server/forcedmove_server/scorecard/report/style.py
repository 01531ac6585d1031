"""How charts look, and how a figure becomes SVG that can stand inside a page: the same bytes for the same figure."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unicodedata import category

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

INK, DIM, RULE, PAPER = "#1d2430", "#5a6472", "#d4d9e0", "#ffffff"
#: Okabe and Ito's colours, told apart with any colour vision, with a marker and a dash of their own for grey printers
_CYCLE = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", "--"),
    ("#e69f00", "D", (0, (4, 1, 1, 1))),
    ("#7a7a7a", "v", ":"),
    ("#009e73", "^", (0, (6, 2))),
    ("#cc79a7", "P", (0, (1, 1))),
    ("#56b4e9", "X", (0, (3, 1, 1, 1, 1, 1))),
)
_FIXED = {"ours": 0, "naive": 1, "naive_maintenance": 2, "distance": 3}
#: every chart on a page of its own is this large, in inches: on a phone its text is then as large as the page's
PANEL = (3.7, 2.9)

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.labelcolor": DIM,
    "axes.labelsize": 8,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "errorbar.capsize": 2,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": "#e8ebef",
    "grid.linewidth": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "path.simplify": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "forcedmove",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": DIM,
    "xtick.labelsize": 7.5,
    "ytick.color": DIM,
    "ytick.labelsize": 7.5,
}

Draw = Callable[[Axes], None]


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style alone, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def look(name: str, position: int = 0) -> tuple[str, str, object]:
    """Return colour, marker and dash of a map; maps of other names take those that are left, by ``position``."""
    index = _FIXED.get(name)
    return _CYCLE[index] if index is not None else numbered(len(_FIXED) + position % 3)


def numbered(position: int) -> tuple[str, str, object]:
    """Return colour, marker and dash of the ``position``-th of some series."""
    return _CYCLE[position % len(_CYCLE)]


def drawable(name: str, most: int | None = 46) -> str:
    """Return text cut to ``most`` characters, a box in place of each that the font lacks, which would be a warning."""
    if most is not None and len(name) > most:
        name = name[: most - 1] + "…"
    if name.startswith("_"):  # which hides a line from its legend
        name = f" {name}"
    kept = (c == "\n" or (ord(c) in _characters() and category(c)[0] != "C") for c in name)
    return "".join(c if keep else "□" for c, keep in zip(name, kept, strict=True))


def panel_svg(draw: Draw, label: str, prefix: str) -> str:
    """Draw one chart and return it as an ``svg`` element for a page; ids begin with ``prefix``, ``label`` is spoken.

    Text becomes outlines, so that it looks the same everywhere. ``label`` and ``prefix`` must be escaped.
    """
    with styled():
        figure = Figure(figsize=PANEL, layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' (id|href|xlink:href)="(#?)', rf' \1="\g<2>{prefix}-', drawn).replace("url(#", f"url(#{prefix}-")
    # the page's style sizes it; the label is put in as it is, not as a pattern's replacement
    drawn = re.sub(r' (?:width|height)="[^"]*"', "", drawn[: drawn.index(">")]) + drawn[drawn.index(">") :]
    return f'<svg role="img" aria-label="{label}" ' + drawn.removeprefix("<svg ")


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
