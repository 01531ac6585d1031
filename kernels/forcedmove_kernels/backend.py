"""The one axis of choice: which implementation computes.

``reference`` is the NumPy oracle: slow, obvious, the definition. ``cpu`` is numba, ``cuda`` a GPU. All of them give
the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
    U32,
    U64,
    Chain,
    ClusterRule,
    Clusters,
    Cohorts,
    Endings,
    Freshness,
    Noise,
    Notional,
    Outcome,
    Paths,
    Rules,
    Spread,
    Standing,
    Updates,
    Window,
)
from forcedmove_kernels.errors import BackendUnavailableError
from forcedmove_kernels.store import ResidentStore

#: behind ``auto``, which takes the first that runs here: fastest first
BACKENDS = ("auto", "cuda", "cpu", "reference")

_CUDA_NEEDS = (
    "it takes an NVIDIA GPU with a driver for CUDA 13 and pip install 'forcedmove[cuda13]', or for CUDA 12 and "
    "'forcedmove[cuda12]'"
)


class Backend(Protocol):
    """Every kernel, arrays in, arrays out. Where an argument is written in place its docstring says so."""

    name: str

    def open_store(self, markets: int, capacity: int, tiers: int, bins: int) -> ResidentStore:
        """Return an empty store of ``markets`` markets with ``capacity`` cohorts each, where this backend computes.

        Raises MemoryBudgetError before anything is allocated when it would not fit.
        """
        ...

    def accumulate_volume(self, row: I32, price: U32, lots: U32, first_bucket: I64, volume: U64, turnover: U64) -> int:
        """Add trades to per-row histograms by entry bucket (``price >> PRICE_BITS``), in place.

        ``row`` i32[J], ``price`` u32[J] price units, ``lots`` u32[J]; ``first_bucket`` i64[R]; ``volume`` and
        ``turnover`` u64[R, H]: lots, and lots x (price - bucket's lower edge) so that the mean entry of a bucket is
        ``edge + turnover / volume``. Trades outside a row's H buckets go to its first or last bucket with the price
        clamped into that bucket. Rows below zero are ignored. Returns how many trades were clamped.
        """
        ...

    def apply_updates(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, updates: Updates
    ) -> Outcome:
        """Run one lifecycle step (sweep, scale, append) on ``cohorts``, and keep ``standing`` up to date; in place.

        See arrays.Updates. Prefix rounding scales lots to a total: each slot gets the difference of the floored scaled
        prefix sums. Where nothing of a side survives, its openings take that side's whole open interest by prefix
        rounding (all of it goes to the last opening row when they have no lots). At birth tiers beyond ``price`` are
        dropped, but never the last one. Opening rows that end with no lots on both sides are not appended. Raises
        ValueError, or OverflowError where a market without an observation would hold 2**32 lots or more on a side
        (alive before the step plus opened); either way nothing has changed.

        A row of ``standing`` that was not stale stays equal to its rebuild, or becomes stale: when scaling changed any
        lots, or when the sweep's extremes reach the triggers of more than a quarter of the row's cohorts
        (``4 * reached > used``, counted before the sweep). Stale rows are left as they are.
        """
        ...

    def rebuild(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, standing: Standing, rows: I32
    ) -> None:
        """Rebuild every array of rows of ``standing`` from the cohorts and clear their ``stale``, in place.

        ``rows`` i32[K] are ``2 * market + side``, without repeats.
        """
        ...

    def standing_totals(
        self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, rows: I32, totals: U64
    ) -> None:
        """Rebuild rows of totals under any freshness table, in place.

        ``rows`` i32[K] are ``2 * market + side``; ``totals`` u64[M, 2, C] lots.
        """
        ...

    def leverage_grid(self, cohorts: Cohorts, rules: Rules, window: Window, fresh: Freshness, markets: I32) -> U64:
        """Return the full grid of the given markets: u64 ``[K, 2, T, C]`` lots."""
        ...

    def spread_levels(self, lots: U64, spread: Spread) -> U64:
        """Return rows of levels, u64 ``[R, C]`` lots, spread over the distances that they may really have.

        The lots of the inner cell ``d`` cells from the mark, below it for longs and above it for shorts, go to the
        ``n = 2 half + 1`` cells at distances ``d - half .. d + half``, ``half`` being ``d * d * share`` over
        ``SPREAD_ONE * (d + near)``, floored, and at most ``max(most - d, 0)``: ``floor(lots * 2**SPREAD_BITS / n)`` to
        each and what is left to the one in the middle, in ``2**-SPREAD_BITS`` lots. With ``S(k)`` the sum of what the
        cells up to ``k`` from the mark are given, a cell holds ``floor(S(k)) - floor(S(k - 1))`` lots, and the outer
        cell what falls beyond the window. Outer cells, and cells on the other side of the mark, keep what they have. No
        row gains or loses a lot; it holds less than ``2**48``.
        """
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
        Freed slots are zeroed. The bin of that entry decides the phase (arrays.Rules): buckets of one bin keep theirs,
        in wider ones the levels of what merges move, each within the interval of its tier.
        """
        ...

    def profiles(self, totals: U64, first: I64, notional: Notional, window: Window) -> tuple[U64, U64]:
        """Notional in cents per market, u64 ``[K, 2, C]``, and summed by symbol, u64 ``[S, 2, C]``.

        ``totals`` u64 ``[K, 2, C]`` lots of markets in the order of their symbols: those of symbol ``s`` are
        ``first[s] .. first[s + 1]``, ``first`` i64[S + 1]. ``notional`` and ``window`` have an element per market.
        """
        ...

    def render(
        self, lots: U64, target: I32, outputs: int, notional: Notional, first_bin: int, low: int, high: int
    ) -> F32:
        """USD per output row and cell, as the wire has them: f32 ``[outputs, high - low + 2]``.

        ``lots`` u64[R, C]; row ``r`` is added to output ``target[r]``, or left out where that is -1; ``notional`` has
        ``base`` and ``slope`` per row, ``first_bin`` is that of cell 1. Each cell of each row becomes cents as in
        arrays.Notional; sums are integers. Cells ``0..low`` fold into the first output cell, cells ``high + 1..C - 1``
        into the last, ``low + 1..high`` in between keep their own (``0 <= low < high <= C - 2``). USD is
        ``f32(f64(cents) / 100)``.
        """
        ...

    def changed_cells(self, previous: F32, values: F32) -> U32:
        """Ascending flat indices of the elements whose bits differ, u32. Both have the same shape."""
        ...

    def clusters(self, notional: U64, rule: ClusterRule) -> Clusters:
        """Find the clusters of profile rows (u64 ``[R, C]`` cents): maximal runs of cells that stand above by ``rule``.

        A row adds up to less than 2**64 cents.
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

    def cascade_chains(self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32) -> Endings:
        """Follow many chains to their ends; each equals :meth:`cascade_chain`.

        ``notional`` and ``depth`` u64[R, C] cents, ``mark`` i32[R]; chain ``j`` runs on row ``row[j]`` from that row's
        mark to cell ``shock[j]``. Notional of a row adds up to at most MAX_ROW_CENTS (ValueError).
        """
        ...

    def shock_curves(self, notional: U64, depth: U64, mark: I32, side: I32) -> tuple[I32, U64]:
        """Terminal cell i32[R, C] and notional fired u64[R, C] of every shock of one side of each row.

        Side 0 is down from ``mark`` (included) to cell 0, side 1 up from the cell above it. Cells on the other side
        hold the mark and zero. Equals :meth:`cascade_chain` shock by shock. Notional of a row adds up to at most
        MAX_ROW_CENTS (ValueError).
        """
        ...

    def cascade_paths(
        self, notional: U64, depth: U64, mark: I32, row: I32, shock: I32, paths: int, noise: Noise
    ) -> Paths:
        """Follow ``paths`` random paths of each chain of :meth:`cascade_chains`.

        On path ``p`` of chain ``j`` the notional fired between the mark and position ``k`` is
        ``floor(sum * f >> NOISE_BITS)`` with the path's notional factor ``f``, and the depth of a cell is
        ``floor(depth * g >> NOISE_BITS)`` with a factor ``g`` of its own, depth first clipped to MAX_ROW_CENTS. The
        path ends at the first cell from the shock on by which the depth from the shock cell on holds all that has fired
        up to there, or at the outer cell. Notional of a row adds up to at most MAX_ROW_CENTS (ValueError).
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """What was asked for, what runs, and why: for logs and tests."""

    requested: str
    name: str
    reason: str  # of ``auto``: why each faster one was not taken
    device: int | None = None  # number of the GPU that computes
    device_name: str = ""

    def describe(self) -> str:
        """Return one line for a log."""
        gpu = "" if self.device is None else f" on device {self.device}, {self.device_name}"
        return f"{self.name}{gpu}: {self.reason}"


def select_backend(
    name: str = "auto", threads: int | None = None, device: int | None = None
) -> tuple[Backend, BackendChoice]:
    """Return a backend and the choice made. ``auto`` takes the fastest that runs here and says why.

    ``threads`` are those of the CPU's kernels (None: one per core), ``device`` is the number of the GPU (None: 0).
    Raises BackendUnavailableError when a named backend cannot run, ValueError for an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend = {name!r}: must be one of {', '.join(BACKENDS)}")
    if name != "auto":
        try:
            backend, gpu = _open(name, threads, device)
        except BackendUnavailableError as error:
            raise BackendUnavailableError(f"{error}; {_CUDA_NEEDS}" if name == "cuda" else str(error)) from error
        return backend, BackendChoice(name, name, "asked for", *gpu)
    passed: list[str] = []
    for faster in BACKENDS[1:-1]:
        try:
            backend, gpu = _open(faster, threads, device)
        except BackendUnavailableError as error:
            passed.append(str(error))
        else:
            return backend, BackendChoice(name, faster, "; ".join(passed) or "the fastest runs here", *gpu)
    backend, gpu = _open(BACKENDS[-1], threads, device)
    return backend, BackendChoice(name, BACKENDS[-1], "; ".join(passed), *gpu)


def _open(name: str, threads: int | None, device: int | None) -> tuple[Backend, tuple[int | None, str]]:
    """Return a backend with number and name of its GPU. Raises BackendUnavailableError saying what is missing."""
    if name == "cuda":
        from forcedmove_kernels.cuda import open_backend

        try:
            cuda = open_backend(device or 0)
        except BackendUnavailableError as error:
            raise BackendUnavailableError(f"cuda cannot run here: {error}") from error
        return cuda, (device or 0, cuda.device.name)
    if name == "cpu":
        try:
            import numba  # noqa: F401  which may be there and refuse this version of NumPy
        except ImportError as error:
            hint = "pip install 'forcedmove[server]'"
            raise BackendUnavailableError(f"cpu cannot run here: numba cannot be imported ({error}): {hint}") from error
        from forcedmove_kernels.cpu import CpuBackend

        return CpuBackend(threads), (None, "")
    from forcedmove_kernels.reference import ReferenceBackend

    return ReferenceBackend(), (None, "")
