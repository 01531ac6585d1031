"""How near an inferred map comes to a true one, bin by bin.

Maps are float64 ``[2, B]``: USD of notional by side (0 long, 1 short) and absolute price bin, beginning at
``first_bin``. Bin ``b`` covers ``[b, b + 1) * bin_width_usd``. Every measure has a value for empty and for constant
maps, so that a scorecard never has a hole in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.fixed_point import LONG, MAX_PRICE_UNITS, PRICE_BITS, SHORT, price_units
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import Records

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: maps are compared this far from the mark on either side, as a share of it
REACH = 0.2


@dataclass(frozen=True, slots=True)
class SideComparison:
    """One side of two maps, within reach of the mark.

    ``spearman`` in [-1, 1]; ``wasserstein_bp`` in basis points of the mark; ``top_decile_overlap`` in [0, 1] the share
    of top-decile bins that both maps have; ``top_decile_share`` in [0, 1] the share of true notional that lies in the
    inferred map's top-decile bins (0.1 is what chance gives both); notionals in USD.
    """

    bins: int
    spearman: float
    wasserstein_bp: float
    top_decile_overlap: float
    top_decile_share: float
    inferred_usd: float
    true_usd: float


@dataclass(frozen=True, slots=True)
class MapComparison:
    """Both sides of two maps."""

    long: SideComparison
    short: SideComparison


def within_reach(first_bin: int, bins: int, bin_width_usd: float, mark_usd: float, within: float = REACH) -> Bools:
    """Return the bins that are compared: longs below the mark, shorts above it, its own bin on both; bool ``[2, B]``.

    Raises InputError for a mark or width that is not positive, ``within`` outside (0, 1].
    """
    for name, value in (("mark_usd", mark_usd), ("bin_width_usd", bin_width_usd)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(name, value, "must be a positive number")
    if not 0 < within <= 1:
        raise InputError("within", within, "must lie in (0, 1]")
    low = first_bin + np.arange(bins)
    begin, end = low * bin_width_usd, (low + 1) * bin_width_usd
    return np.stack(
        [
            (begin <= mark_usd) & (end > mark_usd * (1 - within)),
            (end > mark_usd) & (begin < mark_usd * (1 + within)),
        ]
    )


def compare_maps(
    inferred: ArrayLike, true: ArrayLike, first_bin: int, bin_width_usd: float, mark_usd: float, within: float = REACH
) -> MapComparison:
    """Compare two maps side by side: longs below the mark, shorts above it, up to ``within`` of the mark away.

    The bin that holds the mark counts on both sides. Raises InputError for maps of different or other shapes, values
    that are negative or not finite, a mark or width that is not positive, ``within`` outside (0, 1].
    """
    ours, truth = _checked_map("inferred", inferred), _checked_map("true", true)
    if ours.shape != truth.shape:
        raise InputError("inferred", ours.shape, f"must have the true map's shape {truth.shape}")
    below, above = within_reach(first_bin, ours.shape[1], bin_width_usd, mark_usd, within)
    width_bp = bin_width_usd / mark_usd * 1e4
    return MapComparison(
        _compare_side(ours[LONG, below], truth[LONG, below], width_bp),
        _compare_side(ours[SHORT, above], truth[SHORT, above], width_bp),
    )


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Rank correlation with average ranks for ties; 0 when either is constant or has fewer than two values."""
    first, second = _ranks(np.asarray(a, np.float64)), _ranks(np.asarray(b, np.float64))
    first, second = first - first.mean() if len(first) else first, second - second.mean() if len(second) else second
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return float(np.clip(first @ second / scale, -1.0, 1.0)) if scale > 0 else 0.0


