"""What is random on a path of a chain: how much of the notional is really there, and how deep the books are.

On a path everything that fires is multiplied by one factor, the depth of all cells by another, and the depth of each
cell by one of its own. All are log-normal with mean one. The kernel draws one factor per path for what fires
(:class:`forcedmove_kernels.arrays.Noise`): it is given the ratio of the first two, which decides where a chain ends,
and what really fired is worked out afterwards from the same draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Noise, Notional
from forcedmove_kernels.fixed_point import MAX_NOISE, NOISE_BITS
from forcedmove_server.engine.bands import Certainty
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import usd_per_lot
from forcedmove_server.inference.calibration import weight_deviations

if TYPE_CHECKING:  # maps are drawn with chains
    from forcedmove_server.engine.maps import SymbolState

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

_TABLE_BITS = 12
_CELL_TABLE = 1 << 10


@dataclass(frozen=True, slots=True)
class Spreads:
    """Relative standard deviations of what is random on a path; ``shock`` is of the price that the shock ends at."""

    notional: float
    depth: float
    cell_depth: float
    shock: float = 0.0


@dataclass(frozen=True, slots=True)
class PathNoise:
    """What the kernel draws from; ``factor`` float64 ``[Q]`` is what of the notional is really there, by entry."""

    kernel: Noise
    factor: F64

    def factors(self, chain: int, paths: int) -> F64:
        """Factor of the notional on each path of the ``chain``-th chain of a call, float64 ``[P]``."""
        keys = _splitmix64(
            np.uint64(self.kernel.seed) ^ (np.uint64(chain) << np.uint64(32) | np.arange(paths).astype(np.uint64))
        )
        return self.factor[((keys >> np.uint64(32)) & np.uint64(len(self.factor) - 1)).astype(np.int64)]


def path_noise(spreads: Spreads, seed: int) -> PathNoise:
    """Return tables of equally likely factors.

    The pairs of notional and depth are a Hammersley set: the quantiles of one in order, those of the other in
    bit-reversed order, so that both and their ratio are covered evenly. The kernel combines its seed with the number of
    a path bit by bit, so that seeds near each other would share their paths: it is given a scrambled one.
    """
    scrambled = int(_splitmix64(np.array([seed], np.uint64))[0])
    size = 1 << _TABLE_BITS
    notional, depth = quantiles(spreads.notional, size), quantiles(spreads.depth, size)[spread_order(size)]
    return PathNoise(
        Noise(_fixed(notional / depth), _fixed(quantiles(spreads.cell_depth, _CELL_TABLE)), scrambled), notional
    )


def spread_order(size: int) -> I64:
    """0 to ``size - 1`` in bit-reversed order, int64: any first few are spread evenly. ``size`` is a power of two."""
    bits, order = size.bit_length() - 1, np.arange(size, dtype=np.int64)
    return sum(((order >> bit & 1) << (bits - 1 - bit) for bit in range(bits)), np.zeros(size, np.int64))


def quantiles(deviation: float, size: int) -> F64:
    """Quantiles of a log-normal law of mean one at the middles of ``size`` equally likely parts, float64 ``[size]``."""
    log_sd = math.sqrt(math.log1p(deviation**2))
    factors = np.exp(log_sd * normal_quantiles(size))
    found: F64 = factors / factors.mean()
    return found


@lru_cache(maxsize=4)
def normal_quantiles(size: int) -> F64:
    """Quantiles of the standard normal law at the middles of ``size`` equally likely parts."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((k + 0.5) / size) for k in range(size)])


def _fixed(factors: F64) -> NDArray[np.uint32]:
    one = 1 << NOISE_BITS
    return np.clip(np.rint(factors * one), 0, MAX_NOISE * one - 1).astype(np.uint32)


def _splitmix64(x: U64) -> U64:
    """As the kernels' (forcedmove_kernels.reference.cascade), for an array."""
    x = x + np.uint64(0x9E37_79B9_7F4A_7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ x >> np.uint64(31)


def notional_deviation(
    store: CohortStore, state: SymbolState, certainty: Certainty, side: int, low: int, high: int
) -> float:
    """Relative standard deviation of what the map says lies in cells ``low..high`` of a side, both included.

    From what makes credible bands (engine.bands): leverage weights, of a venue's markets as one, and that
    liquidations come one by one. ``certainty`` is that of ``state.rows.rows``. Zero where nothing lies there.
    """
    rows = state.rows
    lots = store.resident.leverage_grid(rows.rows, weighted=False)[:, side, :, low : high + 1]
    of = rows.places
    money = Notional(rows.notional.base[of], rows.notional.slope[of])
    usd = usd_per_lot(money, np.arange(len(of)), state.first_bin, store.bins)[:, low : high + 1]
    tiers = np.einsum("ktc,kc->kt", lots, usd)
    one_by_one = np.einsum("ktc,kc,k->", lots, usd**2, certainty.phi * certainty.typical)
    by_venue: dict[str, F64] = {}
    for k, place in enumerate(of.tolist()):
        found = weight_deviations(tiers[k][:, None], certainty.shape[k, side], certainty.weights[k, side])[:, 0]
        venue = rows.venues[place]
        by_venue[venue] = by_venue.get(venue, np.zeros_like(found)) + found
    variance = float(one_by_one) + sum(float(found @ found) for found in by_venue.values())
    mean = float(tiers.sum())
    return math.sqrt(variance) / mean if mean > 0 else 0.0
