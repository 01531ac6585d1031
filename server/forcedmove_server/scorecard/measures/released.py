"""Open interest released on crossing: did more of it vanish where the map said that more was crossed?

Needs no liquidation feed. A move of the same size, in the same market, after the same volatility, crosses more mass at
one time than at another; what is left of that in the open interest is what the map knows. It is a partial correlation:
the correlation of what two variables have left when the controls are regressed out of both (Frisch and Waugh 1933,
Econometrica 1, 387).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.resampling import Estimate, Resampling

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_DAY_NS = 86_400 * 10**9
#: a variable of which less than this share of variance is left beside the controls is a function of them
_NOTHING_LEFT = 1e-9
#: float64 values that one chunk of markets may take while resampling
_CHUNK = 1 << 22


def move_dtype(maps: int) -> np.dtype[np.void]:
    """Return the record of one move, with ``maps`` columns of crossed mass; the last one is the distance prior's.

    ``side`` is the side that the move liquidates. ``released = (OI_t - OI_{t+H}) / OI_t``; ``crossed`` is the mass of
    the touched bins of that side over ``OI_t``; ``size`` the log excursion of the trigger price; ``volatility`` is
    ``sigma sqrt(H)`` and ``interest_change_before`` the log change of open interest over the window before ``t``.
    """
    return np.dtype(
        [
            ("at_ns", "<i8"),
            ("market", "<i4"),
            ("side", "<i4"),
            ("released", "<f8"),
            ("size", "<f8"),
            ("volatility", "<f8"),
            ("interest_change_before", "<f8"),
            ("crossed", "<f8", (maps,)),
        ]
    )


@dataclass(frozen=True, slots=True)
class Released:
    """One map's partial correlation of released with crossed open interest, and its gain over the baseline map.

    ``rank`` has released, crossed and controls replaced by ranks beside the smooth controls, ``plain`` takes them as
    they are. Gains are differences on the same resamples, None for the baseline itself.
    """

    rank: Estimate
    plain: Estimate
    rank_gain: Estimate | None
    plain_gain: Estimate | None


def released(
    moves: Records, names: Sequence[str], baseline: str | None, resampling: Resampling, least_moves: int = 50
) -> dict[str, Released]:
    """Score every map on the same moves.

    ``moves`` has :func:`move_dtype` of ``len(names)`` maps, the last name being the distance prior. Controls: the size
    ``s`` of the move as ``s``, ``s^2``, ``sqrt(s)``, ``ln s``; the distance prior's crossed mass in the same forms,
    as a move touches whole bins and every map is larger where it touched one more; side; volatility; the change of open
    interest before; a level per market. So the prior itself scores 0 by construction. The rank form adds the ranks of
    size, prior, volatility and change, and the squares of the first two. Ranks are taken once, not anew in every
    resample. Blocks are UTC days across all markets. Markets with one move only are left out: their level explains it.
    """
    rows = _repeated(moves[np.lexsort((moves["market"], moves["at_ns"]))])
    _, market = np.unique(rows["market"], return_inverse=True)
    _, block = np.unique(rows["at_ns"] // _DAY_NS, return_inverse=True)
    smooth, ranked = _controls(rows)
    values = np.column_stack([rows["released"], rows["crossed"]])
    plain = _correlations(values, smooth, market, block, resampling, least_moves)
    ranks = np.column_stack([_ranks(column) for column in values.T]) if len(rows) else values
    rank = _correlations(ranks, np.column_stack([smooth, ranked]), market, block, resampling, least_moves)
    found = {}
    for k, name in enumerate(names):
        gains: list[Estimate | None] = [None, None]
        if baseline is not None and name != baseline:
            base = list(names).index(baseline)
            gains = [form.difference(k, base, resampling) for form in (rank, plain)]
        found[name] = Released(rank.of(k, resampling), plain.of(k, resampling), gains[0], gains[1])
    return found


@dataclass(frozen=True, slots=True)
class RankResiduals:
    """What the rank form of :func:`released` correlates, move by move: ranks about their market's means, controls out.

    ``released`` float64 ``[N]`` and ``crossed`` ``[N, K]`` by map; ``day`` i64 ``[N]`` is the UTC day of each move.
    ``explained`` bool ``[K + 1]``, released first: nothing but rounding is left of it beside the controls.
    """

    day: I64
    released: F64
    crossed: F64
    explained: NDArray[np.bool_]


def rank_residuals(moves: Records, least_moves: int = 50) -> RankResiduals | None:
    """Return the residuals whose correlations are the ``rank`` estimates of :func:`released`; None for too few moves.

    The same markets, controls and levels per market; rows by time and market.
    """
    rows = _repeated(moves[np.lexsort((moves["market"], moves["at_ns"]))])
    if len(rows) < least_moves:
        return None
    _, market = np.unique(rows["market"], return_inverse=True)
    markets = int(market.max()) + 1
    raw = np.column_stack(_controls(rows))
    controls = _standardised(_within(raw, market, markets), raw)
    columns = [rows["released"], *rows["crossed"].T]
    ranks = _within(np.column_stack([_ranks(column) for column in columns]), market, markets)
    left = ranks - controls @ np.linalg.lstsq(controls, ranks, rcond=1e-8)[0]
    explained = (left**2).sum(axis=0) <= _NOTHING_LEFT * np.maximum((ranks**2).sum(axis=0), 1e-300)
    return RankResiduals(rows["at_ns"] // _DAY_NS, left[:, 0], left[:, 1:], explained)


def _repeated(rows: Records) -> Records:
    """Moves of markets that have at least two."""
    _, index, counts = np.unique(rows["market"], return_inverse=True, return_counts=True)
    return rows[counts[index] > 1]


def _controls(rows: Records) -> tuple[F64, F64]:
    """Return smooth controls, and the ranks that the rank form has besides."""
    size, prior = rows["size"], rows["crossed"][:, -1]
    others = [rows["side"].astype(np.float64), rows["volatility"], rows["interest_change_before"]]
    smooth = np.column_stack([*_basis(size), *_basis(prior), *others])
    ranks = [_ranks(values) for values in (size, prior, *others[1:])]
    return smooth, np.column_stack([*ranks, ranks[0] ** 2, ranks[1] ** 2])


def _basis(values: F64) -> tuple[F64, F64, F64, F64]:
    """Functions of a positive variable that together bend as it needs."""
    return values, values**2, np.sqrt(values), np.log(np.maximum(values, 1e-12))


@dataclass(frozen=True, slots=True)
class _Correlations:
    """Partial correlations of all maps: ``point`` ``[K]``, NaN where undefined; ``draws`` ``[R, K]``."""

    point: F64
    draws: F64
    n: int
    blocks: int
    reason: str | None

    def of(self, k: int, resampling: Resampling) -> Estimate:
        value = self.point[k]
        if not np.isfinite(value):
            return Estimate(None, n=self.n, blocks=self.blocks, reason=self.reason)
        if value == 0 and not self.draws[:, k].any():
            why = "0 by construction: crossed mass is a function of the controls"
            return Estimate(0.0, 0.0, 0.0, self.n, self.blocks, why)
        return resampling.interval(Estimate(float(value), n=self.n, blocks=self.blocks), self.draws[:, k])

    def difference(self, k: int, base: int, resampling: Resampling) -> Estimate:
        value = self.point[k] - self.point[base]
        if not np.isfinite(value):
            return Estimate(None, n=self.n, blocks=self.blocks, reason=self.reason)
        estimate = Estimate(float(value), n=self.n, blocks=self.blocks)
        return resampling.interval(estimate, self.draws[:, k] - self.draws[:, base])


def _correlations(
    values: F64, controls: F64, market: I64, block: I64, resampling: Resampling, least_moves: int
) -> _Correlations:
    """Partial correlation of column 0 of ``values`` with each other column, given controls and a level per market."""
    n, maps = len(values), values.shape[1] - 1
    blocks = int(block.max()) + 1 if n else 0
    markets = int(market.max()) + 1 if n else 0
    nothing, no_draws = np.full(maps, np.nan), np.empty((0, maps))
    if n < least_moves or n - markets - controls.shape[1] < 3:
        return _Correlations(nothing, no_draws, n, blocks, f"{n} moves, {least_moves} needed")
    values = _standardised(_within(values, market, markets), values)
    basis = _orthonormal(_standardised(_within(controls, market, markets), controls)) * np.sqrt(n)
    z = np.column_stack([values, basis])
    residual = _residual(z.T @ z, maps + 1)
    if residual[0, 0] <= _NOTHING_LEFT * n:
        return _Correlations(nothing, no_draws, n, blocks, "released open interest is a function of the controls")
    dependent = np.diagonal(residual)[1:] <= _NOTHING_LEFT * n
    point = np.where(dependent, 0.0, _to_correlation(residual))
    draws = no_draws
    if resampling.resamples and blocks >= resampling.least_blocks:
        resampled = _resampled_products(z, market, markets, block, resampling.weights(blocks))
        draws = np.where(dependent, 0.0, _to_correlation(_residual(resampled, maps + 1)))
    return _Correlations(point, draws, n, blocks, None)


def _resampled_products(z: F64, market: I64, markets: int, block: I64, weights: F64) -> F64:
    """Cross products of the columns of ``z`` about market means, resample by resample: float64 ``[R, k, k]``.

    Products add up over blocks, and so do the sums by market whose outer products correct for the resample's own means,
    so that no resample looks at rows again.
    """
    resamples, blocks, k = len(weights), weights.shape[1], z.shape[1]
    by_block = np.stack([z[block == b].T @ z[block == b] for b in range(blocks)])
    products: F64 = (weights @ by_block.reshape(blocks, -1)).reshape(resamples, k, k)
    counted = np.column_stack([z, np.ones(len(z))])
    chunk = max(_CHUNK // (max(resamples, blocks) * (k + 1)), 1)
    for first in range(0, markets, chunk):
        inside = np.flatnonzero((market >= first) & (market < first + chunk))
        width = min(chunk, markets - first)
        sums = np.zeros((blocks, width, k + 1))
        np.add.at(sums, (block[inside], market[inside] - first), counted[inside])
        drawn = (weights @ sums.reshape(blocks, -1)).reshape(resamples, width, k + 1)
        scaled = drawn[..., :k] / np.sqrt(np.maximum(drawn[..., k:], 1.0))
        products -= scaled.transpose(0, 2, 1) @ scaled
    return products


def _residual(products: F64, variables: int) -> F64:
    """Cross products of the first ``variables`` columns with the others regressed out: a Schur complement."""
    inner, cross, outer = (
        products[..., :variables, :variables],
        products[..., variables:, :variables],
        products[..., variables:, variables:],
    )
    if outer.shape[-1] == 0:
        return inner
    # a resample may lack what a control needs; the basis is orthonormal, so this ridge is relative to its scale
    ridge = 1e-12 * np.trace(outer, axis1=-2, axis2=-1)[..., None, None] * np.eye(outer.shape[-1])
    left: F64 = inner - np.swapaxes(cross, -1, -2) @ np.linalg.solve(outer + ridge, cross)
    return left


def _to_correlation(residual: F64) -> F64:
    """Correlation of column 0 with the others, NaN where one has no variance."""
    variances = np.diagonal(residual, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(np.maximum(variances[..., :1] * variances[..., 1:], 0.0))
        return np.where(scale > 0, np.clip(residual[..., 0, 1:] / scale, -1.0, 1.0), np.nan)


def _within(columns: F64, market: I64, markets: int) -> F64:
    """Columns about their market's means."""
    counts = np.bincount(market, minlength=markets)
    means = np.column_stack([np.bincount(market, column, markets) for column in columns.T]) / counts[:, None]
    centred: F64 = columns - means[market]
    return centred


def _standardised(centred: F64, raw: F64) -> F64:
    """Columns scaled to unit variance; those that only rounding tells from constant become 0."""
    spread = np.sqrt((centred**2).mean(axis=0))
    varies = spread > 1e-12 * np.abs(raw).max(axis=0)
    return np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)


def _orthonormal(columns: F64) -> F64:
    """An orthonormal basis of the columns' span, dependent directions dropped."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    basis: F64 = left[:, singular > 1e-8 * max(float(singular[0]), 1e-300)]
    return basis


def _ranks(values: F64) -> F64:
    """Ranks scaled to (0, 1], ties averaged."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: F64 = ((np.cumsum(sizes) - (sizes - 1) / 2) / len(values))[group]
    return ranks
