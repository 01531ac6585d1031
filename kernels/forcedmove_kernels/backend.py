"""The one axis of choice: which implementation computes.

``reference`` is the NumPy oracle: slow, obvious, the definition. ``cpu`` is numba. All backends give the same bits.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Protocol

from forcedmove_kernels.arrays import (
    I32,
    I64,
    U32,
    U64,
    Chain,
    Clusters,
    Cohorts,
    Freshness,
    Notional,
    Outcome,
    Rules,
    Updates,
    Window,
)

BACKENDS = ("auto", "cpu", "reference")


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for cannot run here."""


class Backend(Protocol):
    """Every kernel, arrays in, arrays out. Where an argument is written in place its docstring says so."""

    name: str

    def accumulate_volume(self, row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
        """Add trades to per-row histograms by entry bucket (``price >> PRICE_BITS``), in place.

        ``row`` i32[J], ``price`` u32[J] price units, ``lots`` u32[J]; ``first_bucket`` i64[R]; ``volume`` and
        ``turnover`` u64[R, H]: lots, and lots x (price - bucket's lower edge) so that the mean entry of a bucket is
        ``edge + turnover / volume``. Trades outside a row's H buckets go to its first or last bucket with the price
        clamped into that bucket. Rows below zero are ignored. Returns how many trades were clamped.
        """
        ...

    def apply_updates(self, cohorts: Cohorts, rules: Rules, updates: Updates) -> Outcome:
        """Run one lifecycle step (sweep, scale, append) on ``cohorts``, in place. See arrays.Updates.

        Prefix rounding scales lots to a total: each slot gets the difference of the floored scaled prefix sums. Where
        nothing survives, the openings take the whole open interest by prefix rounding (all of it goes to the last
        opening row when they have no lots). At birth tiers beyond ``price`` are dropped, but never the last one.
        Opening rows that end with no lots on both sides are not appended. Raises ValueError, or OverflowError where a
        market without an observation would hold 2**32 lots or more on a side (alive before the step plus opened);
        either way nothing has changed.
        """
        ...

    def standing_totals(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64
    ) -> None:
        """Rebuild rows of the standing totals, in place.

        ``rows`` i32[K] are ``2 * market + side``; ``totals`` u64[M, 2, C] lots.
        """
        ...

    def add_cohorts(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, market: I32, first_new: I64, totals: U64
    ) -> None:
        """Add the cohorts from slot ``first_new[k]`` on to both rows of ``market[k]`` of ``totals``, in place.

        Markets do not repeat within one call.
        """
        ...

    def leverage_grid(self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
        """Return the full grid of the given markets: u64 ``[K, 2, T, C]`` lots."""
        ...

    def compact(self, cohorts: Cohorts, market: int, now: int, ladder: U32, entry_shift: int) -> int:
        """Merge a market's cohorts into coarser time buckets, in place; return how many remain.

        ``ladder`` u32[L, 2] are rows ``(minimum age, time bucket)`` in seconds, ascending age; ``entry_shift`` widens
        the entry bucket of cohorts older than the second row. Cohorts that share time bucket, entry bucket and both
        live-tier counts merge; cohorts without lots vanish. Live lots per (market, side, live tiers) do not change.

        A cohort's ladder row is the last one whose minimum age it has reached; cohorts too young for the first row
        stay as they are, in their order, behind the merged ones. Those ascend by (start of the time bucket, coarser
        ladder row first, entry bucket, live tiers long, short); a time bucket is ``opened_at // bucket``, an entry
        bucket is one bin, from the second row on ``2**entry_shift`` bins. Entry and opening time of a merged cohort
        are the lots-weighted means (long plus short lots, floored) of the offsets from their buckets' lower edges.
        Freed slots are zeroed.
        """
        ...

    def profile(self, totals: U64, market_symbol: I32, notional: Notional, window: Window, symbols: int) -> U64:
        """Notional per symbol, side and cell: u64 ``[S, 2, C]`` cents, summed over its markets.

        ``market_symbol`` i32[M] lies in ``0 .. symbols - 1``.
        """
        ...

    def clusters(self, notional: U64, half_width: int, ratio_percent: int, minimum: int) -> Clusters:
        """Find runs of cells of one profile row (u64 [C]) that stand above their surroundings.

        Scale-free rule: cell ``c`` (never the two outer cells) stands above when its notional is at least ``minimum``
        and ``100 * notional[c] * n > ratio_percent * sum`` over the ``n`` window cells within ``half_width`` of ``c``
        (itself included, outer cells excluded). A cluster is a maximal run of such cells.
        """
        ...

    def cascade_chain(self, notional: U64, depth: U64, mark: int, shock: int) -> Chain:
        """Follow the chain of one shock: from cell ``mark`` to cell ``shock``; the direction follows from the two.

        ``notional`` and ``depth`` are u64 [C] cents: what fires in each cell (longs when ``shock <= mark``, shorts when
        above; the caller picks) and what rests there on the side that absorbs it. Cells from ``mark`` to ``shock``
        inclusive fire first. What has fired in all is absorbed from the shock cell onwards, its own depth included:
        the mark reaches the first cell by which the depth from the shock cell on holds the total fired so far. Newly
        crossed cells fire in the next round, until a round reaches nothing new. ``equal`` shock and mark fires the
        mark's own cell, downwards. Where depth never suffices the terminal cell is the outer cell (0 or C - 1).
        Notional adds up to less than 2**63 cents over all cells; depth may hold any u64.
        """
        ...

    def shock_curve(self, notional: U64, depth: U64, mark: int, side: int) -> tuple[I32, U64]:
        """Terminal cell (i32 [C]) and total notional fired (u64 [C]) of every shock cell on one side, in one sweep.

        Side 0 is down from ``mark`` (included) to cell 0, side 1 up from the cell above it. Cells on the other side
        hold the mark and zero.
        Equals :meth:`cascade_chain` shock by shock.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """What was asked for, what runs, and why: for logs and tests."""

    requested: str
    name: str
    reason: str


def select_backend(name: str = "auto", threads: int | None = None) -> tuple[Backend, BackendChoice]:
    """Return a backend and the choice made. ``auto`` takes the fastest that runs here and says why.

    Raises BackendUnavailableError when a named backend cannot run, ValueError for an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend = {name!r}: must be one of {', '.join(BACKENDS)}")
    has_numba = importlib.util.find_spec("numba") is not None
    if name == "reference" or (name == "auto" and not has_numba):
        from forcedmove_kernels.reference import ReferenceBackend

        reason = "asked for" if name == "reference" else "numba is not installed"
        return ReferenceBackend(), BackendChoice(name, "reference", reason)
    if not has_numba:
        raise BackendUnavailableError("backend 'cpu' needs numba: pip install 'forcedmove[server]'")
    from forcedmove_kernels.cpu import CpuBackend

    reason = "asked for" if name == "cpu" else "numba is installed and no GPU backend is part of this release"
    return CpuBackend(threads), BackendChoice(name, "cpu", reason)
