"""Grids as readers want them: filtered, summed over the axes they do not keep, in USD."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Notional, Rendering, View
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.engine.frames import SIDES, RenderedView, ViewSpec
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.errors import InputError, UnknownNameError

F64 = NDArray[np.float64]

#: a cropped window moves in steps of this share of its half-width, so that deltas stay deltas while the mark wanders
_CROP_STEP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class SymbolRows:
    """A symbol's markets in the store, with what turns their lots into USD, and the rows of their exact positions."""

    symbol: str
    markets: NDArray[np.int32]
    venues: tuple[str, ...]  # of each market
    notional: Notional  # of the markets, in their order
    bin_width_usd: float
    mark_units: int  # mark price in price units
    exact: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    exact_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # which market, by its place
    left: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # what they leave, as ``exact``

    @property
    def rows(self) -> NDArray[np.int32]:
        """Rows of the store that make the symbol's map: what is inferred of the markets, then their exact positions."""
        inferred = self.markets.copy()
        inferred[self.exact_of] = self.left
        return np.concatenate([inferred, self.exact])

    @property
    def places(self) -> NDArray[np.int64]:
        """Place among the markets of what each of :attr:`rows` belongs to."""
        return np.concatenate([np.arange(len(self.markets)), self.exact_of])

    @property
    def mark_usd(self) -> float:
        """The symbol's mark price in USD."""
        return self.mark_units * self.bin_width_usd / (1 << PRICE_BITS)


@dataclass(frozen=True, slots=True)
class PlannedView:
    """A view of a symbol, as the kernels are asked for it and as readers see it."""

    asked: View
    market_venues: tuple[str, ...]  # of each row that is asked for
    outputs: tuple[int, ...]  # shape of the kept axes before price
    blank: RenderedView  # everything but the values

    def filled(self, usd: NDArray[np.float32]) -> RenderedView:
        """Return the view with values f32 ``[O, W]``, which nobody may write to any more."""
        values = usd.reshape(*self.outputs, usd.shape[-1])
        values.flags.writeable = False
        return replace(self.blank, values=values)

    def continued(self, rendering: Rendering) -> RenderedView:
        """Return the watched view with what changed since it was rendered before."""
        return replace(
            self.filled(rendering.values),
            revision=rendering.revision,
            since=rendering.since,
            changed=rendering.changed,
        )


def render_view(store: CohortStore, rows: SymbolRows, spec: ViewSpec) -> RenderedView:
    """Render one view of a symbol, as of the store's last refresh.

    Every cell of every (market, side, tier) is rounded to a cent. Raises UnknownNameError where none of the venues has
    a market, InputError for a range without a tier.
    """
    planned = plan_view(store, rows, spec)
    return planned.filled(store.resident.render(planned.asked))


def plan_view(store: CohortStore, rows: SymbolRows, spec: ViewSpec) -> PlannedView:
    """Return what is to be rendered for a view of a symbol. Raises UnknownNameError and InputError."""
    chosen = _chosen_rows(rows, spec)
    of = rows.places[chosen]
    tiers = _chosen_tiers(spec)
    sides = [k for k, name in enumerate(SIDES) if not spec.sides or name in spec.sides]
    by_tier = "leverage" in spec.keep or len(tiers) < len(LEVERAGES)
    venues = tuple(dict.fromkeys(rows.venues[k] for k in of))
    columns = len(tiers) if by_tier else 1
    axes = {
        "venue": np.array([venues.index(rows.venues[k]) for k in of])[:, None, None],
        "side": np.arange(len(sides))[:, None],
        "leverage": np.arange(columns),
    }
    shape = tuple(int(places.max()) + 1 for axis, places in axes.items() if axis in spec.keep)
    target = np.full((len(chosen), len(SIDES), columns), -1, np.int32)
    target[:, sides] = 0
    if shape:
        target[:, sides] = np.ravel_multi_index([axes[axis] for axis in axes if axis in spec.keep], shape)
    gain = store.clock.gain if spec.weighting == "fresh" else 1.0
    first_bin = store.first_bin(int(rows.markets[0]))
    low, high = _crop(store.bins, first_bin, rows, spec.price_range_fraction)
    asked = View(
        markets=rows.rows[chosen],
        tiers=tiers.astype(np.int32) if by_tier else None,
        weighted=spec.weighting == "fresh",
        notional=Notional(rows.notional.base[of] * gain, rows.notional.slope[of] * gain),
        target=target,
        outputs=math.prod(shape),
        low=low,
        high=high,
    )
    blank = RenderedView(
        axes=spec.keep,
        venues=venues,
        sides=tuple(SIDES[k] for k in sides),
        leverages=tuple(float(LEVERAGES[k]) for k in tiers),
        first_bin=first_bin + low,
        bin_count=high - low,
        bin_width_usd=rows.bin_width_usd,
        values=np.zeros(0, np.float32),
    )
    return PlannedView(asked, tuple(rows.venues[k] for k in of), shape, blank)


def check_view(spec: ViewSpec) -> None:
    """Raise InputError for a view that no symbol could ever have."""
    _chosen_tiers(spec)


def usd_per_lot(notional: Notional, rows: NDArray[np.int64], first_bin: int, bins: int) -> F64:
    """USD of one lot in every cell: float64 ``[K, C]``, at the middle of the bin."""
    middle = first_bin + np.arange(bins + 2) - 0.5
    usd: F64 = (notional.base[rows, None] + notional.slope[rows, None] * middle) / 100
    return usd


def _chosen_rows(rows: SymbolRows, spec: ViewSpec) -> NDArray[np.int64]:
    """Return the places among ``rows.rows`` of what the view shows."""
    venues = (rows.venues[k] for k in rows.places)
    chosen = [k for k, venue in enumerate(venues) if not spec.venues or venue in spec.venues]
    if not chosen:
        raise UnknownNameError("venue", ", ".join(spec.venues), sorted(set(rows.venues)))
    return np.array(chosen, np.int64)


def _chosen_tiers(spec: ViewSpec) -> NDArray[np.int64]:
    highest = spec.leverage_max or np.inf
    tiers = np.flatnonzero((spec.leverage_min <= LEVERAGES) & (highest >= LEVERAGES))
    if not len(tiers):
        raise InputError(
            "view.leverage_max",
            spec.leverage_max,
            f"no leverage tier between {spec.leverage_min} and it; "
            f"tiers are {', '.join(f'{tier:g}' for tier in LEVERAGES)}",
        )
    return tiers


def _crop(bins: int, first_bin: int, rows: SymbolRows, fraction: float) -> tuple[int, int]:
    """Return the last cell that is folded into what lies below the view, and the last one that is not into above."""
    if fraction <= 0:
        return 0, bins
    mark_bin = rows.mark_units / (1 << PRICE_BITS)
    half = max(1, int(np.ceil(mark_bin * fraction)))
    step = max(1, int(half * _CROP_STEP_SHARE))
    centre = int(mark_bin) // step * step + step // 2
    low = min(max(centre - half - step // 2 - first_bin, 0), bins - 1)
    high = max(min(centre + half + step // 2 - first_bin, bins), low + 1)
    return low, high
