"""Leverage weights that learn: evidence of every window in, weights and their certainty out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.inference.calibration import saved
from forcedmove_server.inference.calibration.learnt import Learnt
from forcedmove_server.inference.calibration.market_fit import MarketCounts, fit_markets, readable
from forcedmove_server.inference.calibration.settings import DAY_NS, CalibrationSettings
from forcedmove_server.inference.calibration.venue_fit import VenueCounts, fit_venues, usual_tail
from forcedmove_server.inference.calibration.window import Window, checked_positions

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: evidence, in effective counts, below which a delisted market is forgotten
_NEGLIGIBLE = 0.01


@dataclass(frozen=True, slots=True)
class Capture:
    """Quantity liquidated over quantity crossed, under the weights of the moment: ``overall``, ``by_tier`` ``[T]``.

    NaN where nothing was crossed. A floor where the venue publishes only some liquidations. ``released``
    ``[2]`` is the share of what is crossed that leaves open interest, by side (NaN while it is not seen to follow the
    map), ``reliability`` the share of the predicted gain in explaining released open interest that came true out of
    sample.
    """

    overall: float
    by_tier: F64
    released: F64
    reliability: float


@dataclass(frozen=True, slots=True)
class ReleasedCounts:
    """What open interest has told of a venue: ``windows`` that it was watched in, and ``counts`` float64 ``[2, T]``.

    ``counts`` are what it is worth by side and tier, in effective counts as those of prints; 0 while it is not trusted.
    """

    windows: float
    counts: F64


@dataclass(frozen=True, slots=True)
class EvidenceCounts:
    """Evidence of markets, forgotten as of now: float64 ``[K, 2, T]`` in effective counts; ``unplaced`` ``[K]``.

    ``printed`` and ``expected`` (under the weights of the moment) liquidations, ``seen`` visible positions.
    ``unplaced`` is the share of the printed quantity that the map had nothing crossed for; NaN without prints.
    """

    printed: F64
    expected: F64
    seen: F64
    unplaced: F64


class Calibration:
    """Online calibration of ``w[market, side, tier]``: MODEL sections 3 and 7.

    ``leverages`` float64 ``[T]``, ascending. Rows are handed out by :meth:`new_market`. Weights change in
    :meth:`observe` and :meth:`observe_positions` only, at most once per ``refresh_ns`` of event time. Results do not
    depend on the order in which markets and venues were registered. Memory grows with the number of markets alone.
    """

    def __init__(self, leverages: F64, settings: CalibrationSettings | None = None) -> None:
        if not (len(leverages) and (np.diff(leverages) > 0).all() and leverages[0] > 0):
            raise InputError("leverages", leverages.tolist(), "must be positive and ascend")
        self.leverages, self.settings = leverages.astype(np.float64), settings or CalibrationSettings()
        self._learnt = Learnt(self.leverages, self.settings)

    def new_market(self, key: str, venue: str, prior: F64, publishes_all: bool | None, tail: F64 | None = None) -> int:
        """Register a market and return its row; one known by this key (restored, delisted) gets its row back.

        ``prior`` float64 ``[2, T]``: each side sums to one, tiers that are not offered are zero. ``publishes_all``:
        whether the venue publishes all liquidations (True), some (False) or none (None); the same for all of a venue.
        ``tail`` float64 ``[T]`` in 0..1: how much each tier belongs to the prior's tail, which gains or loses as a
        whole; default: :func:`~.venue_fit.usual_tail`.
        """
        if prior.shape != (2, len(self.leverages)):
            raise InputError("prior", prior.shape, f"must have shape {(2, len(self.leverages))}")
        if not ((prior >= 0).all() and np.allclose(prior.sum(1), 1.0)):
            raise InputError("prior", prior.tolist(), "each side must sum to one")
        if tail is None:
            tail = usual_tail(self.leverages)
        if tail.shape != self.leverages.shape or not ((tail >= 0) & (tail <= 1)).all():
            raise InputError("tail", tail.tolist(), "must be a share in 0..1 per tier")
        markets = self._learnt.markets
        known = markets.row_of.get(key)
        before = None if known is None else markets.prior[known].copy()
        row = markets.add(key, venue, prior, publishes_all, tail)
        self._learnt.make_room()
        if before is None or (before != prior).any():
            self._learnt.set_unseen(np.array([row]))
        return row

    def delist(self, key: str) -> None:
        """End a market: its evidence still counts for its venue while it fades; then its row is given to another."""
        self._learnt.markets.live[self.row(key)] = False

    def row(self, key: str) -> int:
        """Return the row of a live market; :class:`UnknownNameError` if there is none."""
        row = self._learnt.markets.row_of.get(key)
        if row is None or not self._learnt.markets.live[row]:
            raise UnknownNameError("market", key, sorted(self.keys()))
        return row

    def keys(self) -> list[str]:
        """Return the keys of the live markets by row."""
        markets = self._learnt.markets
        return [markets.keys[row] for row in np.flatnonzero(markets.live).tolist()]

    @property
    def frozen(self) -> bool:
        """Whether nothing is learnt."""
        return self._learnt.frozen

    def freeze(self) -> None:
        """Let nothing be learnt and nothing be forgotten until :meth:`thaw`."""
        self._learnt.frozen = True

    def thaw(self) -> None:
        """Learn again; the time between counts for nothing."""
        self._learnt.frozen = False

    def observe(self, window: Window) -> None:
        """Take in one window; one that ends before the last one did is taken as if they had ended together.

        Raises :class:`InputError` for shapes and values that cannot be, before anything is changed.
        """
        learnt = self._learnt
        window.checked(learnt.markets.used, len(self.leverages))
        if not self._advance(window.until_ns):
            return
        publishes = learnt.markets.publishes_by_row()
        learnt.evidence.add_prints(window, learnt.markets.order, publishes, self.settings.window_counts)
        self._observe_released(window)
        self._refresh()

    def observe_positions(self, at_ns: int, of: I64, market: I64, side: I64, quantity: F64, tier: I64) -> None:
        """Replace the visible positions of the rows ``of`` by these, arrays ``[P]``; see ``tiers`` for ``tier``.

        A market in ``of`` without positions has none any more. They fade like other evidence until they are replaced.
        """
        learnt = self._learnt
        checked_positions(of, market, side, quantity, tier, learnt.markets.used, learnt.markets.prior)
        if self._advance(at_ns):
            learnt.evidence.set_positions(of, market, side, quantity, tier, self.settings.most_positions)
            self._refresh()

    def observe_bins(
        self, venue: str, mean: F64, variance_w: F64, realised: F64, typical_quantity: F64 | float
    ) -> None:
        """Take in bins of a venue that were touched, arrays ``[n]``; see :meth:`Dispersion.observe`."""
        if not self.frozen:
            number = self._learnt.markets.venue_number(venue)
            self._learnt.dispersions[number].observe(mean, variance_w, realised, typical_quantity)

    def observe_openings(self, rows: I64, quantity: F64, squares: F64) -> None:
        """Add what was opened in markets, and the sum of the squares of single openings, float64 ``[K]`` each.

        That is no outcome: it is taken in while frozen too.
        """
        evidence = self._learnt.evidence
        evidence.opened[rows] += quantity
        evidence.opened_squared[rows] += squares

    def phi(self, venue: str) -> float:
        """Return the factor on the variance of bins by which a venue's bands cover what they claim."""
        return self._learnt.dispersions[self._learnt.markets.venue_number(venue)].phi

    def weights(self, rows: I64) -> F64:
        """Return the weights of markets, float64 ``[K, 2, T]``; each side sums to one over the tiers offered."""
        found: F64 = self._learnt.market_fit.weights[rows]
        return found

    def shape(self, rows: I64) -> F64:
        """Return the certainty of each weight, float64 ``[K, 2, T]``: its relative variance is one over this."""
        found: F64 = self._learnt.market_fit.shape[rows]
        return found

    def common_deviation(self, rows: I64) -> F64:
        """Return by how much of itself each weight is off where the prior is, float64 ``[K, 2, T]``.

        Priors of all venues come from the same few measurements, so this is one error per tier for all venues and both
        sides: ``prior_log_sd``, times the share of the prior in what a venue's weight rests on.
        """
        learnt = self._learnt
        left = learnt.venue_fit.left[learnt.markets.venue[rows]]
        found: F64 = self.settings.prior_log_sd * left.reshape(len(rows), 2, len(self.leverages))
        return found

    def opened_sizes(self, rows: I64) -> tuple[F64, F64]:
        """Return the sum of opened quantities and that of their squares, float64 ``[K]`` each."""
        evidence = self._learnt.evidence
        return evidence.opened[rows], evidence.opened_squared[rows]

    def printed_sizes(self, rows: I64) -> tuple[F64, F64]:
        """Return the sum of printed quantities and that of their squares, float64 ``[K]`` each."""
        evidence = self._learnt.evidence
        return evidence.size[rows], evidence.size_squared[rows]

    def size_from(self, total: F64, squares: F64, expected: F64 | float) -> F64:
        """Return size-biased mean quantities from such sums, as if ``size_prints`` of ``expected`` stood before them.

        It is what the variance of a compound Poisson bin is made of, per quantity in the mean.
        """
        before = self.settings.size_prints * np.asarray(expected, np.float64)
        found: F64 = (squares + before * expected) / (total + before)
        return found

    def counts(self, rows: I64) -> EvidenceCounts:
        """Return what the weights of markets rest on."""
        evidence = self._learnt.evidence
        printed = evidence.printed.sum((1, 2)) + evidence.unplaced
        unplaced = np.where(printed > 0, evidence.unplaced, np.nan) / np.where(printed > 0, printed, 1.0)
        return EvidenceCounts(
            evidence.counts(evidence.printed)[rows],
            evidence.counts(evidence.expected)[rows],
            evidence.seen[rows],
            unplaced[rows],
        )

    def capture(self, venue: str) -> Capture:
        """Return the capture ratios of a venue; :class:`UnknownNameError` if it never had a market."""
        learnt = self._learnt
        number, own = learnt.markets.venue_number(venue), learnt.markets.sorted_rows
        own = own[learnt.markets.venue[own] == number]
        printed = learnt.evidence.counts(learnt.evidence.printed)[own].sum((0, 1))
        expected = learnt.evidence.counts(learnt.evidence.expected)[own].sum((0, 1))
        by_tier = np.where(expected > 0, printed, np.nan) / np.where(expected > 0, expected, 1.0)
        overall = float(printed.sum() / expected.sum()) if expected.sum() > 0 else float("nan")
        reliability = float(learnt.released.reliability()[number])
        whole = (learnt.markets.mean_prior() * learnt.venue_fit.ratio)[number].reshape(2, -1).sum(1)
        released = learnt.venue_fit.released_capture[number] * whole
        if not reliability > 0:
            released = np.full(2, np.nan)
        return Capture(overall, by_tier, released, reliability)

    def released_counts(self, venue: str) -> ReleasedCounts:
        """Return the evidence of open interest of a venue; :class:`UnknownNameError` if it never had a market."""
        learnt = self._learnt
        number = learnt.markets.venue_number(venue)
        counts = learnt.venue_fit.interest[number].reshape(2, len(self.leverages)).copy()
        return ReleasedCounts(float(learnt.released.windows[number]), counts)

    def save(self, path: Path) -> None:
        """Write everything learnt to one file; it appears whole or not at all."""
        saved.save(path, self._learnt.state())

    def restore(self, path: Path) -> None:
        """Take over what a file holds, markets by key and venues by name, in place of what was learnt here.

        Markets of the file that are not registered here keep counting for their venue and wait for
        :meth:`new_market`; priors are those registered here. Raises :class:`FileFormatError` for a file that is not a
        calibration of these tiers and this version, or contradicts what is registered; then nothing has changed.
        """
        self._learnt = self._learnt.restored(path)

    def _advance(self, until_ns: int) -> bool:
        """Move the clock, forgetting what the time between is worth; False while frozen."""
        learnt = self._learnt
        before = learnt.clock_ns if learnt.clock_ns is not None else until_ns
        passed = max(until_ns - before, 0)
        learnt.clock_ns = before + passed
        kept = 2.0 ** (-passed / (self.settings.half_life_days * DAY_NS))
        if learnt.frozen:
            learnt.fitted_ns = None if learnt.fitted_ns is None else learnt.fitted_ns + passed
            learnt.evidence.forget_openings(kept)
            return False
        if passed:
            learnt.forget(kept)
        return True

    def _observe_released(self, window: Window) -> None:
        if window.released is None or window.open_interest is None or window.move is None:
            return
        known = np.isfinite(window.released) & np.isfinite(window.move) & (window.open_interest > 0)
        at = np.flatnonzero(known & np.isfinite(window.open_interest))
        at = at[np.argsort(self._learnt.markets.order[window.market[at]])]
        row, exposure, weights = window.market[at], window.exposure[at], window.weights[at]
        unit = np.divide(exposure, weights, out=np.zeros_like(exposure), where=weights > 0)
        at_prior = (self._learnt.markets.prior[row] * unit).reshape(len(at), 2 * len(self.leverages))
        self._learnt.released.observe(
            self._learnt.markets.venue[row],
            row,
            window.move[at],
            at_prior / window.open_interest[at, None],
            window.released[at] / window.open_interest[at],
            self._learnt.venue_fit.ratio,
            self._learnt.evidence,
        )

    def _refresh(self) -> None:
        learnt = self._learnt
        now, last = learnt.clock_ns, learnt.fitted_ns
        if now is None or (last is not None and now - last < self.settings.refresh_ns):
            return
        learnt.fitted_ns = now
        self._drop_faded()
        own = self._market_counts()
        counts = self._venue_counts(own)
        markets = learnt.markets
        learnt.venue_fit = fit_venues(counts, self.settings, learnt.venue_fit)
        before = learnt.market_fit.weights
        learnt.market_fit = fit_markets(markets.prior, own, markets.venue, counts, learnt.venue_fit, self.settings)
        offered = markets.prior > 0
        learnt.evidence.rebase(
            np.log(np.divide(learnt.market_fit.weights, before, out=np.ones_like(before), where=offered))
        )

    def _drop_faded(self) -> None:
        markets, evidence = self._learnt.markets, self._learnt.evidence
        held = evidence.counts(evidence.printed).sum((1, 2)) + evidence.seen.sum((1, 2))
        for row in np.flatnonzero(~markets.live & markets.used & (held < _NEGLIGIBLE)).tolist():
            markets.free(row)
            evidence.clear(row)

    def _market_counts(self) -> MarketCounts:
        evidence, prior = self._learnt.evidence, self._learnt.markets.prior
        wide = (len(prior), 2 * len(self.leverages))
        markets = self._learnt.markets
        printed = evidence.counts(evidence.printed).reshape(wide)
        hazard = evidence.counts(prior * evidence.hazard).reshape(wide)
        worth = readable(
            markets.sum_by_venue(printed),
            markets.sum_by_venue(hazard),
            markets.sum_by_venue(evidence.ambiguous().reshape(wide)),
            self.settings.misplaced,
        )[markets.venue]
        return MarketCounts(
            printed * worth,
            hazard * worth,
            evidence.seen.reshape(wide),
            (prior * evidence.seen.sum(2, keepdims=True)).reshape(wide),
        )

    def _venue_counts(self, own: MarketCounts) -> VenueCounts:
        markets, released = self._learnt.markets, self._learnt.released
        profiled, reliability = released.profiled(), released.reliability()
        return VenueCounts(
            markets.sum_by_venue(own.printed),
            markets.sum_by_venue(own.hazard),
            markets.sum_by_venue(own.seen),
            markets.sum_by_venue(own.seen_expected),
            profiled.gram * reliability[:, None, None],
            profiled.cross * reliability[:, None],
            markets.publishes == 1,
            markets.mean_prior(),
            markets.mean_tail(),
        )
