"""The array records that kernels read and write: fields, shapes, dtypes, units, validation.

Axis letters: ``M`` markets, ``N`` cohort slots of all markets, ``T`` leverage tiers (ascending leverage), ``K`` rows of
one call, ``J`` chains of one call, ``P`` paths of a chain (of rules: PHASES), ``B`` bins of the window, ``C = B + 2``
cells. Side 0 is long, side 1 is short: the side that would be liquidated. Cell 0 is everything below the window, cell
``B + 1`` everything above it, cell ``c`` in between is bin ``first_bin + c - 1``. Units are those of
:mod:`forcedmove_kernels.fixed_point`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import FRESHNESS_ONE, LONG, MAX_PRICE_UNITS, PHASES, WEIGHT_ONE

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: ``Updates.open_interest`` of both sides of a market where it was not observed: no scaling, openings are added
NOT_OBSERVED = 0xFFFF_FFFF


class Cohorts(NamedTuple):
    """What opened in one market, in one time bucket, at one entry-price bucket: one slot per cohort.

    Market ``m`` owns the slots ``start[m] .. start[m + 1]`` and uses the first ``used[m]`` of them, oldest first.
    ``lots`` counts what is *alive*; the live lots are spread over the first ``live_tiers`` leverage tiers. Tiers die
    from the highest leverage down, because a higher leverage is always liquidated first (see :class:`Rules`).
    """

    start: I64  # [M + 1] first slot of each market
    used: I32  # [M] slots in use
    entry: U32  # [N] price units
    opened_at: U32  # [N] seconds since the store's epoch
    lots: U32  # [2, N] live lots
    live_tiers: U8  # [2, N]


class Rules(NamedTuple):
    """Leverage and liquidation tables of every market.

    A tier stands for an interval of leverages and has a level per phase; the low bits of a cohort's entry bin pick its
    phase ``p = fixed_point.phase_of(entry)``. In each phase ``multiplier`` rises with the tier for longs and falls for
    shorts over the market's first ``tiers`` tiers, so that the highest leverage is the first to be liquidated. A long
    of tier ``l`` is liquidated when the trigger price is at or below
    ``(u64(entry) * multiplier[m, 0, p, l]) >> MULTIPLIER_BITS``, a short when it is at or above.
    """

    tiers: U8  # [M] tiers the market offers, at least 1
    multiplier: U32  # [M, 2, P, T] liquidation price / entry, fixed point
    weight: U32  # [M, 2, T + 1, T + 1] see fixed_point.cumulative_weights


class Updates(NamedTuple):
    """One lifecycle step of ``K`` different markets: trigger-price extremes, open interest, what opened.

    Per market: first the extremes sweep the live tiers, then the survivors of each side are scaled to that side's
    ``open_interest - opened``, then the openings are appended. Openings of market ``k`` are rows
    ``first_open[k] .. first_open[k + 1]``. Every market has at least one opening row (its lots may be zero): it takes a
    side's open interest when nothing else is alive. The sides differ where part of a side is known otherwise, as
    positions.
    """

    market: I32  # [K] market indices, no repeats
    low: U32  # [K] lowest trigger price since the last step
    high: U32  # [K] highest
    price: U32  # [K] trigger price now; tiers beyond it are dead at birth
    open_interest: U32  # [K, 2] lots of longs and of shorts, or NOT_OBSERVED for both
    opened_at: U32  # [K] seconds since the store's epoch
    first_open: I64  # [K + 1]
    open_entry: U32  # [J] price units
    open_lots: U32  # [J] the same on both sides; per market at most the open interest of the smaller side


class Outcome(NamedTuple):
    """What a lifecycle step did, in lots, per updated market and side.

    ``live_before + opened + overkill = live_after + closed + liquidated`` holds exactly on every row.
    ``overkill`` is how far the sweeps had killed more than the open interest allows: survivors were scaled up.
    """

    opened: U64  # [K, 2]
    closed: U64  # [K, 2]
    liquidated: U64  # [K, 2]
    overkill: U64  # [K, 2]
    live: U64  # [K, 2] after the step; equals open_interest where it was observed


class Spread(NamedTuple):
    """How far the levels of each row of cells may be off; see Backend.spread_levels."""

    side: I32  # [R] 0 long, 1 short
    mark: I32  # [R] cell of the mark; outside the inner cells nothing is spread
    share: U32  # [R] half-width over distance from the mark, far from it, in 1 / SPREAD_ONE
    near: U32  # [R] distance in cells at which it is half of that
    most: U32  # [R] greatest distance in cells that there is: of longs that of a price of zero


class Window(NamedTuple):
    """The bins a grid covers. Bins are absolute: re-centring a window never re-bins a price."""

    first_bin: U32  # [M] first bin of each market's window (equal for all markets of a symbol)
    bins: int  # B, the same for all


class Freshness(NamedTuple):
    """Weight by age: ``table[min((now - opened_at) // step_s, len - 1)]``; a future ``opened_at`` counts as age 0."""

    table: U32  # [A] fixed point, at most one
    step_s: int
    now: int  # seconds since the store's epoch


#: every age weighs one
UNWEIGHTED = Freshness(np.full(1, FRESHNESS_ONE, np.uint32), step_s=1, now=0)


def is_aged(fresh: Freshness) -> bool:
    """Whether a freshness table changes anything."""
    return bool(np.any(fresh.table != FRESHNESS_ONE))


class Standing(NamedTuple):
    """What follows from the cohorts of a store and is kept up to date with them.

    A row (market, side) whose ``stale`` is 1 holds anything until it is rebuilt. On every other row a lifecycle step
    keeps the arrays equal to what a rebuild would give, at a cost that follows what the step changed.
    """

    stale: U8  # [M, 2]
    totals: U64  # [M, 2, C] live lots
    fresh: U64  # [M, 2, C] live lots weighted by age
    live: U64  # [M, 2] sum of the row's lots
    trigger: U32  # [2, N] price that liquidates the highest live tier, at most 2**32 - 1; see no_trigger
    frontier: U32  # [M, 2] the trigger that is met first: the highest of the longs, the lowest of the shorts


class Notional(NamedTuple):
    """US cents of one lot, by price: ``cents = base[m] + slope[m] * (first_bin[m] + cell - 0.5)``.

    Linear contracts have only a slope (lot size x bin width x 100), inverse ones only a base (USD per lot x 100). A
    cell's notional is ``floor(lots * cents + 0.5)``: two IEEE multiplications and one addition in that order, without
    fused multiply-add, so that every backend rounds alike; sums of cells are integers again.
    """

    base: F64  # [M]
    slope: F64  # [M]


class ClusterRule(NamedTuple):
    """Which cells of a row of notional stand above their surroundings; scale-free.

    A cell (never one of the two outer ones) stands above when its notional is at least
    ``max(row_sum * share >> SHARE_BITS, 1)``, the row's sum taking in the outer cells, and
    ``100 * notional[c] * n > ratio_percent * sum`` over the ``n`` cells within ``half_width`` of it (itself included,
    outer cells excluded).
    """

    half_width: int  # cells, 0 or more
    ratio_percent: int  # 0 or more
    share: int  # fixed point, at most one


class Clusters(NamedTuple):
    """Runs of cells whose notional stands above their surroundings, row by row in ascending cell order.

    The clusters of row ``k`` are ``first[k] .. first[k + 1]`` of the others.
    """

    first: I64  # [K + 1]
    begin: I32  # [R] first cell
    end: I32  # [R] one past the last cell
    peak: I32  # [R] cell with the most notional; the lowest of equals
    notional: U64  # [R] cents

    def of_row(self, row: int) -> Clusters:
        """Return the clusters of one row."""
        own = slice(int(self.first[row]), int(self.first[row + 1]))
        first = np.array([0, own.stop - own.start], np.int64)
        return Clusters(first, self.begin[own], self.end[own], self.peak[own], self.notional[own])


class Profiles(NamedTuple):
    """Notional of some markets, of the symbols they belong to, and what stands out there."""

    markets: U64  # [K, 2, C] cents
    symbols: U64  # [S, 2, C] cents, the sums over each symbol's markets
    clusters: Clusters  # of the rows (symbol, side): row 2 s + side


class View(NamedTuple):
    """What of some markets is rendered, and into which rows. All windows begin where that of ``markets[0]`` does."""

    markets: I32  # [K], one or more
    tiers: I32 | None  # [L] leverage tiers; None: the standing totals, which are all tiers together, and L = 1
    weighted: bool  # by age
    notional: Notional  # of the markets
    target: I32  # [K, 2, L] output row of every (market, side, tier), -1 for none
    outputs: int  # O
    low: int  # the part of the window, as in Backend.render
    high: int

    @property
    def shape(self) -> tuple[int, int]:
        """Output rows and cells of a rendering."""
        return self.outputs, self.high - self.low + 2


class Rendering(NamedTuple):
    """A watched view as it was rendered, and what differs from an earlier rendering of it."""

    values: F32  # [O, W] USD; read only
    revision: int  # above zero; no other rendering of the store has it
    since: int  # the revision that ``changed`` refers to, or 0: anything may have changed
    changed: U32  # ascending flat indices of the cells whose bits differ; none without ``since``


class Chain(NamedTuple):
    """A cascade: the levels in the order they fire.

    A level is a maximal run of adjacent non-empty cells that fires in one round. ``near`` is the cell of the run that
    the mark meets first, ``far`` the last. ``reached`` is the cell of the mark after the round's impact.
    """

    near: I32  # [R]
    far: I32  # [R]
    notional: U64  # [R] cents
    reached: I32  # [R]
    terminal: int  # cell of the mark when nothing new is reached


class Endings(NamedTuple):
    """Where each of many chains ends."""

    terminal: I32  # [J] cell of the mark when nothing new is reached
    fired: U64  # [J] cents fired in all
    levels: I32  # [J] as many as a Chain has


class Noise(NamedTuple):
    """Random factors of cascade paths, by inverse transform from tables of equally likely quantiles.

    ``2**NOISE_BITS`` is one. Table lengths are powers of two; factors stay below 16. The draw of path ``p`` of chain
    ``j`` (and of a cell, for the depth) is a hash of (seed, j, p, cell): the same on every backend and in any order;
    see :func:`forcedmove_kernels.reference.cascade.draw`. The hash is of ``seed ^ (j << 32 | p)``: seeds that differ by
    such a number share paths, so callers mix theirs first.
    """

    notional: U32  # [Q] factor of everything that fires on a path: how much of it is really there
    depth: U32  # [Q'] factor of the depth of each cell of a path
    seed: int  # 64 bits


class Paths(NamedTuple):
    """Where each of many random paths of each chain ends."""

    terminal: I32  # [J, P]
    fired: U64  # [J, P] cents


def no_trigger(side: int) -> int:
    """Trigger of a cohort without a live tier: a price that the mark does not cross."""
    return 0 if side == LONG else MAX_PRICE_UNITS


def empty_standing(cohorts: Cohorts, bins: int) -> Standing:
    """Return the standing arrays of a store, every row stale."""
    markets = len(cohorts.used)
    totals, fresh = np.zeros((2, markets, 2, bins + 2), np.uint64)
    return Standing(
        stale=np.ones((markets, 2), np.uint8),
        totals=totals,
        fresh=fresh,
        live=np.zeros((markets, 2), np.uint64),
        trigger=np.zeros(cohorts.lots.shape, np.uint32),
        frontier=np.zeros((markets, 2), np.uint32),
    )


def empty_cohorts(capacity: int, markets: int) -> Cohorts:
    """Return a store of ``markets`` empty markets with ``capacity`` slots each."""
    slots = capacity * markets
    return Cohorts(
        start=np.arange(markets + 1, dtype=np.int64) * capacity,
        used=np.zeros(markets, np.int32),
        entry=np.zeros(slots, np.uint32),
        opened_at=np.zeros(slots, np.uint32),
        lots=np.zeros((2, slots), np.uint32),
        live_tiers=np.zeros((2, slots), np.uint8),
    )


def empty_outcome(steps: int) -> Outcome:
    """Return the outcome of ``steps`` lifecycle steps that did nothing yet."""
    return Outcome(*np.zeros((5, steps, 2), np.uint64))


def check_rules(rules: Rules) -> None:
    """Raise ValueError naming the field unless ``rules`` keeps the order and the sums that kernels rely on."""
    markets, sides, phases, tiers = rules.multiplier.shape
    tables = (markets, 2, tiers + 1, tiers + 1)
    if (sides, phases) != (2, PHASES) or rules.tiers.shape != (markets,) or rules.weight.shape != tables:
        raise ValueError(
            f"rules: shapes {rules.tiers.shape}, {rules.multiplier.shape}, {rules.weight.shape} do not fit"
        )
    if np.any((rules.tiers < 1) | (rules.tiers > tiers)):
        raise ValueError(f"tiers: each market needs 1 to {tiers} tiers")
    offered = np.arange(1, tiers) < rules.tiers[:, None, None].astype(np.int64)
    step = np.diff(rules.multiplier.astype(np.int64), axis=-1)
    if np.any((step[:, 0] < 0) & offered):
        raise ValueError("multiplier: must not fall with leverage on the long side")
    if np.any((step[:, 1] > 0) & offered):
        raise ValueError("multiplier: must not rise with leverage on the short side")
    weight = rules.weight.astype(np.int64)
    if np.any(np.diff(weight, axis=-1) < 0) or np.any(weight[:, :, 0] != 0) or np.any(weight[..., 0] != 0):
        raise ValueError("weight: rows must start at zero and not decrease")
    for live in range(1, tiers + 1):
        if np.any(weight[:, :, live, live:] != WEIGHT_ONE):
            raise ValueError(f"weight: row {live} must reach {WEIGHT_ONE} at column {live}")


def check_updates(updates: Updates, cohorts: Cohorts) -> None:
    """Raise ValueError naming the field unless ``updates`` can be applied to ``cohorts`` without losing anything."""
    market = updates.market
    if np.any((market < 0) | (market >= len(cohorts.used))) or len(np.unique(market)) != len(market):
        raise ValueError("market: indices must exist and not repeat within one step")
    if np.any(updates.low > updates.high):
        raise ValueError("low: must not exceed high")
    openings = np.diff(updates.first_open)
    if len(updates.first_open) != len(market) + 1 or np.any(openings < 1):
        raise ValueError("first_open: every market needs at least one opening row")
    if updates.first_open[0] != 0 or not updates.first_open[-1] == len(updates.open_lots) == len(updates.open_entry):
        raise ValueError("first_open: must start at 0 and end at the number of opening rows")
    opened = (
        np.add.reduceat(updates.open_lots.astype(np.uint64), updates.first_open[:-1]) if len(market) else np.empty(0)
    )
    if updates.open_interest.shape != (len(market), 2):
        raise ValueError(f"open_interest: need shape {(len(market), 2)}, got {updates.open_interest.shape}")
    observed = updates.open_interest != NOT_OBSERVED
    if np.any(observed[:, 0] != observed[:, 1]):
        raise ValueError("open_interest: observed on both sides or on neither")
    observed = observed[:, 0]
    if np.any(opened[observed] > updates.open_interest[observed].min(1)):
        raise ValueError("open_lots: more opened than the open interest")
    if np.any(cohorts.used[market] + openings > np.diff(cohorts.start)[market]):
        raise ValueError("first_open: a market's slots would overflow; compact it first")
