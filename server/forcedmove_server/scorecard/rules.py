"""What is scored and what is not: every threshold of the scorecard in one place, printed with every summary."""

from __future__ import annotations

from dataclasses import dataclass

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.measures.bits import FLOOR

_MINUTE_NS = 60 * 10**9
_DAY_NS = 1440 * _MINUTE_NS


@dataclass(frozen=True, slots=True)
class ScoringRules:
    """Thresholds and bounds. Times in nanoseconds of event time.

    ``step_ns`` is the freezing grid, counted from the Unix epoch; a window of horizon ``H`` starts where the time is a
    multiple of ``H``, so that the windows of one horizon never overlap. ``headline_horizon_ns`` is the horizon whose
    figures are the headline.

    A window is a *move* where the larger excursion of the trigger price is at least ``move_threshold`` times
    ``volatility sqrt(H)``, the volatility being measured before the window (half-life ``volatility_half_life_ns``, at
    least ``least_volatility_cells`` grid steps). 1.5 is passed by about a quarter of the windows of a driftless walk.
    A price or an open interest is stale when it is older than a quarter of the horizon (a price: at least one step).
    Capture in the top decile, Wasserstein and Spearman need ``least_decile_bins`` touched bins on the side.
    ``bits_floor`` is the share of map and null that is spread evenly, so that no bin is impossible.

    Forgetting: the newest ``most_days`` days are kept; of the moves of one day and horizon at most
    ``most_moves_per_day``, chosen by a hash of market and time, which is a uniform sample that no order of arrival
    changes; of sums per day, market and side at most ``most_rows`` per horizon, oldest days first to go.

    Intervals are percentile bootstraps of ``resamples`` draws at ``level``, seeded by ``seed``, and are given from
    ``least_blocks`` blocks on (days, or accounts); a partial correlation from ``least_moves`` moves on.
    """

    step_ns: int = 5 * _MINUTE_NS
    horizons_ns: tuple[int, ...] = (5 * _MINUTE_NS, 60 * _MINUTE_NS, 240 * _MINUTE_NS, _DAY_NS)
    headline_horizon_ns: int = 60 * _MINUTE_NS
    move_threshold: float = 1.5
    volatility_half_life_ns: int = _DAY_NS
    least_volatility_cells: int = 12
    least_decile_bins: int = 10
    bits_floor: float = FLOOR
    most_days: int = 90
    most_moves_per_day: int = 2000
    most_rows: int = 100_000
    resamples: int = 500
    level: float = 0.95
    least_blocks: int = 5
    least_moves: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for horizon in self.horizons_ns:
            if horizon <= 0 or horizon % self.step_ns:
                raise InputError("horizons_ns", horizon, f"must be a positive multiple of step_ns = {self.step_ns}")
        if self.headline_horizon_ns not in self.horizons_ns:
            raise InputError("headline_horizon_ns", self.headline_horizon_ns, f"must be one of {self.horizons_ns}")
        if not 0 < self.level < 1:
            raise InputError("level", self.level, "must lie between 0 and 1")
        if not 0 < self.bits_floor < 1:
            raise InputError("bits_floor", self.bits_floor, "must lie between 0 and 1")

    def stale_after_ns(self, horizon_ns: int) -> int:
        """Age at which an open interest cannot stand for the edge of a window any more."""
        return horizon_ns // 4

    def longest_silence_ns(self, horizon_ns: int) -> int:
        """Longest time without a price inside a window that can be scored; recorded bars have one price per step."""
        return max(horizon_ns // 4, self.step_ns)
