"""Maps drawn from the entries of half of some known accounts, held against the liquidation prices of the other half.

There is no tape at that instant, so entries are those of real positions, and what is judged is what our maps make of
them: how leverage is distributed and how far a level may be off. Accounts whose levels are judged have no part in
drawing the map, and none in what weights are learnt from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Spread
from forcedmove_kernels.backend import Backend, select_backend
from forcedmove_kernels.fixed_point import LONG, SHORT, SPREAD_ONE
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.rules import LEVERAGES, phase_leverages
from forcedmove_server.inference.calibration import Calibration, tiers_of_prices
from forcedmove_server.inference.leverage_prior import LeveragePrior, prior_for, tail_membership, tier_shares
from forcedmove_server.inference.naive_map import NAIVE_LEVERAGES, NAIVE_WEIGHTS, bankruptcy_ratios
from forcedmove_server.margin.multipliers import liquidation_multipliers, max_leverage, offered_tiers
from forcedmove_server.market.instruments import Instrument, bin_width_usd
from forcedmove_server.scorecard.accounts import AccountPositions
from forcedmove_server.scorecard.distance import DistancePrior
from forcedmove_server.scorecard.frozen import Axis, bin_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PRIOR, NARROW, CALIBRATED = "prior", "prior, levels not spread", "calibrated"
NAIVE, NAIVE_MAINTENANCE, DISTANCE, OTHERS = "naive", "naive_maintenance", "distance", "other accounts' own levels"
MAPS = (PRIOR, NARROW, CALIBRATED, NAIVE, NAIVE_MAINTENANCE, DISTANCE, OTHERS)

#: maps reach this far from the mark, as a share of it; levels are spread on a wider window, so that none is cut off
REACH = 0.25
_WIDER = 1.5
#: a map needs as many positions of the drawing half on a side, and one account of the other
_LEAST_DRAWN = 5
#: what one map holds in all, in lots: the kernels count in integers
_LOTS = 1 << 40


@dataclass(frozen=True, slots=True)
class TierLaw:
    """A market's tiers: levels over entries, real and naive ones, and what is known of its weights."""

    instrument: Instrument
    highest: float
    offered: int
    #: [2, T] of the tiers' own leverages, [2, P * T] of all their phases
    ratio: F64
    phases: F64
    naive: F64
    prior: F64

    @classmethod
    def of(cls, instrument: Instrument, price_usd: float, model: ModelConfig, prior: LeveragePrior) -> TierLaw:
        """Return the constants that the engine would use at ``price_usd``."""
        exact = liquidation_multipliers(instrument, LEVERAGES, model.typical_position_usd, price_usd)
        offered, highest = offered_tiers(instrument, exact.rule), max_leverage(instrument, exact.rule)
        leverages = phase_leverages(LEVERAGES[:offered], highest, model.tier_width)

        def ratio(wanted: F64) -> F64:
            distinct, column = np.unique(np.minimum(wanted, highest), return_inverse=True)
            made = liquidation_multipliers(instrument, distinct, model.typical_position_usd, price_usd).ratio
            return made[:, column.ravel()]

        weights = tier_shares(prior, LEVERAGES, highest)
        return cls(
            instrument, highest, offered, exact.ratio[:, :offered], ratio(leverages), ratio(NAIVE_LEVERAGES), weights
        )

    @property
    def naive_weights(self) -> F64:
        """The naive map's weights by tier, ``[T]``; leverages that are not offered count as the highest that is."""
        tier = np.searchsorted(LEVERAGES, np.minimum(NAIVE_LEVERAGES, self.highest), "right") - 1
        return np.bincount(tier, NAIVE_WEIGHTS, len(LEVERAGES)).astype(np.float64)

    def spread_over_phases(self, weights: F64) -> F64:
        """Weights ``[T]`` shared evenly by the phases of their tiers: float64 ``[P * T]``, as ``phases`` has them."""
        phases = self.phases.shape[1] // self.offered
        return np.tile(weights[: self.offered] / phases, phases)


