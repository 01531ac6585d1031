"""Who opens what: draws the openings of a span of time, and the population that is there on the first day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.margin.multipliers import LEVERAGE_TIERS
from forcedmove_server.margin.rules import MarginRule
from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.sources.simulate.config import (
    STEP_NS,
    STEP_S,
    SYMBOLS,
    SimulationConfig,
    VenueProfile,
    leverage_weights,
)
from forcedmove_server.sources.simulate.positions import POSITION

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: an opening: what a :data:`~.positions.POSITION` needs, in step order; ``when`` is the moment within the step, 0..1
OPENING = np.dtype(
    [
        ("step", "<i8"),
        ("row", "<i8"),
        ("lots", "<i8"),
        ("leverage", "<f8"),
        ("ratio", "<f8"),
        ("account_usd", "<f8"),
        ("lifetime_steps", "<i8"),
        ("when", "<f8"),
        ("adds", "?"),
        ("pick", "<f8"),
    ]
)

#: how strongly funding leans the crowd against its own imbalance, as a share of open interest
FUNDING_PULL = 8.0

_TIERS = np.array(LEVERAGE_TIERS, np.float64)
_CROSS_UP_TO = 10.0
_HISTORY_STEP_S = 60


class Agents:
    """Draws positions for all markets at once; each draw uses one generator in a fixed order."""

    def __init__(
        self,
        config: SimulationConfig,
        markets: list[tuple[VenueProfile, Instrument]],
        rules: list[MarginRule],
        open_interest_usd: F64,
        rng: np.random.Generator,
    ) -> None:
        self._config, self._rules, self._rng = config, rules, rng
        self._instruments = [instrument for _, instrument in markets]
        self._inverse = np.array([rule.formula.inverse for rule in rules])
        self._step_of_quantity = np.array([i.quantity_step for i in self._instruments])
        self._max_leverage = np.array([i.max_leverage for i in self._instruments])
        # Notional is spread by the venue's weights; isolated positions are smaller and more numerous than the bulk.
        pieces = np.where(_TIERS > _CROSS_UP_TO, config.tail_split, 1.0)
        counts = np.array([leverage_weights(profile, i) for profile, i in markets]) * pieces
        self._cumulative = np.cumsum(counts / counts.sum(1, keepdims=True), axis=1)
        self._size_factor = counts.sum(1, keepdims=True) / pieces
        share = np.sqrt(open_interest_usd)
        #: positions alive per row in equilibrium, and the mean USD of one
        self.live = np.repeat(config.live_positions * share / share.sum() / 2, 2)
        self._mean_usd = np.repeat(open_interest_usd, 2) / self.live
        self._lifetimes = np.array(config.lifetime_s) / STEP_S
        self._live_shares = np.array(config.lifetime_shares)
        opening = self._live_shares / self._lifetimes
        self._rate, self._opening_shares = float(opening.sum()), opening / opening.sum()

    def openings(self, steps: int, activity: F64, prices: F64, crowd: F64) -> Records:
        """Openings of the next ``steps`` steps, sorted by step (0 is the first).

        ``prices`` ``[M]`` are current; ``crowd`` ``[M]`` in (-1, 1) leans the crowd towards long (+) or short (-).
        """
        rng = self._rng
        lean = np.stack([1 + 0.6 * crowd, 1 - 0.6 * crowd], axis=1).ravel()
        counts = rng.poisson(self.live * self._rate * lean * activity.sum())
        rows = np.repeat(np.arange(len(counts)), counts)
        cumulative = np.cumsum(activity)
        step = np.searchsorted(cumulative, rng.random(len(rows)) * cumulative[-1])
        kind = rng.choice(len(self._lifetimes), len(rows), p=self._opening_shares)
        out = self._draw(rows, prices[rows // 2])
        out["step"], out["when"] = np.minimum(step, steps - 1), rng.random(len(rows))
        out["lifetime_steps"] = np.ceil(rng.exponential(self._lifetimes[kind]))
        out["adds"] = rng.random(len(rows)) < self._config.add_share
        out["pick"] = rng.random(len(rows))
        return out[np.lexsort((out["when"], out["row"], out["step"]))]

    def population(self, prices: F64, symbol: I64) -> list[Records]:
        """The survivors of a made-up past, one POSITION array per row.

        A random walk ends at today's price; positions opened along it, at ages that the lifetimes give in
        equilibrium, are alive unless the walk has crossed their liquidation price since.
        """
        rng, config = self._rng, self._config
        # A crowd is there from the first day: market makers hold its other side.
        lean = np.tile(1 + np.array([0.5, -0.5]) * config.weather.crowd / FUNDING_PULL, len(self.live) // 2)
        counts = np.floor(self.live * lean * config.initial_share + rng.random(len(self.live))).astype(np.int64)
        rows = np.repeat(np.arange(len(counts)), counts)
        kind = rng.choice(len(self._lifetimes), len(rows), p=self._live_shares)
        age = rng.exponential(self._lifetimes[kind])
        left = np.ceil(rng.exponential(self._lifetimes[kind])).astype(np.int64)
        history, lowest, highest = self._history(float(age.max(initial=1.0)))
        back = np.ceil(age * STEP_S / _HISTORY_STEP_S).astype(np.int64)
        which = symbol[rows // 2]
        drawn = self._draw(rows, prices[rows // 2])
        tick = np.array([i.price_step for i in self._instruments])[rows // 2]
        entry = np.rint(prices[rows // 2] * history[which, back] / tick) * tick
        liquidation = entry * drawn["ratio"]
        extreme = np.where(rows % 2 == 0, lowest[which, back], highest[which, back]) * prices[rows // 2]
        alive = np.where(rows % 2 == 0, liquidation < extreme, liquidation > extreme)
        records = np.zeros(len(rows), POSITION)
        for name in ("lots", "leverage", "ratio", "account_usd"):
            records[name] = drawn[name]
        records["entry"], records["liquidation_price"], records["close_at"] = entry, liquidation, left
        records["opened_ns"] = config.epoch_ns - np.ceil(age).astype(np.int64) * STEP_NS
        return [records[alive & (rows == row)] for row in range(len(counts))]

    def _history(self, longest_age: float) -> tuple[F64, F64, F64]:
        """Past prices over today's, and their extremes since: float64 ``[symbols, minutes back]``."""
        minutes = int(longest_age * STEP_S / _HISTORY_STEP_S) + 2
        sigma = np.array([SYMBOLS[name].daily_volatility for name in self._config.symbols])
        common = self._rng.standard_normal((1, minutes))
        own = self._rng.standard_normal((len(sigma), minutes))
        steps = (np.sqrt(0.7) * common + np.sqrt(0.3) * own) * sigma[:, None] * np.sqrt(_HISTORY_STEP_S / 86_400)
        walk = np.cumsum(steps, axis=1)
        walk = np.exp(np.concatenate([np.zeros((len(sigma), 1)), walk], axis=1))
        return walk, np.minimum.accumulate(walk, axis=1), np.maximum.accumulate(walk, axis=1)

    def _draw(self, rows: I64, price: F64) -> Records:
        """Draw size, leverage and account of one opening per element of ``rows``."""
        rng, config, markets = self._rng, self._config, rows // 2
        out = np.zeros(len(rows), OPENING)
        out["row"] = rows
        tier = (rng.random(len(rows))[:, None] > self._cumulative[markets]).sum(1)
        tier = np.minimum(tier, len(_TIERS) - 1)
        spread = config.position_log_sd
        usd = self._mean_usd[rows] * np.exp(spread * rng.standard_normal(len(rows)) - spread**2 / 2)
        usd *= self._size_factor[markets, tier]
        unit = np.where(self._inverse[markets], 1.0, price) * self._step_of_quantity[markets]
        out["lots"] = np.maximum(np.rint(usd / unit), 1)
        leverage = _TIERS[tier]
        scatter = np.exp(config.cross_leverage_log_sd * rng.standard_normal(len(rows)))
        leverage = np.where(leverage <= _CROSS_UP_TO, leverage * scatter, leverage)
        out["leverage"] = np.clip(leverage, 1.2, self._max_leverage[markets])
        account = config.account_median_usd * np.exp(config.account_log_sd * rng.standard_normal(len(rows)))
        for market in np.unique(markets):
            self._liquidation_ratios(out, int(market), markets == market, account, float(price[markets == market][0]))
        return out

    def _liquidation_ratios(
        self, out: Records, market: int, mine: NDArray[np.bool_], account: F64, price: float
    ) -> None:
        """Fill ``account_usd`` and ``ratio`` of one market's openings, by its venue's own rule."""
        rule, leverage = self._rules[market], out["leverage"][mine]
        # A venue does not let an account open more than the tier of its leverage holds.
        largest = rule.largest_quantity(leverage, price) * 0.999
        unit = 1.0 if self._inverse[market] else price
        quantity = np.minimum(account[mine] / unit, largest)
        out["account_usd"][mine] = quantity * unit
        out["ratio"][mine] = rule.liquidation_price(out["row"][mine] % 2, price, quantity, leverage) / price
