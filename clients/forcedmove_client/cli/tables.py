"""Tables on standard output: as wide as the terminal, and never cut where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDE = 400


def table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines; columns are aligned to the right unless they are in ``left``."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        made.add_column(name, justify="left" if name in left else "right")
    return made


def output() -> Console:
    """Return a console for standard output that prints text as it is given."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)
