"""The arrays of every market, kept where a backend computes: on the host here, on the device in :mod:`cuda.store`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
    U32,
    U64,
    ClusterRule,
    Cohorts,
    Freshness,
    Notional,
    Outcome,
    Profiles,
    Rendering,
    Rules,
    Updates,
    View,
    Window,
)
from forcedmove_kernels.spreads import Spreads


class ResidentStore(Protocol):
    """Cohorts, rules, windows and standing totals of all markets. Used from one thread.

    What goes in and what comes out are small host arrays; everything else stays where it is computed. Axis letters are
    those of :mod:`forcedmove_kernels.arrays`.
    """

    capacity: int  # cohorts per market
    bins: int
    used: I32  # [M] slots in use, a host copy: read only
    first_bin: U32  # [M] the windows, a host copy: read only
    spreads: Spreads  # on the host: how far levels may be off, and where the marks are

    def set_rules(self, market: int, rules: Rules) -> None:
        """Give a market its tables (``rules`` of one market); its rows become stale."""
        ...

    def set_freshness(self, fresh: Freshness) -> None:
        """Weigh ages by ``fresh`` from now on; every row becomes stale."""
        ...

    def move_window(self, markets: I32, first_bin: int) -> None:
        """Let the windows of ``markets`` begin at ``first_bin``; their rows become stale."""
        ...

    def set_spread(self, markets: I32, share: int, near: int) -> None:
        """Spread the levels of ``markets`` by ``share / SPREAD_ONE`` of their distance from the mark.

        By half of that at a distance of ``near / 2**NEAR_BITS`` of the mark; whenever they are read, in grids, profiles
        and renderings, not in totals. The mark is that of a market's last step, as far as its whole spreads.MARK_STEP
        bins; see :meth:`forcedmove_kernels.backend.Backend.spread_levels`. Raises ValueError for more than the whole
        distance.
        """
        ...

    def apply(self, updates: Updates) -> Outcome:
        """Run one lifecycle step; see :meth:`forcedmove_kernels.backend.Backend.apply_updates`."""
        ...

    def refresh(self) -> None:
        """Rebuild the stale rows of the totals."""
        ...

    def totals(self, markets: I32, weighted: bool) -> U64:
        """Return standing totals u64 ``[K, 2, C]``: live lots, or ``weighted`` by age. Raises ValueError when stale."""
        ...

    def leverage_grid(self, markets: I32, weighted: bool, window: Window | None = None) -> U64:
        """Return the full grid u64 ``[K, 2, T, C]`` in the markets' own windows, or in ``window`` (``first_bin`` per
        row of ``markets``).
        """
        ...

    def profiles(self, markets: I32, first: I64, notional: Notional, rule: ClusterRule) -> Profiles:
        """Return cents of ``markets`` and of their symbols, and the clusters of the symbols.

        The markets of symbol ``s`` are ``markets[first[s] : first[s + 1]]``, ``first`` i64 ``[S + 1]``; ``notional``
        has an element per market given. Raises ValueError when a row is stale.
        """
        ...

    def render(self, view: View) -> F32:
        """Return USD as the wire has them, f32 ``[O, high - low + 2]``; see Backend.render.

        Raises ValueError for totals that are stale, and for what cannot be rendered.
        """
        ...

    def render_watched(self, views: Mapping[Hashable, View]) -> dict[Hashable, Rendering]:
        """Render views that are rendered again and again, and say which cells of each changed since the last time.

        The last rendering of each name is kept where it was computed, until :meth:`forget`. Changed cells are listed
        when the shape is that of the last rendering and at most one cell in LISTED_PART changed. Raises ValueError like
        :meth:`render`; all of ``views`` are forgotten then.
        """
        ...

    def forget(self, names: Iterable[Hashable]) -> None:
        """Let go of the last renderings of views; names that are not known are passed over."""
        ...

    def compact(self, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts; see Backend.compact. Its rows become stale. Returns how many remain."""
        ...

    def cohorts(self, market: int) -> Cohorts:
        """Return a copy of one market's cohorts, as a store of one market without spare slots."""
        ...

    def thin(self, source: int, target: int, lots: U64) -> None:
        """Put a market's cohorts, each side thinned to ``lots`` u64 ``[2]``, in the place of those of ``target``.

        See :func:`forcedmove_kernels.thinning.thinned`, which is done on the host for every store. Levels of ``target``
        are spread as those of ``source`` from then on, from the mark that it has now; rows of ``target`` become stale.
        Raises ValueError for more lots than are alive.
        """
        ...

    def replace(self, market: int, cohorts: Cohorts) -> None:
        """Put other cohorts (a store of one market) in a market's place; its rows become stale."""
        ...
