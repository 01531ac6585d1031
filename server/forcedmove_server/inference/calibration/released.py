"""Open interest that vanishes when predicted levels are crossed: the witness that every venue has.

Per venue, the share of open interest released in a window is regressed on what any move of that size and direction
releases and on what the map had at the levels crossed, by side and tier::

    y = a + b1 |m| + b2 m^2 + c sum_t r_t z_t + noise,     z_t = prior_t hazard_t / open interest

with ``m`` the log return to the extreme, ``r_t`` the weights over the prior and ``c`` the share of what is crossed that
leaves; ``b1``, ``b2`` and ``c`` are those of the direction: positions are closed in a fall and opened in a rise, which
is no sign of where levels are. The background is taken out of both sides (Frisch and Waugh), not of ``y`` alone: what
the map crosses grows with the move, and a background that was fitted alone would swallow it. Negative excess counts
like positive: cutting it off at zero adds the noise of every window, split by exposure, to the tiers that are touched
in small moves.

Only the normal equations are kept, ``[V, 5 + 2T, 5 + 2T]``; rows are weighted by one over a market's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.inference.calibration.evidence import Evidence
from forcedmove_server.inference.calibration.settings import CalibrationSettings

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: columns of the background: constant, and of falls and of rises the size and its square
BACKGROUND = 5
#: what is held per venue
BY_VENUE = ("gram", "cross", "gain", "room", "windows")
#: windows by which a market's noise is held to its venue's
_NOISE_WINDOWS = 50.0
#: windows of a venue before which its forecasts are not judged
_FIRST_WINDOWS = 100.0
_RIDGE = 1e-9
_LEAST_NOISE = 1e-14


@dataclass(frozen=True, slots=True)
class Profiled:
    """Normal equations with the background taken out: ``gram`` ``[V, 2T, 2T]``, ``cross`` ``[V, 2T]``."""

    gram: F64
    cross: F64

    def capture(self, ratio: F64) -> F64:
        """Return the least-squares share of what is crossed that leaves by side, never negative: float64 ``[V, 2]``."""
        venues, width = ratio.shape
        sides = np.kron(np.eye(2), np.ones((width // 2, 1)))
        explained = sides.T @ (ratio[:, :, None] * self.gram * ratio[:, None, :]) @ sides
        along = (ratio * self.cross) @ sides
        own = np.einsum("vss->vs", explained)
        alone = np.where(own > 0, np.maximum(along, 0.0) / np.where(own > 0, own, 1.0), 0.0)
        both = _solved(explained, along[:, :, None])[:, :, 0]
        # with one share at its bound the other one is that of its side alone
        bounded = np.where(both >= 0, np.where(both[:, ::-1] < 0, alone, both), 0.0)
        return bounded.reshape(venues, 2)


class Released:
    """The regression of each venue and how far its forecasts came true."""

    def __init__(self, settings: CalibrationSettings, venues: int, tiers: int) -> None:
        self._settings = settings
        width = BACKGROUND + 2 * tiers
        self.gram, self.cross = np.zeros((venues, width, width)), np.zeros((venues, width))
        #: squared error that the map's part has saved out of sample, and what it was to save, over the noise
        self.gain, self.room, self.windows = np.zeros(venues), np.zeros(venues), np.zeros(venues)

    def grow(self, venues: int) -> None:
        """Make room for ``venues`` venues."""
        for name in BY_VENUE:
            old = getattr(self, name)
            grown = np.zeros((venues, *old.shape[1:]))
            grown[: len(old)] = old
            setattr(self, name, grown)

    def forget(self, factor: float) -> None:
        """Multiply everything by ``factor``."""
        for name in BY_VENUE:
            getattr(self, name)[:] *= factor

    def reliability(self) -> F64:
        """Return the share of the predicted gain that came true out of sample, float64 ``[V]`` in [0, 1).

        The gain of the full model over the background alone is ``sum (e0^2 - e1^2) / noise``, each error that of a
        forecast made before the window was known; were the model true it would be ``room = sum (e0 - e1)^2 / noise``.
        """
        found: F64 = np.clip(self.gain / (self.room + self._settings.trust_counts), 0.0, 1.0)
        return found

    def profiled(self) -> Profiled:
        """Return the normal equations of the map's part."""
        own, rest = slice(0, BACKGROUND), slice(BACKGROUND, None)
        mixed = self.gram[:, own, rest]
        taken = _solved(self.gram[:, own, own], np.concatenate((mixed, self.cross[:, own, None]), 2))
        gram = self.gram[:, rest, rest] - np.swapaxes(mixed, 1, 2) @ taken[:, :, :-1]
        cross = self.cross[:, rest] - (np.swapaxes(mixed, 1, 2) @ taken[:, :, -1:])[:, :, 0]
        return Profiled((gram + np.swapaxes(gram, 1, 2)) / 2, cross)

    def observe(
        self, venue: I64, row: I64, move: F64, crossed: F64, share: F64, ratio: F64, evidence: Evidence
    ) -> None:
        """Add windows, rows ``[N]`` of which those of a venue are adjacent.

        ``crossed`` float64 ``[N, 2T]`` is ``z``, ``share`` is ``y``, ``ratio`` float64 ``[V, 2T]`` is ``r`` now.
        """
        if not len(row):
            return
        fall, rise = np.maximum(-move, 0.0), np.maximum(move, 0.0)
        background = np.stack([np.ones_like(move), fall, fall**2, rise, rise**2], 1)
        null, full = self._forecasts(venue, background, crossed, ratio)
        error0, error1 = share - null, share - full
        noise = self._noise(venue, row, error1, evidence)
        deviations = np.abs(error1) / np.sqrt(noise)
        trust = np.minimum(1.0, self._settings.most_deviations / np.maximum(deviations, 1e-12)) / noise
        weighted0, weighted1 = error0**2 * trust, error1**2 * trust
        columns = np.concatenate([background, crossed], 1)
        ends = np.append(np.flatnonzero(np.diff(venue)) + 1, len(venue)).tolist()
        for begin, end in pairwise([0, *ends]):
            v, own = int(venue[begin]), slice(begin, end)
            if self.windows[v] >= _FIRST_WINDOWS:
                self.gain[v] += (weighted0[own] - weighted1[own]).sum()
                self.room[v] += ((error0 - error1)[own] ** 2 * trust[own]).sum()
            self.windows[v] += end - begin
            scaled = columns[own] * trust[own, None]
            self.gram[v] += scaled.T @ columns[own]
            self.cross[v] += share[own] @ scaled

    def _forecasts(self, venue: I64, background: F64, crossed: F64, ratio: F64) -> tuple[F64, F64]:
        own = slice(0, BACKGROUND)
        capture = self.profiled().capture(ratio)
        of_map = np.repeat(capture, ratio.shape[1] // 2, 1) * ratio
        left = self.cross[:, own] - (self.gram[:, own, BACKGROUND:] @ of_map[:, :, None])[:, :, 0]
        found = _solved(self.gram[:, own, own], np.stack([self.cross[:, own], left], 2))
        null = (background * found[venue, :, 0]).sum(1)
        full = (background * found[venue, :, 1]).sum(1) + (crossed * of_map[venue]).sum(1)
        return null, full

    def _noise(self, venue: I64, row: I64, error: F64, evidence: Evidence) -> F64:
        """Return the variance of each row's share: its market's, held to that of its venue in this window."""
        held = evidence.noise_weight[row]
        before = np.where(held > 0, evidence.noise[row] / np.where(held > 0, held, 1.0), np.inf)
        most = self._settings.most_deviations**2 * np.maximum(before, _LEAST_NOISE)
        evidence.noise[row] += np.minimum(error**2, most)
        evidence.noise_weight[row] += 1.0
        sums, weights = np.zeros(len(self.gain)), np.zeros(len(self.gain))
        np.add.at(sums, venue, evidence.noise[row])
        np.add.at(weights, venue, evidence.noise_weight[row])
        pooled = sums[venue] / weights[venue]
        found: F64 = np.maximum(
            (evidence.noise[row] + _NOISE_WINDOWS * pooled) / (evidence.noise_weight[row] + _NOISE_WINDOWS),
            _LEAST_NOISE,
        )
        return found


def _solved(gram: F64, right: F64) -> F64:
    """Solve scaled normal equations ``[V, n, n] x = [V, n, k]``; columns that were never seen get nothing."""
    diagonal = np.einsum("vii->vi", gram)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    own = np.arange(gram.shape[1])
    scaled = gram * scale[:, :, None] * scale[:, None, :]
    scaled[:, own, own] += np.where(diagonal > 0, _RIDGE, 1.0)
    solution: F64 = np.linalg.solve(scaled, right * scale[:, :, None]).astype(np.float64, copy=False)
    return solution * scale[:, :, None]
