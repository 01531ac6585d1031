"""The arrays of every market, kept where a backend computes: on the host here, on the device in :mod:`cuda.store`."""

from __future__ import annotations

from typing import Protocol

from forcedmove_kernels.arrays import F32, I32, U32, U64, Cohorts, Freshness, Notional, Outcome, Rules, Updates, Window


class ResidentStore(Protocol):
    """Cohorts, rules, windows and standing totals of all markets. Used from one thread.

    What goes in and what comes out are small host arrays; everything else stays where it is computed. Axis letters are
    those of :mod:`forcedmove_kernels.arrays`.
    """

    capacity: int  # cohorts per market
    bins: int
    used: I32  # [M] slots in use, a host copy: read only
    first_bin: U32  # [M] the windows, a host copy: read only

    def set_rules(self, market: int, rules: Rules) -> None:
        """Give a market its tables (``rules`` of one market); its rows become stale."""
        ...

    def set_freshness(self, fresh: Freshness) -> None:
        """Weigh ages by ``fresh`` from now on; every row becomes stale."""
        ...

    def move_window(self, markets: I32, first_bin: int) -> None:
        """Let the windows of ``markets`` begin at ``first_bin``; their rows become stale."""
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

    def profile(self, markets: I32, notional: Notional) -> U64:
        """Return cents per market, side and cell, u64 ``[K, 2, C]``; ``notional`` has a row per market given."""
        ...

    def render(
        self,
        markets: I32,
        tiers: I32 | None,
        weighted: bool,
        notional: Notional,
        target: I32,
        outputs: int,
        low: int,
        high: int,
    ) -> F32:
        """Return USD as the wire has them, f32 ``[outputs, high - low + 2]``; see Backend.render.

        ``target`` i32 ``[K, 2, len(tiers)]`` names the output row of every (market, side, tier), -1 for none. Without
        ``tiers`` (``[K, 2, 1]``) the standing totals are rendered, which are all tiers together. ``notional`` has a row
        per market. All windows begin where that of ``markets[0]`` does.
        """
        ...

    def compact(self, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts; see Backend.compact. Its rows become stale. Returns how many remain."""
        ...

    def cohorts(self, market: int) -> Cohorts:
        """Return a copy of one market's cohorts, as a store of one market without spare slots."""
        ...

    def replace(self, market: int, cohorts: Cohorts) -> None:
        """Put other cohorts (a store of one market) in a market's place; its rows become stale."""
        ...
