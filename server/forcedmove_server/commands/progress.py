"""A progress bar for runs over a source, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forcedmove_server.market.events import EventBatch
from forcedmove_server.sources.source import Source


def with_progress(batches: Iterable[EventBatch], source: Source, label: str) -> Iterator[EventBatch]:
    """Pass batches through while a bar shows how much of the source has been read, and how many events that was."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield from batches
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[events]:,} events"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=1.0, events=0)
        events = 0
        for batch in batches:
            events += len(batch)
            progress.update(task, completed=source.progress() or 0.0, events=events)
            yield batch
