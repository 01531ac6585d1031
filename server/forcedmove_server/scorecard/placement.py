"""Where liquidated, or liquidatable, notional lay on a map: the sums that bits, capture and profile are made of.

A row of sums has the columns :data:`COMMON`, then for each map those of :data:`PER_MAP`. The last map is always the
distance prior, which is the null of bits, capture and deviance as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.distance import band_means, band_of
from forcedmove_server.scorecard.frozen import Axis, Outcome
from forcedmove_server.scorecard.measures.bits import log_gain
from forcedmove_server.scorecard.measures.capture import decile_members, floored_mass
from forcedmove_server.scorecard.measures.profile import profile_distance
from forcedmove_server.scorecard.rules import ScoringRules

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: events, their USD and squared USD; the same for windows with enough bins for a decile; USD that random bins would
#: have caught; windows (sides of windows with at least two touched bins); USD of windows whose profile was compared
COMMON = ("events", "usd", "usd_squared", "decile_usd", "decile_usd_squared", "uniform_usd", "windows", "profile_usd")
#: gains in bits over the flattened map and over the prior, by event and by dollar; USD in the top decile, and of random
#: bins of the same distance band; ``sum(k log2 m)`` and ``sum(m)`` of the Poisson deviance, with floor; USD in touched
#: bins, without; distances weighted by USD
PER_MAP = (
    "flat_bits",
    "prior_bits",
    "flat_bits_usd",
    "prior_bits_usd",
    "captured_usd",
    "matched_usd",
    "log_mass",
    "mass_usd",
    "promised_usd",
    "wasserstein_bp_usd",
    "spearman_usd",
)


@dataclass(frozen=True, slots=True)
class TouchedSide:
    """One side of one market with the bins that were touched: the first ``touched`` of each profile.

    ``profiles`` float64 ``[K, N]`` whole profiles by map, outward from the mark, the distance prior last;
    ``usd_per_unit`` is what one unit of quantity is worth.
    """

    axis: Axis
    side: int
    profiles: F64
    touched: int
    usd_per_unit: float

    def sums(self, events: F64, usd: F64, usd_squared: F64, rules: ScoringRules) -> F64:
        """Sums of what fell on the touched bins: inputs ``[touched, A]`` by cluster, float64 ``[A, width]``.

        ``usd_squared`` are sums of squared notionals of single events. Window columns stay 0: see :meth:`window_sums`.
        """
        n, maps, clusters = self.touched, len(self.profiles), events.shape[1]
        common = np.zeros((clusters, len(COMMON)))
        per_map = np.zeros((clusters, maps, len(PER_MAP)))
        band = band_of(self.axis, self.side)
        here = self.profiles[:, :n]
        flat = log_gain(here, band_means(self.profiles, band)[:, :n], rules.bits_floor)
        prior = log_gain(here, here[-1], rules.bits_floor)
        common[:, 0], common[:, 1], common[:, 2] = events.sum(0), usd.sum(0), usd_squared.sum(0)
        for column, values, weights in ((0, flat, events), (1, prior, events), (2, flat, usd), (3, prior, usd)):
            per_map[:, :, column] = (values @ weights).T
        if n >= rules.least_decile_bins:
            member, matched = decile_members(here, band[:n])
            common[:, 3], common[:, 4] = common[:, 1], common[:, 2]
            common[:, 5] = common[:, 1] * float(member[0].sum()) / n
            per_map[:, :, 4], per_map[:, :, 5] = (member @ usd).T, (matched @ usd).T
        return np.concatenate([common, per_map.reshape(clusters, -1)], axis=1)

    def window_sums(self, events: F64, usd: F64, rules: ScoringRules) -> F64:
        """Sums that a window has once, with or without events: inputs ``[touched]``, float64 ``[width]``."""
        n, maps = self.touched, len(self.profiles)
        common, per_map = np.zeros(len(COMMON)), np.zeros((maps, len(PER_MAP)))
        mass = self.profiles[:, :n] * self.usd_per_unit
        common[6] = 1.0
        per_map[:, 8] = mass.sum(axis=1)
        mass = floored_mass(mass, mass[-1], rules.bits_floor)
        per_map[:, 7] = mass.sum(axis=1)
        total = float(usd.sum())
        if total > 0:
            hit = np.flatnonzero(events)
            per_map[:, 6] = np.log2(np.maximum(mass[:, hit], 1e-12)) @ events[hit]
            if n >= rules.least_decile_bins:
                common[7] = total
                width_bp = self.axis.bin_width_usd / self.axis.mark_usd * 1e4
                distance, rank = profile_distance(self.profiles[:, :n], usd, width_bp)
                per_map[:, 9], per_map[:, 10] = distance * total, rank * total
        return np.concatenate([common, per_map.ravel()])


class Placed(NamedTuple):
    """What was realised on one side of one window, for those who draw it.

    ``market`` is the number that the tables know it by; ``source`` is ``"liquidations"`` (of complete feeds) or
    ``"positions"``; ``cluster`` i64 ``[A]``, the day or the accounts; ``events`` and ``usd`` float64 ``[touched, A]``.
    """

    market: int
    outcome: Outcome
    view: TouchedSide
    source: str
    cluster: I64
    events: F64
    usd: F64


PlacementObserver = Callable[[Placed], None]


def width(maps: int) -> int:
    """Columns of a row of sums."""
    return len(COMMON) + maps * len(PER_MAP)


def common_column(rows: F64, name: str) -> F64:
    """One of the common columns of rows of sums: ``[n]``."""
    column: F64 = rows[:, COMMON.index(name)]
    return column


def map_column(rows: F64, number: int, name: str) -> F64:
    """One of the columns of map ``number``: ``[n]``."""
    column: F64 = rows[:, len(COMMON) + number * len(PER_MAP) + PER_MAP.index(name)]
    return column


def map_count(rows: F64) -> int:
    """Maps that rows of sums have columns of; the last one is the distance prior."""
    return int(rows.shape[1] - len(COMMON)) // len(PER_MAP)