@dataclass(frozen=True, slots=True)
class AccountMap:
    """One side of one market in one snapshot: profiles outward from the mark, and whom they are judged by.

    ``profiles`` float64 ``[K, n]`` are shares of the drawing half's notional by map (:data:`MAPS`) and bin; what is
    left of one lies further away. ``rows`` index the judged positions in the file's.
    """

    market: str
    side: int
    axis: Axis
    profiles: F64
    rows: I64
    #: [T] weights of tiers by map: prior, calibrated and naive
    weights: dict[str, F64]


class AccountMaps:
    """Draws all maps of a file of accounts; iterate over :meth:`maps`."""

    def __init__(
        self,
        known: AccountPositions,
        instrument_of: Callable[[str], Instrument],
        drawing_half: int = 0,
        model: ModelConfig | None = None,
        prior: LeveragePrior | None = None,
        least_accounts: int = 40,
    ) -> None:
        """Markets that fewer than ``least_accounts`` accounts of either half ever held are left out.

        ``prior`` replaces the venue's default.
        """
        self.known, self.drawing_half = known, drawing_half
        self._model, self._prior = model or ModelConfig(), prior
        self._backend: Backend = select_backend("auto", 1)[0]
        self.markets = _large_enough(known, least_accounts)
        self.laws = {name: self._law(name, instrument_of(name)) for name in self.markets}
        self._calibration = Calibration(LEVERAGES)
        self._rows = {name: self._register(law) for name, law in self.laws.items()}

    def _register(self, law: TierLaw) -> int:
        instrument = law.instrument
        prior = self._prior or prior_for(instrument.venue)
        tail = tail_membership(prior, LEVERAGES, law.highest)
        return self._calibration.new_market(
            instrument.key, instrument.venue, np.stack([law.prior, law.prior]), None, tail
        )

    def maps(self) -> list[AccountMap]:
        """Draw the maps of every snapshot, market and side; weights are learnt snapshot by snapshot."""
        found = []
        for snapshot in np.unique(self.known.snapshot).tolist():
            here = np.flatnonzero(self.known.snapshot == snapshot)
            self._learn(here)
            for name in self.markets:
                rows = here[self.known.market[here] == name]
                found += [made for side in (LONG, SHORT) if (made := self._map(name, side, rows)) is not None]
        return found

    def tiers_of(self, name: str, rows: I64) -> I64:
        """Tier of each position by its level over its entry; -1: never liquidated, -2: its level is past its entry.

        A position that is never liquidated belongs to the lowest tier, which stands for all leverages below; one whose
        level is past its entry (gains were taken out, or lost elsewhere in the account) belongs to none.
        """
        known, law = self.known, self.laws[name]
        side, entry, level = known.side[rows], known.entry_usd[rows], known.level_usd[rows]
        tier = np.full(len(rows), -1)
        with np.errstate(invalid="ignore"):
            losing = np.where(side == LONG, level < entry, level > entry)
        tier[np.isfinite(level) & ~losing] = -2
        tier[losing] = tiers_of_prices(law.ratio, side[losing], entry[losing], level[losing])
        return tier

    def _law(self, name: str, instrument: Instrument) -> TierLaw:
        price = float(np.median(self.known.mark_usd[self.known.market == name]))
        return TierLaw.of(instrument, price, self._model, self._prior or prior_for(instrument.venue))

    def _learn(self, here: I64) -> None:
        """Show the calibration the positions of the drawing half."""
        known, parts = self.known, []
        for name in self.markets:
            rows = here[(known.market[here] == name) & (known.half[here] == self.drawing_half)]
            tier = self.tiers_of(name, rows)
            rows, tier = rows[tier > -2], np.maximum(tier[tier > -2], 0)
            parts.append((np.full(len(rows), self._rows[name]), known.side[rows], known.notional_usd[rows], tier))
        market, side, quantity, tier = (np.concatenate(column) for column in zip(*parts, strict=True))
        of = np.array(sorted(self._rows.values()))
        self._calibration.observe_positions(int(known.time_ns[here].max()), of, market, side, quantity, tier)

    def _map(self, name: str, side: int, rows: I64) -> AccountMap | None:
        known, law = self.known, self.laws[name]
        rows = rows[known.side[rows] == side]
        drawn = rows[known.half[rows] == self.drawing_half]
        judged = rows[known.half[rows] != self.drawing_half]
        if len(drawn) < _LEAST_DRAWN or not len(judged):
            return None
        mark = float(np.median(known.mark_usd[rows]))
        wide, axis = _axis(name, mark, REACH * _WIDER), _axis(name, mark, REACH)
        entry = known.entry_usd[drawn]
        usd = known.notional_usd[drawn] / known.notional_usd[drawn].sum()
        learnt = self._calibration.weights(np.array([self._rows[name]]))[0, side]
        profiles = {
            key: self._spread(_profile(wide, side, entry, usd, law.phases[side], law.spread_over_phases(w)), wide, side)
            for key, w in ((PRIOR, law.prior), (CALIBRATED, learnt))
        }
        weights = law.spread_over_phases(law.prior)
        profiles[NARROW] = _profile(wide, side, entry, usd, law.phases[side], weights)
        profiles[NAIVE] = _profile(wide, side, entry, usd, bankruptcy_ratios()[side], NAIVE_WEIGHTS)
        profiles[NAIVE_MAINTENANCE] = _profile(wide, side, entry, usd, law.naive[side], NAIVE_WEIGHTS)
        profiles[DISTANCE] = DistancePrior.of_venue(law.instrument.venue, law.highest).profile(wide, side, 1.0)
        own = np.isfinite(known.level_usd[drawn])
        profiles[OTHERS] = _binned(wide, side, known.level_usd[drawn][own], usd[own])
        n = axis.length(side)
        return AccountMap(
            name,
            side,
            axis,
            np.stack([profiles[key][:n] for key in MAPS]),
            judged,
            {PRIOR: law.prior, CALIBRATED: learnt, NAIVE: law.naive_weights},
        )

    def _spread(self, profile: F64, axis: Axis, side: int) -> F64:
        """Spread levels as the engine does, by ``model.level_width`` and ``model.level_width_near``."""
        share = round(self._model.level_width * SPREAD_ONE)
        if not share:
            return profile
        cells = np.zeros((1, len(profile) + 2), np.uint64)
        inner = np.round(profile * _LOTS).astype(np.uint64)
        cells[0, 1:-1] = inner[::-1] if side == LONG else inner
        mark = len(profile) if side == LONG else 1
        mark_bin = axis.mark_usd / axis.bin_width_usd
        near, most = int(self._model.level_width_near * mark_bin), int(mark_bin) if side == LONG else 1 << 30
        how = Spread(*np.array([[side], [mark]], np.int32), *np.array([[share], [near], [most]], np.uint32))
        spread = self._backend.spread_levels(cells, how)[0, 1:-1].astype(np.float64) / _LOTS
        return spread[::-1] if side == LONG else spread


