"""One market's window: what was said at its start against what happened until its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, MAX_PRICE_UNITS, PRICE_BITS, SHORT
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.distance import DistancePrior
from forcedmove_server.scorecard.frozen import Axis, FrozenMap, KnownPositions, Outcome, bin_of
from forcedmove_server.scorecard.measures.released import move_dtype
from forcedmove_server.scorecard.placement import Placed, PlacementObserver, TouchedSide
from forcedmove_server.scorecard.placement import width as row_width
from forcedmove_server.scorecard.rules import ScoringRules

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_DAY_NS = 86_400 * 10**9
#: clusters of rows of liquidations
SAMPLED, COMPLETE = 0, 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """All maps of one market at one time, until their windows end.

    Only what can be touched is kept, in single precision: a long's bins up from the mark and a short's down are not.
    """

    axis: Axis
    profiles: tuple[F32, F32]
    open_interest: float
    positions: KnownPositions | None

    @classmethod
    def of(cls, maps: Mapping[str, FrozenMap], names: Sequence[str], positions: KnownPositions | None) -> Frozen:
        """Take the maps named; raises InputError for one that is missing or lies on another axis than the first."""
        missing = [name for name in names if name not in maps]
        if missing:
            raise InputError("maps", sorted(maps), f"lack {missing[0]!r}")
        first = maps[names[0]]
        axis = first.axis
        for name in names:
            if maps[name].axis != axis:
                raise InputError("maps", name, f"has another axis than {names[0]!r}: mark, bin width, first bin, bins")
        here = axis.mark_index
        longs = np.array([maps[name].levels[LONG, here::-1] for name in names], np.float32)
        shorts = np.array([maps[name].levels[SHORT, here:] for name in names], np.float32)
        return cls(axis, (longs, shorts), first.open_interest, _with_level(axis, positions))


@dataclass(slots=True)
class Scores:
    """What the windows of one horizon that end at one time add to the tables."""

    maps: int
    moves: list[tuple[Any, ...]] = field(default_factory=list)
    liquidation_keys: list[tuple[int, int, int, int]] = field(default_factory=list)
    liquidation_sums: list[F64] = field(default_factory=list)
    position_keys: list[I64] = field(default_factory=list)
    position_sums: list[F64] = field(default_factory=list)
    unscored: Counter[str] = field(default_factory=Counter)

    def move_rows(self) -> Records:
        """Moves as records."""
        return np.array(self.moves, move_dtype(self.maps))

    def liquidations(self) -> tuple[I64, F64]:
        """Keys and sums by day, market, side, and completeness of the feed."""
        keys = np.array(self.liquidation_keys, np.int64).reshape(-1, 4)
        return keys, np.array(self.liquidation_sums).reshape(-1, row_width(self.maps))

    def positions(self) -> tuple[I64, F64]:
        """Keys and sums by day, market, side and account."""
        none = np.empty((0, 4), np.int64), np.empty((0, row_width(self.maps)))
        return np.concatenate([none[0], *self.position_keys]), np.concatenate([none[1], *self.position_sums])


def score_window(
    scores: Scores,
    frozen: Frozen,
    outcome: Outcome,
    market: int,
    prior: DistancePrior,
    inverse: bool,
    rules: ScoringRules,
    observer: PlacementObserver | None = None,
) -> None:
    """Score one window; ``market`` is the number that the tables know it by. What cannot be scored is counted.

    ``observer`` is told what was placed on which bins.
    """
    if outcome.unscored is not None:
        scores.unscored[outcome.unscored] += 1
        return
    axis, extremes = frozen.axis, (outcome.low_usd, outcome.high_usd)
    interest = frozen.open_interest if outcome.open_interest is None else outcome.open_interest
    moving = _moving_side(outcome, rules, scores.unscored)
    unit = 1.0 if inverse else axis.mark_usd
    for side in (LONG, SHORT):
        reached = axis.touched(side, extremes[side])
        touched = min(reached, axis.length(side))
        placed = touched >= 2 and (outcome.liquidations is not None or frozen.positions is not None)
        if side != moving and not placed:
            continue
        stored = frozen.profiles[side]
        profiles = np.empty((len(stored) + 1, stored.shape[1]))
        profiles[:-1], profiles[-1] = stored, prior.profile(axis, side, interest)
        if side == moving:
            if reached > touched:
                scores.unscored["move left the map's window"] += 1
            else:
                _add_move(scores, outcome, market, side, profiles[:, :touched].sum(axis=1))
        if placed:
            view = TouchedSide(axis, side, profiles, touched, unit)
            for placed_now in (
                _add_liquidations(scores, outcome, market, view, rules),
                _add_positions(scores, outcome, market, view, frozen.positions, rules),
            ):
                if observer is not None and placed_now is not None:
                    observer(placed_now)


def excursions(outcome: Outcome) -> tuple[float, float]:
    """Largest fall and rise of the trigger price, as log distances from where it was."""
    return float(np.log(outcome.mark_usd / outcome.low_usd)), float(np.log(outcome.high_usd / outcome.mark_usd))


def _moving_side(outcome: Outcome, rules: ScoringRules, unscored: Counter[str]) -> int | None:
    """Side that the window's larger excursion liquidates, if it is a move that can be scored."""
    if outcome.open_interest is None or outcome.open_interest_end is None:
        unscored["open interest missing or stale"] += 1
        return None
    if outcome.volatility is None or outcome.interest_change_before is None:
        unscored["no history of price or open interest yet"] += 1
        return None
    fall, rise = excursions(outcome)
    spread = outcome.volatility * (outcome.horizon_ns / 1e9) ** 0.5
    size = max(fall, rise)
    if size <= 0 or size < rules.move_threshold * spread:
        return None
    return LONG if fall >= rise else SHORT


