"""Lift by decile: how much of what was realised lay in each tenth of the touched bins, from thinnest to densest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.distance import band_means
from forcedmove_server.scorecard.report.result import DecileLift
from forcedmove_server.scorecard.resampling import Resampling

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

DECILES = 10


def decile_members(profile: ArrayLike) -> F64:
    """Membership of each bin in each tenth of bins by density: float64 ``[10, n]``, the densest tenth last.

    Columns sum to one and rows to ``n / 10``: a bin may belong to two tenths in part, and bins of equal density share
    theirs evenly, so a constant profile has a tenth of every bin in every decile.
    """
    values = np.asarray(profile, np.float64)
    n = len(values)
    begin = np.arange(n) * (DECILES / n)
    tenth = np.arange(DECILES)[:, None]
    ordered = np.maximum(np.minimum(begin + DECILES / n, tenth + 1) - np.maximum(begin, tenth), 0.0) * (n / DECILES)
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    # sorted by density, ties are neighbours: every one gets the mean of their run
    starts = np.cumsum(sizes) - sizes
    member: F64 = (np.add.reduceat(ordered, starts, axis=1) / sizes)[:, group]
    return member


class DecileSums:
    """Adds up realised USD by decile, window after window; see :meth:`add`.

    Memory: 21 floats per map, horizon, source and cluster (day, or account).
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int, str], dict[int, F64]] = {}
        self._events: dict[tuple[str, int, str], int] = {}

    def add(
        self,
        map_name: str,
        horizon_ns: int,
        source: str,
        cluster: ArrayLike,
        profile: ArrayLike,
        usd: ArrayLike,
        band: I64,
        events: int,
    ) -> None:
        """Take one side of one window: ``profile`` and ``band`` ``[n]`` on the touched bins, outward.

        ``usd`` ``[n, A]`` (``[n]`` for a single ``cluster``) is what was realised per bin and cluster in ``events``
        events, ``cluster`` ``[A]`` who or when that was; ``band`` ascending distance bands
        (:func:`~forcedmove_server.scorecard.distance.band_of`). Windows of fewer than ten bins have no deciles and are
        left out. Raises InputError for arrays of different lengths.
        """
        values, labels = np.asarray(profile, np.float64), np.atleast_1d(np.asarray(cluster, np.int64))
        amount = np.asarray(usd, np.float64)
        if not len(values) == len(amount) == len(band):
            raise InputError("usd", len(amount), f"must have the profile's length {len(values)}, as band", map_name)
        amount = amount.reshape(len(amount), -1)
        if amount.shape[1] != len(labels):
            raise InputError("usd", amount.shape[1], f"must have a column per cluster, {len(labels)}", map_name)
        if len(values) < DECILES or not amount.any():
            return
        key, member = (map_name, horizon_ns, source), decile_members(values)
        rows = np.concatenate([member @ amount, band_means(member, band) @ amount, [amount.sum(axis=0)]]).T
        clusters = self._sums.setdefault(key, {})
        for label, row in zip(labels.tolist(), rows, strict=True):
            clusters[label] = clusters[label] + row if label in clusters else row
        self._events[key] = self._events.get(key, 0) + events

    def lifts(self, resampling: Resampling) -> tuple[DecileLift, ...]:
        """Return shares with cluster-bootstrap intervals, in the order in which maps, horizons and sources came."""
        found = []
        for (map_name, horizon_ns, source), clusters in self._sums.items():
            ordered = sorted(clusters)
            sums = np.stack([clusters[c] for c in ordered])
            total, n = sums[:, -1], self._events[map_name, horizon_ns, source]
            shares = tuple(resampling.ratio(sums[:, d], total, np.array(ordered), n=n) for d in range(DECILES))
            matched = sums[:, DECILES : 2 * DECILES].sum(axis=0) / total.sum()
            found.append(DecileLift(map_name, horizon_ns, source, shares, tuple(matched.tolist())))
        return tuple(found)