def _large_enough(known: AccountPositions, least: int) -> list[str]:
    """Markets that enough accounts of both halves hold, by descending notional."""
    found = {}
    for name in np.unique(known.market).tolist():
        rows = known.market == name
        if min(len(np.unique(known.account[rows & (known.half == half)])) for half in (0, 1)) >= least:
            found[name] = float(known.notional_usd[rows].sum())
    return sorted(found, key=lambda name: (-found[name], name))


def _axis(name: str, mark: float, reach: float) -> Axis:
    width = bin_width_usd(name, mark)
    here, half = int(bin_of(mark, width)), int(mark * reach / width)
    return Axis.of(mark, width, here - half, 2 * half + 1)


def _profile(axis: Axis, side: int, entry: F64, usd: F64, ratio: F64, weights: F64) -> F64:
    """Spread entries over levels, those that the mark has passed left out: what is open was not liquidated."""
    level = entry[:, None] * ratio[None]
    open_ = (level < axis.mark_usd) if side == LONG else (level > axis.mark_usd)
    share = weights[None] * open_
    total = share.sum(1, keepdims=True)
    mass = np.divide(share, total, out=np.zeros_like(share), where=total > 0) * usd[:, None]
    return _binned(axis, side, level[open_], mass[open_])


def _binned(axis: Axis, side: int, level: F64, usd: F64) -> F64:
    n = axis.length(side)
    at = axis.offsets(side, bin_of(np.minimum(level, 4 * axis.mark_usd), axis.bin_width_usd))
    inside = (at >= 0) & (at < n)
    profile: F64 = np.bincount(at[inside], usd[inside], n).astype(np.float64)
    return profile