def wasserstein(a: ArrayLike, b: ArrayLike) -> float:
    """Earth mover's distance, in bins, between two non-negative profiles on the same bins, each scaled to one.

    Two empty profiles are 0 apart; an empty one is as far from any other as the bins allow.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    totals = first.sum(), second.sum()
    if min(totals) <= 0:
        return 0.0 if max(totals) <= 0 else float(max(len(first) - 1, 0))
    return float(np.abs(np.cumsum(first / totals[0] - second / totals[1]))[:-1].sum())


def top_decile(values: ArrayLike) -> F64:
    """Membership in the top tenth of bins (at least one): 1 inside, 0 outside, shared evenly among ties on the edge.

    Sharing makes a constant map score what chance would. float64 of the input's shape, summing to the tenth.
    """
    array = np.asarray(values, np.float64)
    if array.size == 0:
        return array
    wanted = math.ceil(array.size / 10)
    edge = np.partition(array, array.size - wanted)[array.size - wanted]
    inside, tied = array > edge, array == edge
    member: F64 = inside + tied * ((wanted - inside.sum()) / tied.sum())
    return member


def true_map(
    truth: Records,
    inverse: ArrayLike,
    bin_width_usd: float,
    first_bin: int,
    bins: int,
    markets: ArrayLike | None = None,
) -> F64:
    """Bin known positions by their liquidation price: float64 ``[2, bins]`` USD at that price.

    ``truth`` has the fields market, side, quantity (model units) and liquidation_price (USD), as a simulated source's
    truth; ``inverse`` bool by market index; ``markets`` limits the map to some of them (those of one symbol).
    Positions outside the bins, or never liquidated, are left out.
    """
    rows, bin_of = place(truth, bin_width_usd, first_bin, bins)
    if markets is not None:
        wanted = np.isin(rows["market"], np.asarray(markets))
        rows, bin_of = rows[wanted], bin_of[wanted]
    in_usd = np.asarray(inverse, np.bool_)[rows["market"]]
    notional = rows["quantity"] * np.where(in_usd, 1.0, rows["liquidation_price"])
    return binned(rows["side"], bin_of, notional, bins)


def place(truth: Records, bin_width_usd: float, first_bin: int, bins: int) -> tuple[Records, I64]:
    """Return the positions whose liquidation price lies on the bins, and the bin of each, from 0."""
    level = truth["liquidation_price"]
    with_level = np.isfinite(level) & (level > 0) & (level / bin_width_usd < MAX_PRICE_UNITS >> PRICE_BITS)
    rows = truth[with_level]
    bin_of = (price_units(rows["liquidation_price"], bin_width_usd) >> PRICE_BITS).astype(np.int64) - first_bin
    inside = (bin_of >= 0) & (bin_of < bins)
    return rows[inside], bin_of[inside]


def binned(side: I64, bin_of: I64, values: F64, bins: int) -> F64:
    """Sum values by side and bin: float64 ``[2, bins]``."""
    cells = np.bincount(side * bins + bin_of, values, minlength=2 * bins)
    return np.asarray(cells, np.float64).reshape(2, bins)


def _compare_side(ours: F64, truth: F64, width_bp: float) -> SideComparison:
    top_ours, top_truth = top_decile(ours), top_decile(truth)
    size, total = top_truth.sum(), truth.sum()
    return SideComparison(
        bins=len(ours),
        spearman=spearman(ours, truth),
        wasserstein_bp=wasserstein(ours, truth) * width_bp,
        top_decile_overlap=float(top_ours @ top_truth / size) if size > 0 else 0.0,
        top_decile_share=float(top_ours @ truth / total) if total > 0 else 0.0,
        inferred_usd=float(ours.sum()),
        true_usd=float(total),
    )


def _ranks(values: F64) -> F64:
    """Ranks from 0, ties averaged."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: F64 = (np.cumsum(sizes) - (sizes + 1) / 2)[group]
    return ranks


def _checked_map(name: str, value: ArrayLike) -> F64:
    array = np.asarray(value, np.float64)
    if array.ndim != 2 or array.shape[0] != 2:
        raise InputError(name, array.shape, "must have shape [2, bins]: long, short")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise InputError(name, float(array[bad][0]), "notional must be finite and not negative")
    return array
