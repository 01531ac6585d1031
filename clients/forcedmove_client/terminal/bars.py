"""Bars from block characters, an eighth of a cell exact in both directions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

#: left part of a cell, by eighths
_LEFT = " ▏▎▍▌▋▊▉█"


def eighths_of(share: float, width: int) -> int:
    """Length in eighths of a cell; what is not zero stays visible."""
    length = round(min(max(share, 0.0), 1.0) * width * 8)
    return max(length, 1) if share > 0 and width else length


def rightward(share: float, width: int, colour: str, background: str) -> Text:
    """Return a bar that grows to the right from the left edge of ``width`` cells."""
    full, part = divmod(eighths_of(share, width), 8)
    bar = Text("█" * full + (_LEFT[part] if part else ""), style=Style(color=colour, bgcolor=background))
    bar.append(" " * (width - len(bar)), Style(bgcolor=background))
    return bar


def leftward(share: float, width: int, colour: str, background: str) -> Text:
    """Return a bar that grows to the left from the right edge of ``width`` cells.

    There are no right-hand eighths in Unicode: the end cell is the left part in the background's colour, on the bar's.
    """
    full, part = divmod(eighths_of(share, width), 8)
    bar = Text(" " * (width - full - bool(part)), style=Style(bgcolor=background))
    if part:
        bar.append(_LEFT[8 - part], Style(color=background, bgcolor=colour))
    bar.append("█" * full, Style(color=colour, bgcolor=background))
    return bar


def stacked(parts: Sequence[tuple[str, float, str]], width: int, ink: str, slim: bool = False) -> Text:
    """Return one bar of labelled parts ``(label, amount, colour)`` that fill ``width`` cells in proportion.

    A slim bar leaves an eighth of its row free, so that bars in a table stay apart, and shows no labels.
    """
    total = sum(amount for _, amount, _ in parts)
    bar = Text()
    seen = 0.0
    for label, amount, colour in parts:
        if total <= 0:
            break
        begin = len(bar)
        seen += amount
        cells = round(seen / total * width) - begin
        if slim:
            bar.append("▇" * cells, Style(color=colour))
            continue
        text = f" {label}" if cells >= len(label) + 2 else (f" {label}"[:cells] if cells > 3 else "")
        bar.append(text.ljust(cells), Style(color=ink, bgcolor=colour))
    return bar
