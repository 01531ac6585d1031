"""A chain venue by venue: what is liquidated hits its own venue's book first, arbitrage passes the move on.

All venues share a *common* price: where the pooled books have absorbed everything that was sold so far. A venue's own
price is displaced from it by what its book absorbed more, or less, than its part: its *excess*, in cents, which
arbitrage works off with a time constant ``coupling_s`` (the excesses of all venues add up to zero). Venues look at
their marks once per ``ROUND_S``: in a round every position fires whose own venue's price reached it, what fired is
added to its venue's excess, the excesses decay, and prices follow. Without a time constant no excess is left at the end
of a round, every venue stands at the common price, and the chain is the pooled one, cell for cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import MAX_ROW_CENTS
from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

#: time between two looks of a venue at its marks
ROUND_S = 1.0
#: longest coupling time that is followed, and how long a chain is
MAX_COUPLING_S = 60.0
HORIZON_S = 1800.0


@dataclass(frozen=True, slots=True)
class CoupledChain:
    """The end of a chain over ``V`` venues. Cells are those of the axis; the direction is that of the shock.

    ``terminal`` is where all prices meet in the end, ``furthest`` i64 ``[V]`` the furthest cell that each venue's price
    reached, ``fired`` u64 ``[V]`` cents. ``duration_s`` counts to the last liquidation; ``settled`` is false where the
    chain was cut at ``HORIZON_S``.
    """

    terminal: int
    furthest: I64
    fired: U64
    duration_s: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Steps:
    """How venues close what they liquidate: ``share`` float64 ``[V]`` at once, the rest ``pause_s`` ``[V]`` later."""

    share: F64
    pause_s: F64


def coupled_chain(
    notional: U64, depth: U64, mark: int, shock: int, coupling_s: float, steps: Steps | None = None
) -> CoupledChain:
    """Follow a chain from cell ``mark``, shocked to cell ``shock``; ``notional`` and ``depth`` u64 ``[V, C]`` cents.

    As in :meth:`forcedmove_kernels.backend.Backend.cascade_chain`, which it equals on the sums over the venues where
    ``coupling_s`` is 0: then no time passes, and ``steps`` does not matter. Without ``steps`` all is closed at once.
    Raises InputError for a coupling time outside 0 to ``MAX_COUPLING_S``, or for notional beyond what the integer
    format holds.
    """
    if not 0 <= coupling_s <= MAX_COUPLING_S:
        raise InputError("coupling_s", coupling_s, f"must lie in 0 .. {MAX_COUPLING_S:g}")
    path = np.arange(mark, -1, -1) if shock <= mark else np.arange(mark, notional.shape[1])
    first = abs(shock - mark)
    books = _Books(notional[:, path], depth[:, path], first)
    keep = math.exp(-ROUND_S / coupling_s) if coupling_s > 0 else 0.0
    venues = len(notional)
    reach, upto = np.full(venues, first, np.int64), np.full(venues, -1, np.int64)
    excess: F64 = np.zeros(venues)
    total, common = 0, first
    later = _Later(steps, venues) if steps is not None and keep else None
    sold = np.zeros(venues, np.int64)
    rounds, fired_at, settled = 0, 0, True
    while True:
        fired = books.fired(upto, reach)
        if later is not None:
            fired = later.now(fired, rounds)
        if fired.any():
            fired_at = rounds
        upto = np.maximum(upto, reach)
        sold += fired
        total += int(fired.sum())
        common, held = books.common(total)
        excess = excess + fired - books.parts(common) * float(fired.sum())
        excess = np.where(np.abs(excess * keep) < 1, 0.0, excess * keep)
        reach = np.maximum(reach, books.prices(common, held - total, excess))
        rounds += 1
        if not (reach > upto).any() and common <= upto.min() and (later is None or not later.waiting):
            break
        if keep and rounds * ROUND_S >= HORIZON_S:
            settled = False
            break
    return CoupledChain(
        terminal=int(path[common]),
        furthest=path[np.maximum(reach, common)],
        fired=sold.astype(np.uint64),
        duration_s=fired_at * ROUND_S if keep else 0.0,
        settled=settled,
    )


class _Later:
    """What is still to be closed of positions that are closed in steps, by the round in which it comes."""

    def __init__(self, steps: Steps, venues: int) -> None:
        self._share = steps.share
        self._pause = np.maximum(np.ceil(steps.pause_s / ROUND_S), 1).astype(np.int64)
        self.waiting: dict[int, I64] = {}
        self._venues = venues

    def now(self, fired: I64, at: int) -> I64:
        """What comes to market in round ``at``: the first step of what fired, and the rest of what fired before."""
        first: I64 = np.minimum(np.ceil(fired * self._share).astype(np.int64), fired)
        for v in np.flatnonzero(fired - first).tolist():
            due = self.waiting.setdefault(at + int(self._pause[v]), np.zeros(self._venues, np.int64))
            due[v] += fired[v] - first[v]
        due_now = self.waiting.pop(at, None)
        return first if due_now is None else first + due_now


class _Books:
    """Notional and depth of all venues along a path: cumulative sums ``[V, P]``, depth from ``first`` on."""

    def __init__(self, notional: U64, depth: U64, first: int) -> None:
        whole = sum(int(row.sum()) for row in notional)
        if whole > MAX_ROW_CENTS:
            raise InputError("notional", whole, f"more than {MAX_ROW_CENTS} cents")
        self.first = first
        self.sold = np.cumsum(notional.astype(np.int64), 1)
        # more depth than all that there is to be sold changes nothing, and must not overflow
        enough = np.minimum(depth, np.uint64(whole + 1))
        enough[:, :first] = 0
        self.depth = enough.astype(np.int64)
        self.held = np.minimum(np.cumsum(enough, 1), np.uint64(whole + 1)).astype(np.int64)
        self.pooled = self.held.sum(0)

    def fired(self, upto: I64, reach: I64) -> I64:
        """Cents of each venue that lie behind ``upto`` up to ``reach``, positions ``[V]``."""
        rows = np.arange(len(upto))
        before = np.where(upto >= 0, self.sold[rows, np.maximum(upto, 0)], 0)
        found: I64 = np.maximum(self.sold[rows, np.maximum(reach, 0)] - before, 0)
        return found

    def common(self, total: int) -> tuple[int, int]:
        """The first position by which all books hold ``total``, or the last one, and what they hold up to there."""
        last = self.pooled.shape[0] - 1
        at = min(max(int(np.searchsorted(self.pooled, total)), self.first), last)
        return at, int(self.pooled[at])

    def parts(self, common: int) -> F64:
        """Each venue's part of the depth up to a position, ``[V]``; equal parts where there is none."""
        held = self.held[:, common].astype(np.float64)
        whole = held.sum()
        return held / whole if whole > 0 else np.full(len(held), 1 / len(held))

    def prices(self, common: int, spare: int, excess: F64) -> I64:
        """Position of each venue's price, ``[V]``: where its book has absorbed its part and its excess.

        ``spare`` cents are left at the common position; below zero the books hold too little.
        """
        there = self.depth[:, common].astype(np.float64)
        left = there * (max(spare, 0) / there.sum()) if there.sum() > 0 else there
        found = np.full(len(excess), common)
        for v in np.flatnonzero(excess).tolist():
            absorbed = float(self.held[v, common]) - left[v] + excess[v]
            at = int(np.searchsorted(self.held[v], math.ceil(absorbed)))
            at = min(max(at, self.first), self.held.shape[1] - 1)
            found[v] = max(at, common) if excess[v] > 0 else min(at, common)
        return found


def split_depth(pooled: U64, weights: F64) -> U64:
    """Share out the depth of each cell, u64 ``[C]`` cents, over venues by ``weights`` float64 ``[V, C]``.

    Rounded so that the venues' cents add up to the pooled ones exactly; equal parts where nobody has any weight.
    """
    whole = weights.sum(0)
    share = np.where(whole > 0, weights / np.where(whole > 0, whole, 1.0), 1 / len(weights))
    upto = np.minimum(np.floor(np.cumsum(share, 0) * pooled), pooled.astype(np.float64)).astype(np.uint64)
    upto = np.minimum(upto, pooled)
    upto[-1] = pooled
    found: U64 = np.diff(upto, axis=0, prepend=np.zeros((1, len(pooled)), np.uint64))
    return found
