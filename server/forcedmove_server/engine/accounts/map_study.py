"""Figures of maps that were drawn from half of some accounts: laws of leverage and distance, bits, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.accounts.maps import (
    CALIBRATED,
    DISTANCE,
    MAPS,
    NAIVE,
    PRIOR,
    REACH,
    AccountMap,
    AccountMaps,
)
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.inference.comparison import top_decile
from forcedmove_server.scorecard.distance import band_means, band_of
from forcedmove_server.scorecard.frozen import bin_of
from forcedmove_server.scorecard.measures.bits import log_gain
from forcedmove_server.scorecard.resampling import Estimate, Resampling

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: cells of the law of distance, as shares of the mark: ten basis points each, and one for all that lies further
_CELLS = round(REACH * 1e3)
_CELL_BP = 10.0
#: cells per band of the total variation: 2.5 % of the mark
_BAND = 25


@dataclass(frozen=True, slots=True)
class MapFigures:
    """One map against the held-out half's levels, over one market or all.

    ``total_variation`` of the laws of distance from the mark in bands of 2.5 %, the last one being all beyond 25 % or
    never; ``wasserstein_bp`` of the same laws, in basis points of the mark, everything beyond 25 % counting as 25 %;
    both by notional. ``bits`` per position within 25 % of the mark over the map made flat inside each distance band,
    ``bits_over_prior`` over the distance prior, ``captured`` the share of positions in the top decile of bins.
    ``within`` is the share of the map's notional within 25 %.
    """

    market: str
    map: str
    within: float
    total_variation: Estimate
    wasserstein_bp: Estimate
    bits: Estimate
    bits_over_prior: Estimate
    captured: Estimate


@dataclass(frozen=True, slots=True)
class TierFigures:
    """Shares of the held-out half's notional by tier, never liquidated, and level past its entry; and a map's shares.

    ``real`` has the tiers' shares of notional that has a level before its entry or none at all, the latter in the
    lowest tier; ``total_variation`` is that of a law of tiers from it.
    """

    market: str
    real: tuple[float, ...]
    never: float
    past_entry: float
    laws: dict[str, tuple[float, ...]]
    total_variation: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class AccountStudy:
    """What a file of accounts says of our maps: ``judged`` positions of ``accounts`` accounts, ``real_within`` 25 %."""

    judged: int
    accounts: int
    real_within: float
    figures: tuple[MapFigures, ...]
    tiers: tuple[TierFigures, ...]


def study(maps: AccountMaps, resampling: Resampling | None = None, most_markets: int = 5) -> AccountStudy:
    """Draw the maps and judge them: over all markets, then over the largest ``most_markets``."""
    resampling, drawn = resampling or Resampling(), maps.maps()
    rows = np.concatenate([one.rows for one in drawn])
    known = maps.known
    real = [_real_law(maps, one) for one in drawn]
    law = np.concatenate([cells for cells, _ in real])
    offsets = [at for _, at in real]
    usd = known.notional_usd[rows]
    figures, tiers = [], []
    for name in ("all", *maps.markets[:most_markets]):
        mine = [k for k, one in enumerate(drawn) if name in ("all", one.market)]
        if not mine:
            continue
        figures += [_figures(maps, name, drawn, offsets, mine, number, resampling) for number in range(len(MAPS))]
        tiers.append(_tiers(maps, name, [drawn[k] for k in mine], resampling))
    return AccountStudy(
        judged=len(rows),
        accounts=len(np.unique(known.account[rows])),
        real_within=float((law[:, :-1].sum(1) * usd).sum() / usd.sum()),
        figures=tuple(figures),
        tiers=tuple(tiers),
    )


def _real_law(maps: AccountMaps, one: AccountMap) -> tuple[F64, I64]:
    """Cells of the judged positions, one-hot ``[P, cells + 1]``, and their entries of the profile, -1 outside."""
    known, rows = maps.known, one.rows
    level = np.where(np.isfinite(known.level_usd[rows]), known.level_usd[rows], 4 * one.axis.mark_usd)
    at = one.axis.offsets(one.side, bin_of(np.minimum(level, 4 * one.axis.mark_usd), one.axis.bin_width_usd))
    at = np.where((at >= 0) & (at < one.axis.length(one.side)) & np.isfinite(known.level_usd[rows]), at, -1)
    cells = np.zeros((len(rows), _CELLS + 1))
    cell = np.where(at >= 0, _cell_of(one)[np.maximum(at, 0)], _CELLS)
    cells[np.arange(len(rows)), cell] = 1.0
    return cells, at


def _cell_of(one: AccountMap) -> I64:
    away = np.abs(one.axis.prices(one.side) / one.axis.mark_usd - 1)
    return np.minimum((away * 1e4 / _CELL_BP).astype(np.int64), _CELLS - 1)


def _map_law(one: AccountMap, number: int) -> F64:
    profile = one.profiles[number]
    cells = np.bincount(_cell_of(one), profile, _CELLS + 1).astype(np.float64)
    cells[_CELLS] = max(1.0 - profile.sum(), 0.0)
    return cells


def _figures(
    maps: AccountMaps,
    name: str,
    drawn: list[AccountMap],
    offsets: list[I64],
    mine: list[int],
    number: int,
    resampling: Resampling,
) -> MapFigures:
    known = maps.known
    laws, accounts, usd, real = [], [], [], []
    gains = []
    for k in mine:
        one, at = drawn[k], offsets[k]
        rows, inside = one.rows, at >= 0
        profile, band = one.profiles[number], band_of(one.axis, one.side)
        flat = log_gain(profile, band_means(profile, band))
        prior = log_gain(profile, one.profiles[MAPS.index(DISTANCE)])
        top = top_decile(profile)
        hit = at[inside]
        gains.append(np.stack([flat[hit], prior[hit], top[hit], known.account[rows[inside]]], axis=1))
        laws.append(np.repeat(_map_law(one, number)[None], len(rows), axis=0))
        accounts.append(known.account[rows])
        usd.append(known.notional_usd[rows])
        real.append(_real_law(maps, one)[0])
    weight, account = np.concatenate(usd), np.concatenate(accounts)
    ours, theirs = (np.concatenate(part) * weight[:, None] for part in (laws, real))
    variation, distance = _law_distances(ours, theirs, account, resampling)
    gain = np.concatenate(gains)
    ones = np.ones(len(gain))
    bits, over_prior, captured = (resampling.ratio(gain[:, c], ones, gain[:, 3].astype(np.int64)) for c in range(3))
    within = float(1 - ours[:, -1].sum() / weight.sum())
    return MapFigures(name, MAPS[number], within, variation, distance, bits, over_prior, captured)


def _law_distances(ours: F64, theirs: F64, account: I64, resampling: Resampling) -> tuple[Estimate, Estimate]:
    """Total variation in bands and Wasserstein-1 in basis points, with bootstraps over accounts.

    A resample has its own accounts on both sides: each brings its levels, and the map of the market that it is in.
    """
    labels, index = np.unique(account, return_inverse=True)
    both = np.zeros((2, len(labels), ours.shape[1]))
    for part, values in zip(both, (ours, theirs), strict=True):
        np.add.at(part, index, values)
    estimate = Estimate(None, n=len(account), blocks=len(labels))
    draws = np.concatenate([np.ones((1, len(labels))), resampling.weights(len(labels))])
    drawn = np.einsum("ra,sac->src", draws, both)
    drawn /= np.maximum(drawn.sum(2, keepdims=True), 1e-300)
    gap = drawn[0] - drawn[1]
    bands = np.add.reduceat(gap[:, :-1], np.arange(0, gap.shape[1] - 1, _BAND), axis=1)
    variation = 0.5 * (np.abs(bands).sum(1) + np.abs(gap[:, -1]))
    moved = np.abs(np.cumsum(gap, axis=1))[:, :-1].sum(1) * _CELL_BP
    return (
        resampling.interval(replace(estimate, value=float(variation[0])), variation[1:]),
        resampling.interval(replace(estimate, value=float(moved[0])), moved[1:]),
    )


def _tiers(maps: AccountMaps, name: str, drawn: list[AccountMap], resampling: Resampling) -> TierFigures:
    known, tiers = maps.known, len(LEVERAGES)
    parts = []
    for one in drawn:
        tier, usd = maps.tiers_of(one.market, one.rows), known.notional_usd[one.rows]
        hot = np.zeros((len(usd), tiers))
        hot[np.arange(len(usd)), np.maximum(tier, 0)] = tier > -2
        laws = {key: np.repeat(w[None], len(usd), axis=0) for key, w in one.weights.items()}
        parts.append((tier, usd, hot, laws, known.account[one.rows]))
    tier, usd, hot, account = (np.concatenate([part[k] for part in parts]) for k in (0, 1, 2, 4))
    placed = tier > -2
    weight, found, shares = usd * placed, {}, {}
    for key in (PRIOR, CALIBRATED, NAIVE):
        law = np.concatenate([part[3][key] for part in parts])
        shares[key] = tuple((law * weight[:, None]).sum(0) / weight.sum())
        found[key] = _tier_distance(law * weight[:, None], hot * weight[:, None], account, resampling)
    return TierFigures(
        market=name,
        real=tuple((hot * weight[:, None]).sum(0) / weight.sum()),
        never=float(usd[tier == -1].sum() / usd.sum()),
        past_entry=float(usd[tier == -2].sum() / usd.sum()),
        laws=shares,
        total_variation=found,
    )


def _tier_distance(ours: F64, theirs: F64, account: I64, resampling: Resampling) -> Estimate:
    labels, index = np.unique(account, return_inverse=True)
    both = np.zeros((2, len(labels), ours.shape[1]))
    for part, values in zip(both, (ours, theirs), strict=True):
        np.add.at(part, index, values)
    draws = np.concatenate([np.ones((1, len(labels))), resampling.weights(len(labels))])
    drawn = np.einsum("ra,sac->src", draws, both)
    drawn /= np.maximum(drawn.sum(2, keepdims=True), 1e-300)
    variation = 0.5 * np.abs(drawn[0] - drawn[1]).sum(1)
    estimate = Estimate(float(variation[0]), n=len(account), blocks=len(labels))
    return resampling.interval(estimate, variation[1:])
