"""Views as an engine hands them on: each with its revision and what changed since the one before."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from forcedmove_kernels.reference import ReferenceBackend
from forcedmove_kernels.renderings import Renderings
from forcedmove_server.engine.frames import RenderedView


class WatchedViews:
    """Any number of views by name."""

    def __init__(self) -> None:
        self._renderings = Renderings()

    def next(self, view: RenderedView, name: Hashable = None) -> RenderedView:
        before = self._renderings.before(name, view.values.shape)
        changed = None if before is None else ReferenceBackend.changed_cells(before, view.values)
        made = self._renderings.add(name, view.values, changed)
        return replace(view, revision=made.revision, since=made.since, changed=made.changed)
