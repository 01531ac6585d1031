"""What happened in one window of time, beside what the map frozen at its begin said of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prints:
    """Liquidation prints, all arrays ``[P]``: row of the market, side of the position (0 long, 1 short), quantity.

    ``likelihood`` float64 ``[P, T]`` is what the frozen map holds of that side around the print's bin, by tier, under
    the weights of the moment; without it a print is split as what was crossed.
    """

    market: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    side: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    quantity: F64 = field(default_factory=lambda: np.zeros(0))
    likelihood: F64 | None = None

    def checked(self, tiers: int) -> None:
        """Raise :class:`InputError` for what cannot be."""
        count = len(self.market)
        _shaped("prints.side", self.side, (count,))
        _shaped("prints.quantity", self.quantity, (count,))
        if not np.isin(self.side, (0, 1)).all():
            raise InputError("prints.side", self.side.tolist()[:8], "must be 0 (long) or 1 (short)")
        _quantities("prints.quantity", self.quantity)
        if self.likelihood is not None:
            _shaped("prints.likelihood", self.likelihood, (count, tiers))
            _quantities("prints.likelihood", self.likelihood)


@dataclass(frozen=True, slots=True)
class Window:
    """One window of ``N`` distinct markets that ends at ``until_ns``; rows are those of :meth:`Calibration.new_market`.

    ``exposure`` float64 ``[N, 2, T]``: the quantity which the map frozen at the begin had at the levels that the
    trigger price then crossed, by side and tier, under ``weights`` ``[N, 2, T]``. Quantities are in one unit per
    market, that of its open interest. ``heard`` bool ``[N]``: whether the feed of liquidations was up throughout
    (default: yes); where it was not, neither prints nor their absence count.

    ``released`` float64 ``[N]``: open interest at the begin less that at the end; ``open_interest`` at the begin;
    ``move``: signed log return from the begin to the extreme. NaN where not known; leave all three out alike.
    """

    until_ns: int
    market: I64
    exposure: F64
    weights: F64
    prints: Prints = field(default_factory=Prints)
    heard: NDArray[np.bool_] | None = None
    released: F64 | None = None
    open_interest: F64 | None = None
    move: F64 | None = None

    def checked(self, used: NDArray[np.bool_], tiers: int) -> None:
        """Raise :class:`InputError` for what cannot be; ``used`` bool ``[rows]`` says which rows have a market."""
        count = len(self.market)
        _known("market", self.market, used)
        if len(np.unique(self.market)) != count:
            raise InputError("market", count, "a market may come once per window")
        for name in ("exposure", "weights"):
            _shaped(name, getattr(self, name), (count, 2, tiers))
            _quantities(name, getattr(self, name))
        if ((self.exposure > 0) & (self.weights <= 0)).any():
            raise InputError("exposure", float(self.exposure.max()), "must be zero where the weight is")
        if self.heard is not None:
            _shaped("heard", self.heard, (count,))
        given = [getattr(self, name) is not None for name in ("released", "open_interest", "move")]
        if any(given) != all(given):
            raise InputError("released", given, "comes with open_interest and move, or not at all")
        for name in ("released", "open_interest", "move"):
            if getattr(self, name) is not None:
                _shaped(name, getattr(self, name), (count,))
        self.prints.checked(tiers)
        if not np.isin(self.prints.market, self.market).all():
            raise InputError("prints.market", self.prints.market.tolist()[:8], "must be among the window's markets")


def checked_positions(
    of: I64, market: I64, side: I64, quantity: F64, tier: I64, used: NDArray[np.bool_], prior: F64
) -> None:
    """Raise :class:`InputError` for visible positions that cannot be; ``prior`` float64 ``[rows, 2, T]``."""
    _known("of", of, used)
    for name, values in (("side", side), ("quantity", quantity), ("tier", tier)):
        _shaped(name, values, market.shape)
    if not np.isin(market, of).all():
        raise InputError("market", market.tolist()[:8], "must be among the markets told of")
    if not np.isin(side, (0, 1)).all():
        raise InputError("side", side.tolist()[:8], "must be 0 (long) or 1 (short)")
    if not (np.isfinite(quantity).all() and (quantity > 0).all()):
        raise InputError("quantity", quantity.tolist()[:8], "must be finite and positive")
    inside = (tier >= 0) & (tier < prior.shape[2])
    if not (inside.all() and (prior[market, side, tier] > 0).all()):
        raise InputError("tier", tier.tolist()[:8], "must be one that the market offers")


def _known(name: str, market: I64, used: NDArray[np.bool_]) -> None:
    if len(market) and not (market.min() >= 0 and market.max() < len(used) and used[market].all()):
        raise InputError(name, market.tolist()[:8], "must be rows of markets")


def _shaped(name: str, values: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(name, values.shape, f"must have shape {shape}")


def _quantities(name: str, values: F64) -> None:
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(name, values.tolist()[:4], "must be finite and not negative")
