"""What a map said of one market at ``t``, and what happened in ``(t, t + H]``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, price_units
from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def bin_of(price_usd: ArrayLike, bin_width_usd: ArrayLike) -> I64:
    """Absolute bins of prices, cut as the engine cuts them: i64 of the input's shape."""
    return (price_units(price_usd, bin_width_usd) >> PRICE_BITS).astype(np.int64)


def _bin_of(price_usd: float, bin_width_usd: float) -> int:
    """:func:`bin_of` of one price, ten times as fast."""
    return max(round(price_usd * (1 << PRICE_BITS) / bin_width_usd), 1) >> PRICE_BITS


@dataclass(frozen=True, slots=True)
class FrozenMap:
    """A map of one market at ``at_ns``.

    ``levels`` float64 ``[2, B]``: quantity liquidated if the mark reaches the bin, side 0 long; absolute bin
    ``first_bin + b`` covers ``[bin, bin + 1) * bin_width_usd``. ``open_interest`` in the same unit, counted on one
    side. Raises InputError for levels of another shape, negative or not finite, and for a mark outside the bins.
    """

    name: str
    market: int
    at_ns: int
    mark_usd: float
    bin_width_usd: float
    first_bin: int
    levels: F64
    open_interest: float

    def __post_init__(self) -> None:
        if self.levels.ndim != 2 or self.levels.shape[0] != 2:
            raise InputError("levels", self.levels.shape, "must have shape [2, bins]: long, short")
        # one pass: negatives, infinities and NaN all fail it
        if not (self.levels.size and self.levels.min() >= 0 and math.isfinite(self.levels.max())):
            raise InputError("levels", self.name, "must be finite and not negative, with at least one bin")
        if not (math.isfinite(self.open_interest) and self.open_interest >= 0):
            raise InputError("open_interest", self.open_interest, "must be finite and not negative")
        for name, value in (("mark_usd", self.mark_usd), ("bin_width_usd", self.bin_width_usd)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(name, value, "must be a positive number")
        if not 0 <= self.axis.mark_index < self.levels.shape[1]:
            raise InputError("mark_usd", self.mark_usd, f"lies outside the map's bins from {self.first_bin} on")

    @property
    def axis(self) -> Axis:
        """Bins and mark."""
        return Axis.of(self.mark_usd, self.bin_width_usd, self.first_bin, self.levels.shape[1])

    def profile(self, side: int) -> F64:
        """One side outward from the mark: float64 ``[n]``; see :class:`Axis`."""
        return self.axis.outward(self.levels, side)


@dataclass(frozen=True, slots=True)
class Axis:
    """Bins in the order in which a move away from the mark touches them.

    A *profile* of a side has the mark's own bin first, then lower bins for longs and higher ones for shorts, to the
    edge of the window. So what a move touched is always the first so many entries of a profile.
    """

    mark_usd: float
    bin_width_usd: float
    first_bin: int
    bins: int
    #: index of the mark's bin inside the window
    mark_index: int

    @classmethod
    def of(cls, mark_usd: float, bin_width_usd: float, first_bin: int, bins: int) -> Axis:
        """Return the axis of a window of ``bins`` bins from ``first_bin`` on."""
        return cls(mark_usd, bin_width_usd, first_bin, bins, _bin_of(mark_usd, bin_width_usd) - first_bin)

    def length(self, side: int) -> int:
        """Entries of a side's profile."""
        return self.mark_index + 1 if side == LONG else self.bins - self.mark_index

    def outward(self, levels: F64, side: int) -> F64:
        """View the profile of one side of ``levels`` ``[2, B]``."""
        here = self.mark_index
        profile: F64 = levels[0, here::-1] if side == LONG else levels[1, here:]
        return profile

    def offsets(self, side: int, bins: ArrayLike) -> I64:
        """Entry of a side's profile of each absolute bin; negative on the other side of the mark."""
        away = np.asarray(bins, np.int64) - (self.first_bin + self.mark_index)
        return -away if side == LONG else away

    def touched(self, side: int, extreme_usd: float) -> int:
        """Entries that a path from the mark to ``extreme_usd`` touches, the mark's own bin among them.

        May exceed :meth:`length`: the path left the window.
        """
        away = _bin_of(extreme_usd, self.bin_width_usd) - (self.first_bin + self.mark_index)
        return max(-away if side == LONG else away, 0) + 1

    def prices(self, side: int) -> F64:
        """Centres of a profile's bins in USD."""
        steps = np.arange(self.length(side), dtype=np.float64)
        here = self.first_bin + self.mark_index
        centres: F64 = (here + (-steps if side == LONG else steps) + 0.5) * self.bin_width_usd
        return centres

    def far_edges(self, side: int) -> F64:
        """The edge of each entry that is further from the mark, in USD."""
        return self.prices(side) + (-0.5 if side == LONG else 0.5) * self.bin_width_usd


@dataclass(frozen=True, slots=True)
class Liquidations:
    """Forced closes of one market in one window, summed by side and absolute bin: arrays ``[n]``.

    ``usd_squared`` is the sum of the squared notionals of single events, for effective sample sizes.
    """

    side: I64
    bin: I64
    quantity: F64
    usd: F64
    usd_squared: F64
    events: F64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one market in ``(at_ns, at_ns + horizon_ns]``.

    ``mark_usd`` is the trigger price at ``at_ns``; ``low_usd`` and ``high_usd`` are its extremes, that value included.
    ``open_interest`` is the last reported one at either end, None where it was stale. ``liquidations`` is None without
    a feed; ``liquidations_complete`` says whether the feed carries every liquidation, and is False too after a gap.
    ``volatility`` is the standard deviation of log price per square root of a second and ``interest_change_before`` the
    log change of open interest over the window before; both were known at ``at_ns``. ``unscored`` is the reason why the
    price path, and with it the whole window, cannot be scored.
    """

    market: int
    at_ns: int
    horizon_ns: int
    mark_usd: float
    low_usd: float
    high_usd: float
    open_interest: float | None = None
    open_interest_end: float | None = None
    liquidations: Liquidations | None = None
    liquidations_complete: bool | None = None
    volatility: float | None = None
    interest_change_before: float | None = None
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class KnownPositions:
    """Open positions of one market whose liquidation price is known: arrays ``[n]``.

    ``account`` numbers the account, the cluster of the bootstrap.
    """

    side: I64
    level_usd: F64
    notional_usd: F64
    account: I64
