"""A market whose liquidation levels are known: what is crossed is liquidated and leaves open interest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.scorecard.frozen import Axis, FrozenMap, KnownPositions
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.tables import MarketName

F64 = NDArray[np.float64]

S = 10**9
STEP = 300 * S
DAY = 86_400 * S
START = 19_700 * DAY
WIDTH, FIRST, BINS = 10.0, 1200, 1600
MARK = 20_000.0
SUBSTEPS = 100
#: units of one forced close
EVENT = 2.0
RULES = ScoringRules(horizons_ns=(STEP, 12 * STEP), headline_horizon_ns=STEP, least_volatility_cells=12, resamples=200)


class KnownMarket:
    """One market in steps of five minutes. ``levels`` is the truth, float64 ``[2, BINS]`` in units."""

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.price, self.scale = MARK, scale
        self.levels = np.zeros((2, BINS))
        self._open(1000.0)

    @property
    def open_interest(self) -> float:
        return float(self.levels[0].sum())

    @property
    def axis(self) -> Axis:
        return Axis.of(self.price, WIDTH, FIRST, BINS)

    def step(self) -> tuple[F64, F64]:
        """Walk for one step: prices ``[SUBSTEPS]``, and what is liquidated ``[2, BINS]``."""
        path = self.price * np.exp(np.cumsum(self.rng.normal(0, 0.002 / np.sqrt(SUBSTEPS), SUBSTEPS)))
        forced = np.zeros_like(self.levels)
        for side, extreme in enumerate((path.min(), path.max())):
            touched = self.axis.touched(side, extreme)
            gone, levels = self.axis.outward(forced, side), self.axis.outward(self.levels, side)
            gone[:touched] = levels[:touched]
            levels[:touched] = 0
        lost = forced.sum(axis=1)
        self.levels *= (1 - lost[::-1] / self.levels.sum(axis=1))[:, None]  # the other side of every forced close
        self.price = float(path[-1])
        self._open(max(0.05 * (1000.0 - self.open_interest), 0.0))
        return path, forced

    def random_map(self) -> F64:
        """A map with as much structure as the truth, by the same law of distance, in places of its own."""
        levels = np.zeros_like(self.levels)
        for side in (0, 1):
            profile = self.axis.outward(levels, side)
            profile[:] = np.exp(-np.arange(len(profile)) / 40.0) * self.rng.lognormal(0, 1.2, len(profile))
            profile *= self.open_interest / profile.sum()
        return levels

    def positions(self, accounts: int) -> KnownPositions:
        """Some of the positions that are really open."""
        side = np.arange(accounts) % 2
        within = np.cumsum(self.levels, axis=1) / self.levels.sum(axis=1, keepdims=True)
        bins = np.array([np.searchsorted(within[s], self.rng.random()) for s in side])
        usd = self.rng.lognormal(8, 1, accounts)
        return KnownPositions(side, (FIRST + bins + 0.5) * WIDTH, usd, np.arange(accounts))

    def _open(self, quantity: float) -> None:
        """Open as much on both sides, a third of it in lumps."""
        for side in (0, 1):
            profile = self.axis.outward(self.levels, side)
            law = np.exp(-np.arange(len(profile)) / 40.0)
            lumps = law * (self.rng.random(len(profile)) < 0.15)
            profile += quantity * (law / law.sum() / 3 + lumps / lumps.sum() * 2 / 3)


def run_world(
    seed: int = 0,
    days: float = 7.0,
    markets: Sequence[int] = (0, 1, 2),
    scale: float = 1.0,
    rules: ScoringRules = RULES,
    save_at: float | None = None,
) -> tuple[Scorecard, list[KnownMarket]]:
    """Score the truth ("ours") and a random map ("naive") of several markets, numbered by ``markets``.

    Quantities are ``scale`` times as large. Known positions are those of the first market.
    """
    card = Scorecard(rules, maps=("ours", "naive"))
    worlds = [KnownMarket(seed * 1000 + k) for k in range(len(markets))]
    for k, market in enumerate(markets):
        name = MarketName("venue" if k else "chain", f"M{k}", "BTC" if k < 2 else "ETH")
        card.add_market(market, name, WIDTH, liquidations_complete=k != 1)
    for step in range(int(days * 288)):
        now = START + step * STEP
        for market, world in zip(markets, worlds, strict=True):
            if step == 0:
                card.outcomes.prices([market], [now], [world.price])
            card.outcomes.interest([market], [now], [world.open_interest * scale])
        card.advance(now)
        card.freeze(
            [
                FrozenMap(name, market, now, world.price, WIDTH, FIRST, levels * scale, world.open_interest * scale)
                for market, world in zip(markets, worlds, strict=True)
                for name, levels in (("ours", world.levels), ("naive", world.random_map()))
            ],
            {markets[0]: worlds[0].positions(30)},
        )
        for market, world in zip(markets, worlds, strict=True):
            path, forced = world.step()
            times = now + STEP * np.arange(1, SUBSTEPS + 1) // SUBSTEPS
            card.outcomes.prices(np.full(SUBSTEPS, market), times, path)
            events = np.floor(forced / EVENT + world.rng.random(forced.shape)).astype(int)
            side, bins = (np.repeat(index, events[events > 0]) for index in np.nonzero(events))
            quantity = np.full(len(side), EVENT * scale)
            at = np.full(len(side), now + STEP // 2)
            card.outcomes.liquidations(np.full(len(side), market), at, (FIRST + bins + 0.5) * WIDTH, quantity, side)
    return card, worlds