def _add_move(scores: Scores, outcome: Outcome, market: int, side: int, crossed: F64) -> None:
    before, after, sigma = outcome.open_interest, outcome.open_interest_end, outcome.volatility
    if before is None or after is None or sigma is None:
        raise AssertionError("a move without open interest or volatility")
    scores.moves.append(
        (
            outcome.at_ns,
            market,
            side,
            (before - after) / before,
            excursions(outcome)[side],
            sigma * (outcome.horizon_ns / 1e9) ** 0.5,
            outcome.interest_change_before,
            crossed / before,
        )
    )


def _add_liquidations(
    scores: Scores, outcome: Outcome, market: int, view: TouchedSide, rules: ScoringRules
) -> Placed | None:
    forced = outcome.liquidations
    if forced is None:
        return None
    offset = view.axis.offsets(view.side, forced.bin)
    ours = forced.side == view.side
    inside = ours & (offset >= 0) & (offset < view.touched)
    for reason, lost in (
        ("liquidations on the side of the mark where nothing was open yet", ours & (offset < 0)),
        ("liquidations at prices that the trigger price did not touch", ours & (offset >= view.touched)),
    ):
        if lost.any():
            scores.unscored[reason] += int(forced.events[lost].sum())
    events, usd, squared = (
        np.bincount(offset[inside], values[inside], view.touched).astype(np.float64)
        for values in (forced.events, forced.usd, forced.usd_squared)
    )
    row = view.window_sums(events, usd, rules)
    if inside.any():
        row += view.sums(events[:, None], usd[:, None], squared[:, None], rules)[0]
    cluster, day = COMPLETE if outcome.liquidations_complete else SAMPLED, outcome.at_ns // _DAY_NS
    scores.liquidation_keys.append((day, market, view.side, cluster))
    scores.liquidation_sums.append(row)
    if cluster == SAMPLED or not inside.any():
        return None
    return Placed(market, outcome, view, "liquidations", np.array([day]), events[:, None], usd[:, None])


def _add_positions(
    scores: Scores, outcome: Outcome, market: int, view: TouchedSide, known: KnownPositions | None, rules: ScoringRules
) -> Placed | None:
    if known is None:
        return None
    offset = view.axis.offsets(view.side, bin_of(known.level_usd, view.axis.bin_width_usd))
    inside = (known.side == view.side) & (offset >= 0) & (offset < view.touched)
    if not inside.any():
        return None
    accounts, column = np.unique(known.account[inside], return_inverse=True)
    at, usd = (offset[inside], column), known.notional_usd[inside]
    table = np.zeros((3, view.touched, len(accounts)))
    for part, values in enumerate((np.ones(len(usd)), usd, usd**2)):
        np.add.at(table[part], at, values)
    keys = np.empty((len(accounts), 4), np.int64)
    keys[:, :3], keys[:, 3] = (outcome.at_ns // _DAY_NS, market, view.side), accounts
    scores.position_keys.append(keys)
    scores.position_sums.append(view.sums(table[0], table[1], table[2], rules))
    return Placed(market, outcome, view, "positions", accounts, table[0], table[1])


def _with_level(axis: Axis, known: KnownPositions | None) -> KnownPositions | None:
    """Positions that have a liquidation price on the axis and a notional."""
    if known is None:
        return None
    highest = axis.bin_width_usd * (MAX_PRICE_UNITS >> PRICE_BITS)
    with np.errstate(invalid="ignore"):
        usable = (known.level_usd > 0) & (known.level_usd < highest) & (known.notional_usd > 0)
    if not usable.any():
        return None
    return replace(
        known,
        side=known.side[usable],
        level_usd=known.level_usd[usable],
        notional_usd=known.notional_usd[usable],
        account=known.account[usable],
    )
