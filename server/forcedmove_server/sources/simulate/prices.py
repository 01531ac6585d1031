"""How prices move: shared news, flow against finite books, and arbitrage between venues.

The log price of a market is its symbol's fundamental plus the market's own displacement. Flow displaces a market by
``flow / depth``; arbitrage pulls the displacements of a symbol's markets together, part of their common displacement
becomes the fundamental (permanent impact), the rest decays. Depth withdraws with the move already made and with what
was eaten, and comes back slowly (on 10 October 2025 books lost 90 % and more).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.sources.simulate.config import STEP_S, SYMBOLS, SimulationConfig

F64 = NDArray[np.float64]

ARBITRAGE_S = 2.0
PERMANENT_IMPACT_S = 600.0
TRANSIENT_IMPACT_S = 120.0
#: common displacement at which buyers of value double the speed of the way back
VALUE_SCALE = 0.015
INDEX_SMOOTHING_S = 3.0
BASIS_SMOOTHING_S = 30.0
MOVE_MEMORY_S = 300.0
DEPTH_RECOVERY_S = 240.0
DEPTH_WITHDRAWAL_S = 5.0
#: log move over the memory that takes depth to 1/e, and log impact of one order that does
DEPTH_MOVE_SCALE = 0.015
DEPTH_EATEN_SCALE = 0.01
LEAST_DEPTH = 0.15
#: voluntary orders are worked patiently: their impact relative to a forced one of the same size
VOLUNTARY_IMPACT = 0.2
#: forced orders move a market at most this far in one step; a backstop takes over what the book cannot
GREATEST_IMPACT = 0.003
#: share of a symbol's variance that all symbols share
COMMON_VARIANCE = 0.7


def _pull(time_s: float) -> float:
    return 1.0 - float(np.exp(-STEP_S / time_s))


class PriceField:
    """Prices, marks and depth of all markets; ``symbol`` int64 ``[M]`` names each market's underlying.

    ``depth_usd`` float64 ``[M]`` is the full book's resting notional per unit of log price, one side; ``depth`` the
    share of it that is there now.
    """

    def __init__(self, config: SimulationConfig, symbol: NDArray[np.int64], weight: F64, depth_usd: F64) -> None:
        profiles = [SYMBOLS[name] for name in config.symbols]
        self._symbol, self._weight = symbol, weight
        self._sigma = np.array([p.daily_volatility for p in profiles]) * np.sqrt(STEP_S / 86_400)
        self._beta = np.array([p.beta for p in profiles])
        self._fundamental = np.log([p.price_usd for p in profiles])
        self._displacement = np.zeros(len(symbol))
        self._index = self._fundamental.copy()
        self._basis = np.zeros(len(symbol))
        self._memory = self._fundamental.copy()
        self.depth_usd = depth_usd
        self.depth = np.ones(len(symbol))
        #: log return of each symbol's news alone since the beginning: what prices would have done without any flow
        self.news = np.zeros(len(profiles))

    @property
    def price(self) -> F64:
        """Traded prices, float64 ``[M]`` USD, unrounded."""
        price: F64 = np.exp(self._fundamental[self._symbol] + self._displacement)
        return price

    def draw(self, rng: np.random.Generator, steps: int, volatility: F64, drift: F64) -> F64:
        """News of a span: log returns of the fundamentals, float64 ``[steps, symbols]``."""
        own = rng.standard_normal((steps, len(self._sigma)))
        common = rng.standard_normal((steps, 1))
        shocks = np.sqrt(COMMON_VARIANCE) * common + np.sqrt(1 - COMMON_VARIANCE) * own
        news: F64 = shocks * self._sigma * volatility[:, None] + drift[:, None] * self._beta
        return news

    def advance(self, news: F64, flow_usd: F64) -> F64:
        """Take one step: ``news`` ``[symbols]``, voluntary net buying ``flow_usd`` ``[M]``. Returns the new prices."""
        symbol, moved = self._symbol, self._displacement
        moved += VOLUNTARY_IMPACT * flow_usd / (self.depth_usd * self.depth)
        common = np.bincount(symbol, self._weight * moved)
        moved += _ARBITRAGE * (common[symbol] - moved)
        back = np.minimum(_TRANSIENT * (1 + (common / VALUE_SCALE) ** 2), 0.5)
        moved -= ((_PERMANENT + back) * common)[symbol]
        self.news = self.news + news
        self._fundamental += news + _PERMANENT * common
        self._memory += _MEMORY * (self._fundamental + common - self._memory)
        made = np.abs(self._fundamental + common - self._memory)[symbol]
        wanted = np.maximum(np.exp(-made / DEPTH_MOVE_SCALE), LEAST_DEPTH)
        self.depth += np.where(wanted < self.depth, _WITHDRAW, _RECOVER) * (wanted - self.depth)
        return self.price

    def force(self, flow_usd: F64) -> F64:
        """Let forced orders hit the books: net forced buying ``[M]``. Returns the prices after it."""
        impact = np.clip(flow_usd / (self.depth_usd * self.depth), -GREATEST_IMPACT, GREATEST_IMPACT)
        self._displacement += impact
        self.depth = np.maximum(self.depth * np.exp(-np.abs(impact) / DEPTH_EATEN_SCALE), LEAST_DEPTH)
        return self.price

    def marks(self) -> F64:
        """Mark prices after a step, unrounded: the smoothed index of all venues and the market's smoothed basis."""
        symbol = self._symbol
        common = np.bincount(symbol, self._weight * self._displacement)
        self._index += _INDEX * (self._fundamental + common - self._index)
        self._basis += _BASIS * (self._displacement - common[symbol] - self._basis)
        return np.exp(self._index[symbol] + self._basis)


_ARBITRAGE, _PERMANENT, _TRANSIENT = _pull(ARBITRAGE_S), _pull(PERMANENT_IMPACT_S), _pull(TRANSIENT_IMPACT_S)
_INDEX, _BASIS, _MEMORY = _pull(INDEX_SMOOTHING_S), _pull(BASIS_SMOOTHING_S), _pull(MOVE_MEMORY_S)
_WITHDRAW, _RECOVER = _pull(DEPTH_WITHDRAWAL_S), _pull(DEPTH_RECOVERY_S)
