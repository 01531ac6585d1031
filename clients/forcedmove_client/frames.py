"""What the client hands out: frozen values. Prices and notionals are USD, times are UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

AxisName = Literal["venue", "side", "leverage", "price"]
SideName = Literal["long", "short"]
ChannelName = Literal["trades", "mark_prices", "open_interest", "liquidations", "depth"]
WeightingName = Literal["live", "fresh"]


@dataclass(frozen=True, slots=True)
class Market:
    """One market as the model sees it. Quantities are base units (linear) or USD (inverse contracts).

    Ages are in milliseconds of event time; -1 where nothing has been seen.
    """

    market: str
    venue: str
    mark_price: float
    open_interest: float
    open_interest_usd: float
    live_long: float
    live_short: float
    price_age_ms: int
    open_interest_age_ms: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """A run of price bins whose notional stands above its surroundings.

    ``distance`` is from the mark to the nearest edge, as a fraction of the mark; negative below it. ``id`` stays with
    the cluster from frame to frame within an epoch; 0 where it has none yet.
    """

    side: SideName
    price_low: float
    price_high: float
    peak_price: float
    notional_usd: float
    distance: float
    venues: dict[str, float]
    id: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a cascade. ``price_after`` is the mark after its impact."""

    trigger_price: float
    notional_usd: float
    venues: tuple[str, ...]
    cumulative_usd: float
    price_after: float


@dataclass(frozen=True, slots=True)
class Chain:
    """What a shock sets off, every level in the order it fires.

    ``amplification`` is (start - terminal) / (start - shock). With ``beyond_window`` the terminal price is a bound.
    """

    side: SideName
    start_price: float
    shock_price: float
    levels: tuple[Level, ...]
    total_usd: float
    terminal_price: float
    amplification: float
    beyond_window: bool

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.levels)


