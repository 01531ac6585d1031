"""What the engine publishes every tick: plain immutable values that the RPC layer encodes.

Money is USD, prices are USD, quantities are model units (base units on linear contracts, USD on inverse ones), times
are UTC nanoseconds of the event clock unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.summary import ShortScore

AxisName = Literal["venue", "side", "leverage", "price"]
SideName = Literal["long", "short"]
WeightingName = Literal["live", "fresh"]

AXES: tuple[AxisName, ...] = ("venue", "side", "leverage", "price")
SIDES: tuple[SideName, ...] = ("long", "short")


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What a reader wants of a symbol's grid; hashable, so that equal wishes share one encoded frame.

    Empty ``venues`` and ``sides`` mean all; a leverage bound of 0 means none. ``keep`` lists the kept axes in grid
    order and always ends with ``price``; the others are summed over. ``price_range_fraction`` 0 keeps the whole window,
    otherwise bins further than that fraction from the mark are folded into the two outer cells.
    """

    venues: tuple[str, ...] = ()
    sides: tuple[SideName, ...] = ()
    leverage_min: float = 0.0
    leverage_max: float = 0.0
    keep: tuple[AxisName, ...] = ("side", "price")
    weighting: WeightingName = "live"
    price_range_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class RenderedView:
    """A grid as one view sees it: ``values`` f32 in C order, one axis per kept axis, USD notional.

    The price axis has ``bin_count + 2`` cells: everything below, the bins from absolute bin ``first_bin`` on,
    everything above. Two renderings with equal ``axes_key`` can be compared cell by cell.

    A watched view knows what changed: ``changed`` are the flat indices, ascending, of the cells whose bits differ from
    the rendering of this view whose ``revision`` is ``since``. Where ``since`` is 0 anything may have changed.
    """

    axes: tuple[AxisName, ...]
    venues: tuple[str, ...]
    sides: tuple[SideName, ...]
    leverages: tuple[float, ...]
    first_bin: int
    bin_count: int
    bin_width_usd: float
    values: NDArray[np.float32]
    revision: int = 0
    since: int = 0
    changed: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))

    @property
    def axes_key(self) -> tuple[object, ...]:
        """Everything that gives a cell its meaning."""
        return (self.axes, self.venues, self.sides, self.leverages, self.first_bin, self.bin_count, self.bin_width_usd)


@dataclass(frozen=True, slots=True)
class CredibleBand:
    """Bounds that hold the notional of each cell of a view with probability ``level``: f32 like its ``values``, USD."""

    level: float
    low: NDArray[np.float32]
    high: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TierMultiplier:
    """The liquidation price of one leverage tier over the entry; pairs are long, short.

    ``error_bp`` bounds the error in basis points of the entry; ``cross_width`` is the half-width, as a share of the
    entry, within which a cross-margined level stays for a day, nine times in ten.
    """

    leverage: float
    ratio: tuple[float, float]
    error_bp: tuple[float, float]
    cross_width: tuple[float, float]


@dataclass(frozen=True, slots=True)
class MarginInfo:
    """How one market liquidates, and how far its levels may be off.

    ``tiers`` says where the maintenance ladder comes from, in words. ``error_bp`` bounds, in basis points of the entry,
    what choosing the tier by a typical position costs from a tenth to ten times its size; ``cross_width_share`` is the
    share of a level's distance within which a cross-margined level stays for a day, nine times in ten.
    """

    formula: str
    confidence: str
    assumed: bool
    trigger: str
    fee_rate: float
    max_leverage: float
    tiers: str
    tiers_as_of: str
    tiers_stale: bool
    error_bp: float
    cross_width_share: float
    source: str
    multipliers: tuple[TierMultiplier, ...] = ()


@dataclass(frozen=True, slots=True)
class MarketStatus:
    """One market at a tick. Ages are in milliseconds of event time; -1 where nothing has been seen."""

    market: str
    venue: str
    mark_price_usd: float
    open_interest: float
    open_interest_usd: float
    live_long: float
    live_short: float
    price_age_ms: int
    open_interest_age_ms: int
    fresh: bool
    margin: MarginInfo
    cohorts: int
    events: int


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A run of bins that stands above its surroundings; see kernels.arrays.Clusters for the rule.

    ``id`` stays with it from tick to tick (see engine.clusters.tracking); 0 where it has none yet.
    """

    side: SideName
    price_low_usd: float
    price_high_usd: float
    peak_price_usd: float
    notional_usd: float
    distance_fraction: float
    venues: tuple[tuple[str, float], ...]
    id: int = 0


@dataclass(frozen=True, slots=True)
class LevelInfo:
    """One level of a chain. Prices are lower edges of bins."""

    trigger_price_usd: float
    notional_usd: float
    venues: tuple[str, ...]
    cumulative_usd: float
    price_after_usd: float


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """A cascade chain: what a shock sets off."""

    side: SideName
    start_price_usd: float
    shock_price_usd: float
    levels: tuple[LevelInfo, ...]
    total_usd: float
    terminal_price_usd: float
    amplification: float
    beyond_window: bool


@dataclass(frozen=True, slots=True)
class AssumptionInfo:
    """One thing the model takes for granted."""

    name: str
    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class SymbolMap:
    """Everything about one symbol at one tick except its grids. ``seq`` rises by one whenever any of it changes.

    ``score`` is the headline of the symbol's own scorecard, None until there is something to say.
    """

    symbol: str
    seq: int
    event_time_ns: int
    mark_price_usd: float
    bin_width_usd: float
    markets: tuple[MarketStatus, ...]
    coverage: float
    clusters: tuple[ClusterInfo, ...]
    next_down: ChainInfo | None
    next_up: ChainInfo | None
    assumptions: tuple[AssumptionInfo, ...]
    score: ShortScore | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick's result. ``changed`` symbols have a new ``seq``; ``views`` holds the watched views of those."""

    epoch: int
    number: int
    event_time_ns: int
    published_ns: int
    maps: Mapping[str, SymbolMap]
    changed: frozenset[str]
    views: Mapping[tuple[str, ViewSpec], RenderedView]
