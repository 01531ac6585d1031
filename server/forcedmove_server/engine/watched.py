"""Which views somebody watches, and their renderings with every tick."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from forcedmove_server.engine.frames import RenderedView, SymbolMap, ViewSpec
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import plan_view
from forcedmove_server.errors import ForcedMoveError


class WatchedViews:
    """Views are wished for from any thread, and rendered on that of the store."""

    def __init__(self, store: CohortStore) -> None:
        self._store = store
        self._wished: Counter[tuple[str, ViewSpec]] = Counter()
        self._unrendered: set[tuple[str, ViewSpec]] = set()
        self._released: set[tuple[str, ViewSpec]] = set()
        self._lock = threading.Lock()

    def add(self, symbol: str, spec: ViewSpec) -> Callable[[], None]:
        """Have ticks carry this view of ``symbol``; returns the function that gives the wish back."""
        key = (symbol, spec)
        with self._lock:
            self._wished[key] += 1
            self._unrendered.add(key)
        released = threading.Event()

        def release() -> None:
            with self._lock:
                if released.is_set():
                    return
                released.set()
                self._wished[key] -= 1
                if not self._wished[key]:
                    del self._wished[key]
                    self._unrendered.discard(key)
                    self._released.add(key)

        return release

    def render(
        self, states: Mapping[str, SymbolState], maps: Mapping[str, SymbolMap], changed: Collection[str]
    ) -> dict[tuple[str, ViewSpec], RenderedView]:
        """Render the views of symbols that have ``changed``, and those that were not rendered yet."""
        with self._lock:
            wanted = [k for k in self._wished if k[0] in maps and (k[0] in changed or k in self._unrendered)]
            self._unrendered.difference_update(wanted)
            released, self._released = self._released, set()
        store = self._store
        store.resident.forget(released)
        planned = {}
        for symbol, spec in wanted:
            try:
                planned[symbol, spec] = plan_view(store, states[symbol].rows, spec)
            except ForcedMoveError:
                # for example a venue filter that names no market of this symbol: its reader sees the other symbols
                continue
        drawn = store.resident.render_watched({key: view.asked for key, view in planned.items()})
        return {key: view.continued(drawn[key]) for key, view in planned.items()}
