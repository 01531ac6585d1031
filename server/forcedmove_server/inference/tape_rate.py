"""What a market's volume is worth while its tape is missing: its own tape of the hours before, or what is assumed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import ModelConfig

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_DAY_NS = 86_400 * 10**9
#: tape from which on a market's own volume is believed: ten minutes
_LEAST_DAYS = 600 / 86_400


class TapeRate:
    """Volume per open interest and day of ``capacity`` markets: a mean that fades over ``model.tape_memory_hours``."""

    def __init__(self, capacity: int, model: ModelConfig) -> None:
        self._memory_days = model.tape_memory_hours / 24
        self._assumed = model.assumed_volume_per_oi_day
        # volume, open interest times covered days, and those days, faded alike; in the market's units
        self._sums = np.zeros((3, capacity))

    def follow(self, market: I64, round_: I64, volume: F64, interest: F64, days: F64, covered_days: F64) -> F64:
        """Take intervals in; return the volume per open interest and day that each may assume, float64 ``[O]``.

        ``round_`` counts a market's intervals in time. ``volume`` and ``interest``, at an interval's beginning, are in
        one unit; ``days`` is its length and ``covered_days`` how much of it had a tape, negative when an earlier
        interval turns out to have had less.
        """
        rates = np.full(len(market), self._assumed, np.float64)
        if not self._memory_days:
            return rates
        with np.errstate(divide="ignore", invalid="ignore"):
            for number in range(int(round_.max(initial=-1)) + 1):
                k = np.flatnonzero(round_ == number)
                own, late = interest[k], np.minimum(covered_days[k], 0)
                sums = self._sums[:, market[k]] + np.stack([np.zeros(len(k)), own * late, late])
                traded, exposed, covered = sums
                rates[k] = np.where((covered >= _LEAST_DAYS) & (exposed > 0), traded / exposed, self._assumed)
                in_time = covered_days[k] - late
                seen = np.stack([volume[k], own * in_time, in_time])
                self._sums[:, market[k]] = np.maximum(sums * np.exp(-days[k] / self._memory_days) + seen, 0)
        return rates
