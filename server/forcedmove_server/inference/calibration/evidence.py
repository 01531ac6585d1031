"""What every market has shown so far, forgotten exponentially: rows of plain arrays, one per market."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.inference.calibration.window import Window

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: arrays by side and tier, ``[rows, 2, T]`` and one ``[rows, 2, T, T]``, and those with a value per market, ``[rows]``
BY_TIER = ("printed", "overlap", "hazard", "expected", "seen")
BY_MARKET = (
    "size", "size_squared", "opened", "opened_squared", "unplaced",
    "calm_printed", "calm_expected", "noise", "noise_weight",
)  # fmt: skip


class Evidence:
    """Running sums per market.

    ``printed``: quantity liquidated, by responsible tier under the weights of now; ``overlap``: the same by pairs of
    tiers, ``sum quantity p_t p_u`` over prints with responsibilities ``p``. ``hazard``: quantity that the crossed
    levels would have held had each tier had all the weight, so that ``weight x hazard`` is what to expect under any
    weights; this divides the selection out, a tier that is touched a hundred times more often having a hundredfold
    hazard. ``expected``: the exposure as it was, under the weights of the moment. ``seen``: visible positions now open,
    in effective counts.

    ``size``, ``size_squared``: sums of printed quantities and of their squares; ``opened``, ``opened_squared``: those
    of positions that opened. ``unplaced``: quantity printed where the map had crossed nothing. ``calm_printed``,
    ``calm_expected``: printed and exposed quantity of windows in which little was crossed. ``noise``,
    ``noise_weight``: see ``released``.
    """

    def __init__(self, rows: int, tiers: int) -> None:
        self.overlap = np.zeros((rows, 2, tiers, tiers))
        self.printed, self.hazard = np.zeros((rows, 2, tiers)), np.zeros((rows, 2, tiers))
        self.expected, self.seen = np.zeros((rows, 2, tiers)), np.zeros((rows, 2, tiers))
        self.size, self.size_squared, self.unplaced = np.zeros(rows), np.zeros(rows), np.zeros(rows)
        self.opened, self.opened_squared = np.zeros(rows), np.zeros(rows)
        self.calm_printed, self.calm_expected = np.zeros(rows), np.zeros(rows)
        self.noise, self.noise_weight = np.zeros(rows), np.zeros(rows)

    def grow(self, rows: int) -> None:
        """Make room for ``rows`` rows; new ones are empty."""
        for name in (*BY_TIER, *BY_MARKET):
            old = getattr(self, name)
            grown = np.zeros((rows, *old.shape[1:]))
            grown[: len(old)] = old
            setattr(self, name, grown)

    def clear(self, row: int) -> None:
        """Empty a row."""
        for name in (*BY_TIER, *BY_MARKET):
            getattr(self, name)[row] = 0.0

    def forget(self, factor: float) -> None:
        """Multiply everything by ``factor``."""
        for name in (*BY_TIER, *BY_MARKET):
            getattr(self, name)[:] *= factor

    def forget_openings(self, factor: float) -> None:
        """Multiply the sizes of what opened alone: they are no outcome, and taken in while frozen too."""
        self.opened *= factor
        self.opened_squared *= factor

    def typical_quantity(self) -> F64:
        """Size-biased mean of what was printed, ``sum q^2 / sum q``, float64 ``[rows]``; NaN where nothing was.

        A quantity over it is an effective count (Kish): the number of equal prints that say as much.
        """
        size = np.where(self.size > 0, self.size, np.nan)
        found: F64 = self.size_squared / size
        return found

    def counts(self, quantity: F64) -> F64:
        """Turn quantities ``[rows, 2, T]`` into effective counts; zero where nothing was printed."""
        found: F64 = np.nan_to_num(quantity / self.typical_quantity()[:, None, None])
        return found

    def ambiguous(self) -> F64:
        """Return the effective counts of each tier that were shared with other tiers, float64 ``[rows, 2, T]``."""
        return self.counts(np.maximum(self.printed - np.einsum("kstt->kst", self.overlap), 0.0))

    def add_prints(self, window: Window, order: I64, publishes: I64, window_counts: float) -> None:
        """Add the prints of a window and what was to be expected of it.

        ``order`` i64 ``[rows]`` is a place by which sums are ordered, so that they do not depend on the order of rows.
        ``publishes`` i8 ``[rows]``: 1 every liquidation, 0 some of them, -1 none.

        Where only some are published, how many is not known and falls in a burst: each window and side has a capture
        ratio of its own, Gamma distributed around the market's with shape ``window_counts`` (nu), and the hazard is
        scaled by its mean given what was printed, ``(nu + printed) / (nu / c + exposed)`` in effective counts. A burst
        thus tells of the split over tiers alone, a calm window also of how much a tier has beside another.
        """
        market, prints = window.market, window.prints
        heard = publishes[market] >= 0
        if window.heard is not None:
            heard = heard & window.heard
        place = np.zeros(len(publishes), np.int64)
        place[market] = np.arange(len(market))
        at = place[prints.market]
        part = np.flatnonzero(heard[at])
        part = part[np.argsort(order[prints.market[part]], kind="stable")]
        row, side, quantity, at = prints.market[part], prints.side[part], prints.quantity[part], at[part]

        crossed = window.exposure[at, side]
        likely = crossed if prints.likelihood is None else np.where(crossed > 0, prints.likelihood[part], 0.0)
        total = likely.sum(1)
        placed = total > 0
        share = likely[placed] / total[placed, None]
        np.add.at(self.unplaced, row[~placed], quantity[~placed])
        row, side, quantity, at = row[placed], side[placed], quantity[placed], at[placed]
        np.add.at(self.printed, (row, side), quantity[:, None] * share)
        np.add.at(self.overlap, (row, side), quantity[:, None, None] * share[:, :, None] * share[:, None, :])
        np.add.at(self.size, row, quantity)
        np.add.at(self.size_squared, row, quantity**2)

        printed = np.zeros((len(market), 2))
        np.add.at(printed, (at, side), quantity)
        exposed = window.exposure.sum(2)
        sampled = self._captured(market, printed, exposed, heard, window_counts)
        scale = np.where((publishes[market] == 1)[:, None], 1.0, sampled) * heard[:, None]
        unit = np.divide(window.exposure, window.weights, out=np.zeros_like(window.exposure), where=window.weights > 0)
        self.hazard[market] += scale[:, :, None] * unit
        self.expected[market] += np.where(heard[:, None, None], window.exposure, 0.0)

    def _captured(self, market: I64, printed: F64, exposed: F64, heard: NDArray[np.bool_], window_counts: float) -> F64:
        """Return the capture ratio of each market and side in a window, ``[N, 2]``, if not all is published.

        The market's own is ``sum a printed / sum a exposed`` with ``a = nu / (nu + c exposed)``: the estimate under
        which windows vary as above, in which bursts hardly count.
        """
        typical = self.typical_quantity()[market, None]
        typical = np.where(np.isfinite(typical), typical, np.inf)
        before, calm = self.calm_expected[market, None], self.calm_printed[market, None]
        whole = np.where(before > 0, calm / np.where(before > 0, before, 1.0), 0.0)
        weight = window_counts / (window_counts + whole * exposed / typical) * heard[:, None]
        self.calm_printed[market] += (weight * printed).sum(1)
        self.calm_expected[market] += (weight * exposed).sum(1)
        nothing = np.where(exposed > 0, printed / np.where(exposed > 0, exposed, 1.0), 0.0)
        rate = window_counts / np.where(whole > 0, whole, 1.0) + exposed / typical
        found: F64 = np.where(whole > 0, (window_counts + printed / typical) / rate, nothing)
        return found

    def rebase(self, change: F64) -> None:
        """Move responsibilities to new weights; ``change`` float64 ``[rows, 2, T]`` is that of their logarithm.

        Responsibilities of prints that are not kept cannot be computed again, but their sums can be to first order:
        ``d p_t = p_t (d_t - sum_u p_u d_u)`` summed is ``printed_t d_t - sum_u overlap_tu d_u``. Without this, online
        expectation maximisation goes on by one step per memory instead of one per fit.
        """
        held = np.where(self.printed > 0, self.printed, 1.0)
        mean = (self.overlap @ change[..., None])[..., 0] / held
        factor = np.exp(np.clip(change - mean, -1.0, 1.0))
        total = self.printed.sum(2, keepdims=True)
        moved = self.printed * factor
        whole = moved.sum(2, keepdims=True)
        moved *= total / np.where(whole > 0, whole, 1.0)
        self.overlap *= factor[..., :, None] * factor[..., None, :]
        rows = self.overlap.sum(3)
        scale = np.sqrt(moved / np.where(rows > 0, rows, 1.0))
        self.overlap *= scale[..., :, None] * scale[..., None, :]
        self.printed = moved

    def set_positions(self, of: I64, market: I64, side: I64, quantity: F64, tier: I64, most_counts: float) -> None:
        """Replace what is visible of the markets ``of`` by these positions, arrays ``[P]``.

        At most ``most_counts`` effective counts per market: those who can be seen are not a fair sample.
        """
        self.seen[of] = 0.0
        np.add.at(self.seen, (market, side, tier), quantity)
        squares = np.zeros(len(self.seen))
        np.add.at(squares, market, quantity**2)
        total = self.seen[of].sum((1, 2))
        counted = np.where(total > 0, total / np.where(total > 0, squares[of], 1.0), 0.0)
        self.seen[of] *= (counted * np.minimum(1.0, most_counts / np.maximum(counted * total, most_counts)))[
            :, None, None
        ]
