"""What a scorecard says: frozen dataclasses of plain numbers, ready for ``dataclasses.asdict`` and JSON."""

from __future__ import annotations

from dataclasses import dataclass

from forcedmove_server.scorecard.measures.capture import Capture
from forcedmove_server.scorecard.measures.cascades import CascadeScore
from forcedmove_server.scorecard.measures.coverage import Coverage
from forcedmove_server.scorecard.measures.reach import Reach
from forcedmove_server.scorecard.measures.released import Released
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.rules import ScoringRules


@dataclass(frozen=True, slots=True)
class Where:
    """A part of the markets: venue, symbol and side (0 long, 1 short); None for all of them."""

    venue: str | None = None
    symbol: str | None = None
    side: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """How well a map placed what was liquidated, or liquidatable, on the bins that were touched.

    ``bits_over_flat`` is against the same map made flat inside each side and distance band, ``bits_over_prior`` against
    the distance prior; both per position (event). ``..._per_dollar`` weighs by notional. Blocks are UTC days for
    liquidations and accounts for known positions.
    """

    usd: float
    bits_over_flat: Estimate
    bits_over_prior: Estimate
    bits_over_flat_per_dollar: Estimate
    bits_over_prior_per_dollar: Estimate
    capture: Capture


@dataclass(frozen=True, slots=True)
class Intensity:
    """Did as much happen as was promised, and where it was? From complete liquidation feeds only.

    ``capture_ratio`` is USD liquidated over USD predicted in touched bins; ``poisson_bits_per_event`` the fall of
    Poisson deviance from the distance prior; ``wasserstein_bp`` and ``spearman`` are means weighted by USD.
    """

    windows: int
    capture_ratio: Estimate
    poisson_bits_per_event: float | None
    wasserstein_bp: float | None
    spearman: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MapScore:
    """One map at one horizon; ``liquidations`` are those of complete feeds, ``sampled`` of feeds known to miss some.

    None stands for no observation of that kind at all.
    """

    map: str
    horizon_ns: int
    released: Released
    positions: Placement | None
    liquidations: Placement | None
    sampled: Placement | None
    intensity: Intensity | None


@dataclass(frozen=True, slots=True)
class ReachScore:
    """The reach forecasts of one horizon."""

    horizon_ns: int
    reach: Reach


@dataclass(frozen=True, slots=True)
class Invariants:
    """Worst ``|live - OI| / OI`` of any market since the start, where and when; worst balance error of flows."""

    checks: int
    worst_interest_error: float | None
    worst_market: str | None
    worst_at_ns: int | None
    worst_flow_error: float | None


@dataclass(frozen=True, slots=True)
class Headline:
    """The two figures, of the first map at the headline horizon, and what they rest on.

    ``bits`` is bits per position over the flattened map; ``bits_from`` says whether from ``"positions"`` that are
    known or from ``"liquidations"`` of complete feeds. ``released`` is the rank partial correlation of open interest
    released on crossing and ``gain`` its gain over the baseline map.
    """

    map: str
    baseline: str | None
    horizon_ns: int
    bits: Estimate
    bits_from: str
    released: Estimate
    gain: Estimate | None


@dataclass(frozen=True, slots=True)
class ShortScore:
    """The headline without intervals, for stamping into frames; None where there is nothing to say yet."""

    bits: float | None
    bits_n: int
    released: float | None
    moves: int


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why something could not be scored, and how often: windows by market and horizon, or rows."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything, for one part of the markets. The thresholds it was measured with are part of it."""

    where: Where
    rules: ScoringRules
    begin_ns: int | None
    end_ns: int | None
    headline: Headline
    maps: tuple[MapScore, ...]
    reach: tuple[ReachScore, ...]
    cascades: CascadeScore | None
    coverage: Coverage
    invariants: Invariants
    unscored: tuple[Unscored, ...]


@dataclass(frozen=True, slots=True)
class MarketRow:
    """Counts and point values of one venue, symbol, side, horizon and map; no intervals, so that all can be listed."""

    venue: str
    symbol: str
    side: int
    horizon_ns: int
    map: str
    moves: int
    crossed_mean: float | None
    released_mean: float | None
    positions: int
    position_bits: float | None
    liquidations: int
    liquidation_bits: float | None
    captured_share: float | None
    capture_ratio: float | None
