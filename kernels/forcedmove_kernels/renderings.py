"""The last rendering of every watched view, and whether it is worth saying which cells changed since."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import count

import numpy as np

from forcedmove_kernels.arrays import F32, U32, Rendering

#: cells are listed while at most one in so many changed: a listed cell takes 8 bytes, one of a whole frame 4, wherever
#: it goes, and who lacks the frame before needs a whole one anyway
LISTED_PART = 3


class Renderings:
    """Host copies of renderings by the name of their view. Revisions count up and never repeat."""

    def __init__(self) -> None:
        self._last: dict[Hashable, Rendering] = {}
        self._revisions = count(1)

    def before(self, name: Hashable, shape: tuple[int, ...]) -> F32 | None:
        """Return the values of the last rendering of a view, if there is one of this shape."""
        last = self._last.get(name)
        return None if last is None or last.values.shape != shape else last.values

    def add(self, name: Hashable, values: F32, changed: U32 | None) -> Rendering:
        """Return the next rendering of a view.

        ``changed`` are the cells that differ from :meth:`before`; None where that is nothing or they are too many.
        """
        since = 0
        if changed is not None and len(changed) <= values.size // LISTED_PART:
            since = self._last[name].revision
        listed = changed if changed is not None and since else np.zeros(0, np.uint32)
        self._last[name] = Rendering(values, next(self._revisions), since, listed)
        return self._last[name]

    def forget(self, names: Iterable[Hashable]) -> None:
        """Let go of views; those that are not known are passed over."""
        for name in names:
            self._last.pop(name, None)