@dataclass(frozen=True, slots=True)
class Assumption:
    """One thing the model takes for granted."""

    name: str
    text: str
    value: float | None


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A symbol the server has a map of."""

    symbol: str
    markets: tuple[str, ...]
    mark_price: float
    open_interest_usd: float
    bin_width: float
    cohorts: int


@dataclass(frozen=True, slots=True)
class TierMultiplier:
    """The liquidation price of one leverage tier over the entry; pairs are long, short.

    ``error_bp`` bounds the error in basis points of the entry; ``cross_width`` is the half-width, as a fraction of the
    entry, within which a cross-margined level stays for a day, nine times in ten.
    """

    leverage: float
    ratio: tuple[float, float]
    error_bp: tuple[float, float]
    cross_width: tuple[float, float]


@dataclass(frozen=True, slots=True)
class MarginRule:
    """How one market liquidates, and how far its levels may be off.

    ``confidence`` is that of the weakest fact used; ``tiers`` says in words where the maintenance ladder comes from.
    ``error_bp`` bounds, in basis points of the entry, what one ladder tier for all sizes costs; ``cross_width_share``
    is the share of a level's distance within which a cross-margined one stays for a day, nine times in ten.
    """

    market: str
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
class Feed:
    """One channel of one venue: ``live`` of ``wanted`` markets are fed.

    ``age_ms`` is the time since the newest message, ``lag_ms`` the smoothed time from the venue's stamp to its receipt;
    both None before the first. Counts are since the server's start; ``malformed``, ``unknown`` and ``trouble``, the
    newest fault in words, are those of the whole venue.
    """

    channel: ChannelName
    wanted: int
    live: int
    age_ms: int | None
    lag_ms: float | None
    messages_per_second: float
    messages: int
    gaps: int
    drops: int
    reconnects: int
    repeated: int
    malformed: int
    unknown: int
    refused: int
    trouble: str


@dataclass(frozen=True, slots=True)
class VenueInfo:
    """A venue with its markets; ``rules`` says by market key how they liquidate, ``feeds`` how live channels do."""

    venue: str
    markets: tuple[Market, ...]
    rules: dict[str, MarginRule]
    events: int
    feeds: tuple[Feed, ...] = ()


@dataclass(frozen=True, slots=True)
class ShortScore:
    """How true a symbol's maps have been, without intervals: ``scorecard`` has them.

    ``bits`` are per position or liquidation, of which there were ``bits_n``, over the map made flat inside each side
    and distance band; ``released`` is the rank partial correlation of open interest released with open interest crossed
    over ``moves``. None where there is nothing to say yet.
    """

    bits: float | None
    bits_n: int
    released: float | None
    moves: int


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Bounds that hold the notional of each cell with probability ``level``: f32 like ``MapFrame.grid``, read-only."""

    level: float
    low: NDArray[np.float32] = field(repr=False)
    high: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class MapFrame:
    """The map of one symbol at one tick.

    ``grid`` f32, read-only, USD notional; one axis per name in ``axes``. The price axis has a cell for everything
    below the window, one per bin and one for everything above; ``price_low`` and ``price_high`` f64 are the cells'
    edges, 0 and +inf at the ends. Labels of axes that were summed over are empty. ``skipped`` counts the frames of
    the symbol that the stream left out just before this one because it was read too slowly or its connection was lost.
    ``score`` says how true the symbol's maps have been, None where the server keeps no score or there is nothing to say
    yet. ``band`` comes with snapshots that asked for one.
    """

    symbol: str
    epoch: int
    seq: int
    event_time: np.datetime64
    published_time: np.datetime64
    mark_price: float
    bin_width: float
    weighting: WeightingName
    axes: tuple[AxisName, ...]
    venues: tuple[str, ...]
    sides: tuple[SideName, ...]
    leverages: tuple[float, ...]
    price_low: NDArray[np.float64] = field(repr=False)
    price_high: NDArray[np.float64] = field(repr=False)
    grid: NDArray[np.float32] = field(repr=False)
    markets: tuple[Market, ...] = field(repr=False)
    coverage: float
    clusters: tuple[Cluster, ...] = field(repr=False)
    next_down: Chain | None = field(repr=False)
    next_up: Chain | None = field(repr=False)
    assumptions: tuple[Assumption, ...] = field(repr=False)
    skipped: int = 0
    score: ShortScore | None = field(default=None, repr=False)
    band: Band | None = None

    def labels(self, axis: AxisName) -> tuple[Any, ...]:
        """Labels of an axis: names, leverages, or the lower edges of the price cells."""
        match axis:
            case "venue":
                return self.venues
            case "side":
                return self.sides
            case "leverage":
                return self.leverages
            case "price":
                return tuple(self.price_low.tolist())

    def select(
        self, *, venue: str | None = None, side: SideName | None = None, leverage: float | None = None
    ) -> NDArray[np.float32]:
        """Return the part of the grid with these labels; the selected axes are gone.

        Raises ValueError for an axis that was summed over or a label that is not there.
        """
        wanted: dict[AxisName, Any] = {"venue": venue, "side": side, "leverage": leverage}
        index: list[int | slice] = [slice(None)] * len(self.axes)
        for axis, label in wanted.items():
            if label is None:
                continue
            if axis not in self.axes:
                raise ValueError(
                    f"{axis} = {label!r}: the frame has the axes {self.axes}; keep {axis!r} to select by it"
                )
            if label not in self.labels(axis):
                raise ValueError(f"{axis} = {label!r}: the frame has {self.labels(axis)}")
            index[self.axes.index(axis)] = self.labels(axis).index(label)
        return self.grid[tuple(index)]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per cell: symbol, the labels of the axes, price_low, price_high, notional_usd, and with a band
        notional_low_usd, notional_high_usd.

        Raises ImportError where pandas is not installed.
        """
        from forcedmove_client.tables import to_pandas

        return to_pandas(self)

    def to_arrow(self) -> pa.Table:
        """Return the same rows as an Arrow table. Raises ImportError where pyarrow is not installed."""
        from forcedmove_client.tables import to_arrow

        return to_arrow(self)
