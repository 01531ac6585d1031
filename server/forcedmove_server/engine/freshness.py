"""Weights by age, counted from a time ahead of the clock, so that growing older recomputes nothing."""

from __future__ import annotations

import math

from forcedmove_kernels.arrays import Freshness
from forcedmove_kernels.fixed_point import freshness_table

#: weights reach to an age of this many half-lives, where one is less than half of 2**-16 ...
_HALF_LIVES = 17
#: ... but the table has no more entries; only a half-life of years makes its steps coarser than configured
_MOST_STEPS = 1 << 20
#: the reference is at most this far ahead: all rows are rebuilt that often, which is rare enough
_LONGEST_LEAD_S = 6 * 3600


class FreshnessClock:
    """What a cohort weighs: ``2 ** (-age / half_life_s)``, its age being the steps that began since it opened.

    Between two steps all weights fall by the same factor. So the store weighs every cohort as of a *reference* step, up
    to one half-life ahead of the clock, and whoever reads multiplies by ``gain``, between one and two: what the cohorts
    lose from now to the reference. Only when the clock passes the reference are the weights taken anew.
    """

    def __init__(self, step_s: int, half_life_s: float) -> None:
        lead_s = min(half_life_s, _LONGEST_LEAD_S)
        reach_s = _HALF_LIVES * half_life_s + lead_s
        #: length of a step in seconds
        self.step_s = max(step_s, math.ceil(reach_s / _MOST_STEPS))
        #: the step that ``now`` lies in, counted from the epoch; -1 before the first :meth:`advance`
        self.step = -1
        self._half_life_s = half_life_s
        self._lead = int(lead_s // self.step_s)
        self._reference = -1
        self._table = freshness_table(self.step_s, math.ceil(reach_s / self.step_s) + 1, half_life_s)

    @property
    def gain(self) -> float:
        """Factor from lots weighted as of the reference to lots weighted as of now."""
        return float(2.0 ** ((self._reference - self.step) * self.step_s / self._half_life_s))

    def advance(self, now: int) -> Freshness | None:
        """Let the clock be ``now`` (Unix seconds); return new weights where the old ones do not do any more.

        Their ``now`` is the last second of the reference step: nothing opens later than the step it opens in.
        """
        self.step = now // self.step_s
        if self.step <= self._reference:
            return None
        self._reference = self.step + self._lead
        return self.weights()

    def weights(self) -> Freshness | None:
        """Return the weights that hold, None before the first :meth:`advance`."""
        if self._reference < 0:
            return None
        return Freshness(self._table, self.step_s, (self._reference + 1) * self.step_s - 1)
