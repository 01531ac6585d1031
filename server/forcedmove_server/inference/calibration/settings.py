"""Every number that the calibration takes for granted, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forcedmove_server.errors import InputError

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """Strengths in effective counts, bounds, and widths of priors.

    ``prior_counts`` is the strength of a venue's prior, per side and tier in the mean: as many effective liquidations
    seen move a weight half-way, in the mean over tiers. It is dealt out as the prior's own weight is, each tier having
    ``least_prior_counts`` at least. ``market_counts`` (kappa) is the strength with which a market is held to its venue.
    ``half_life_days`` of event time is the age at which evidence counts half. ``most_change`` bounds weight over prior
    both ways. The visible positions of a market count at most ``most_positions``: who can be seen is no fair sample.
    ``size_prints`` prints of the expected size stand before what was printed when its size is asked for.
    ``level`` is that of the bands whose coverage is watched. ``refresh_ns`` of event time lie between two solutions.

    Published tables of leverage differ threefold, which two draws do whose logarithms have a standard deviation of
    ``prior_log_sd``: so far off a tier's prior may be, at all venues together. Bands take it from there. Learning is
    held tighter, by ``prior_counts``, since it is the map itself that says which tier a liquidation was of.

    What priors disagree on most is the tail as a whole: the logarithm of its ratio to the prior is normal with
    ``tail_log_sd`` (published tables differ threefold), besides what each tier may do of its own.

    Where a venue publishes every liquidation, the quantity liquidated per quantity crossed (the capture ratio) is
    taken to be log-normal around 1 with ``capture_log_sd``, and a market's around its venue's with
    ``market_capture_log_sd``; where it does not, the capture ratio is free, and of a window with more than
    ``window_counts`` effective liquidations little but the split over tiers counts. Of all prints a share
    ``misplaced`` is taken to be given to a wrong tier for reasons that no likelihood knows; see ``readable``.

    What share of crossed open interest leaves is free: who takes the other side may have opened. Residuals beyond
    ``most_deviations`` standard deviations weigh less, and ``trust_counts`` effective counts of predicted gain have to
    come true before open interest is half trusted.
    """

    prior_counts: float = 20.0
    least_prior_counts: float = 0.5
    market_counts: float = 60.0
    half_life_days: float = 14.0
    most_change: float = 8.0
    prior_log_sd: float = 0.7
    tail_log_sd: float = 0.7
    most_positions: float = 200.0
    refresh_ns: int = 3600 * 10**9
    capture_log_sd: float = 0.3
    market_capture_log_sd: float = 0.25
    window_counts: float = 3.0
    misplaced: float = 0.005
    most_deviations: float = 4.0
    trust_counts: float = 10.0
    size_prints: float = 3.0
    level: float = 0.9

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(name, value, "must be a positive finite number")
        if self.level >= 1:
            raise InputError("level", self.level, "must be below 1")
        if self.most_change <= 1:
            raise InputError("most_change", self.most_change, "must be above 1")
