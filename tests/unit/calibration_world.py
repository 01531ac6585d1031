"""A small world with known weights: positions opened on a random walk, liquidated where their level is crossed.

It knows nothing of how the weights are learnt. Cohorts open at the price of every window, ``activity`` positions in the
mean on either side, close at a constant rate, and are liquidated as ``1 -/+ (1 / leverage - maintenance)`` is reached.
Positions of a cell (cohort, side, tier) are independent, so they are drawn when their level is crossed: Poisson. The
map knows the cohorts and not the tiers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.inference.calibration import Calibration, CalibrationSettings, Prints, Window

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

WINDOW_NS = 300 * 10**9
DAY = 288
TIERS = np.array([3.0, 5, 8, 10, 15, 25, 50, 100])
BINS_PER_E = 2000.0
_PATH = 5


@dataclass
class World:
    """One venue of ``len(activity)`` markets; ``truth`` ``[K, 2, T]`` may be changed while it runs."""

    seed: int
    truth: F64
    activity: F64
    leverages: F64 = field(default_factory=lambda: TIERS)
    volatility: float = 0.004
    life: float = 150.0
    kept: int = 300
    published: float = 1.0
    captured: float = 1.0
    size_log_sd: float = 1.0
    released_of_crossed: float = 0.6
    released_of_move: tuple[float, float] = (0.2, 20.0)
    released_noise: float = 0.002
    #: share of open interest that opens per log rise of the price and closes per fall, wherever levels are
    opened_in_rises: float = 0.0
    #: most prints of a market and window that are published, as by a throttled feed
    most_prints: int | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        markets = len(self.activity)
        self.log_price = np.zeros(markets)
        self.at = 0
        step = np.abs(np.log1p(np.array([-1.0, 1.0])[:, None] * (1 / self.leverages - 0.3 / self.leverages.max())))
        self.distance = step * np.array([-1.0, 1.0])[:, None]
        self.level = np.full((markets, self.kept, 2, len(self.leverages)), np.nan)
        self.alive = np.zeros(self.level.shape, bool)
        self.opened = np.zeros((markets, self.kept))

    def window(self, weights: F64, rows: I64) -> tuple[Window, F64]:
        """Go on by one window under the map's ``weights`` ``[K, 2, T]``; return it and what was liquidated."""
        rng, markets = self.rng, len(self.activity)
        self._open()
        walk = np.cumsum(rng.normal(0, self.volatility / np.sqrt(_PATH), (markets, _PATH)), 1)
        low, high = self.log_price + np.minimum(walk.min(1), 0), self.log_price + np.maximum(walk.max(1), 0)
        frozen = self.alive.copy()
        with np.errstate(invalid="ignore"):
            crossed = frozen & np.stack(
                [self.level[:, :, 0] >= low[:, None, None], self.level[:, :, 1] <= high[:, None, None]], 2
            )
        self.alive &= ~crossed
        held = self.opened[:, :, None, None] * np.ones((1, 1, 2, len(self.leverages)))
        unit = np.where(crossed, held, 0.0)
        market, cohort, side, tier = np.nonzero(crossed)
        expected = held[market, cohort, side, tier] * self.truth[market, side, tier] * self.captured
        number = rng.poisson(expected)
        each = np.repeat(np.arange(len(number)), number)
        quantity = rng.lognormal(-0.5 * self.size_log_sd**2, self.size_log_sd, len(each))
        liquidated = np.zeros(weights.shape)
        np.add.at(liquidated, (market[each], side[each], tier[each]), quantity)
        shown = np.flatnonzero(self._published(market[each]))
        prints = self._prints(frozen, held, weights, rows, (market, cohort, side, tier), each[shown], quantity[shown])

        extreme = np.where(-low + self.log_price > high - self.log_price, low, high) - self.log_price
        interest = self.opened.sum(1)
        linear, square = self.released_of_move
        share = linear * np.abs(extreme) * 0.01 + square * extreme**2 + rng.normal(0, self.released_noise, markets)
        share -= self.opened_in_rises * extreme
        released = share * interest + self.released_of_crossed * liquidated.sum((1, 2))
        self.log_price = self.log_price + walk[:, -1]
        self.at += 1
        window = Window(
            self.at * WINDOW_NS, rows, weights * unit.sum(1), weights, prints, None, released, interest, extreme
        )
        return window, liquidated

    def _open(self) -> None:
        self.opened *= np.exp(-1 / self.life)
        slot = self.at % self.kept
        self.opened[:, slot] = self.activity * self.rng.lognormal(-0.125, 0.5, len(self.activity))
        self.level[:, slot] = self.log_price[:, None, None] + self.distance
        self.alive[:, slot] = True

    def _published(self, market: I64) -> NDArray[np.bool_]:
        shown = self.rng.random(len(market)) < self.published
        if self.most_prints is not None:
            for m in np.unique(market):
                own = np.flatnonzero((market == m) & shown)
                shown[self.rng.permutation(own)[self.most_prints :]] = False
        return shown

    def _prints(
        self,
        frozen: NDArray[np.bool_],
        held: F64,
        weights: F64,
        rows: I64,
        cells: tuple[I64, I64, I64, I64],
        each: I64,
        quantity: F64,
    ) -> Prints:
        market, cohort, side, tier = (index[each] for index in cells)
        place = np.round(self.level[market, cohort, side, tier] * BINS_PER_E) + self.rng.integers(-1, 2, len(each))
        likelihood = np.zeros((len(each), len(self.leverages)))
        bins = np.round(self.level * BINS_PER_E)
        for i, (m, s) in enumerate(zip(market, side, strict=True)):
            near = frozen[m, :, s] & (np.abs(bins[m, :, s] - place[i]) <= 3)
            likelihood[i] = weights[m, s] * (near * held[m, :, s]).sum(0)
        return Prints(rows[market], side, quantity, likelihood)


#: what is believed and what is true: a tail that is half as much again and otherwise composed
PRIOR = np.array([0.30, 0.22, 0.13, 0.10, 0.08, 0.07, 0.06, 0.04])
TRUTH = np.array([0.22, 0.16, 0.10, 0.08, 0.14, 0.16, 0.04, 0.10])


def calibration_of(
    markets: int, publishes_all: bool | None, settings: CalibrationSettings | None = None, prior: F64 = PRIOR
) -> tuple[Calibration, I64]:
    """One venue of ``markets`` markets, and their rows."""
    calibration = Calibration(TIERS, settings)
    both = np.stack([prior, prior])
    return calibration, np.array([calibration.new_market(f"v:{i}", "v", both, publishes_all) for i in range(markets)])


def both_sides(weights: F64, markets: int) -> F64:
    """The same weights for each market and side, ``[K, 2, T]``."""
    return np.broadcast_to(weights, (markets, 2, len(weights))).copy()


def of_interest(window: Window) -> Window:
    """The window without its prints."""
    return replace(window, prints=Prints())


def of_prints(window: Window) -> Window:
    """The window without its open interest."""
    return replace(window, released=None, open_interest=None, move=None)


def distance(weights: F64, truth: F64) -> float:
    """Total variation distance, the mean over markets and sides."""
    return float(0.5 * np.abs(weights - truth).sum(-1).mean())
