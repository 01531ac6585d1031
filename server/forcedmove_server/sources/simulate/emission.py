"""From what happened to what a collector would have seen: the event arrays of a batch of steps.

A step lasts one second. Its voluntary trades lie in the first nine tenths, then the mark is set, then forced orders
trade, and open interest and book are taken at the very end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import (
    BOOK_DEPTH,
    LIQUIDATION,
    MARK_PRICE,
    OPEN_INTEREST,
    TRADE,
    EventBatch,
    Records,
)
from forcedmove_server.sources.simulate.config import STEP_NS
from forcedmove_server.sources.simulate.world import Step, World

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_MARK_AT, _FORCED_AT, _END_AT = (int(share * STEP_NS) for share in (0.9, 0.92, 0.999))
#: distances of the book's levels from the mid, as log price: 1 bp to 2.5 %
_LEVELS = np.geomspace(1e-4, 0.025, 12)
_HALF_SPREAD = 0.5e-4


class Emission:
    """Turns the steps of a world into event batches; has its own random numbers, so that it never changes the world."""

    def __init__(self, world: World, market_ids: NDArray[np.int32], seed: int) -> None:
        self._world, self._ids = world, market_ids
        self._rng = np.random.default_rng([seed, 0xE317])
        profiles = [profile for profile, _ in world.markets]
        self._trades_per_s = np.array([p.trades_per_s for p in profiles])
        # Smaller symbols trade less often.
        first = world.open_interest_usd[world.symbol == 0].sum()
        total = np.bincount(world.symbol, world.open_interest_usd)[world.symbol]
        self._trades_per_s = self._trades_per_s * np.sqrt(total / first)
        self._latency_ns = np.array([int(p.latency_ms * 1e6) for p in profiles])
        self._oi_every = np.array([p.open_interest_every_s for p in profiles])
        self._depth_every = np.array([p.depth_every_s for p in profiles])
        self._phase = np.arange(len(profiles))
        self._full_feed = np.array([p.liquidations == "full" for p in profiles])
        self._no_feed = np.array([p.liquidations == "none" for p in profiles])
        self._at_bankruptcy = np.array([p.liquidation_price == "bankruptcy" for p in profiles])

    def batch(self, steps: Sequence[Step]) -> EventBatch:
        """Events of consecutive steps."""
        begin = np.array([self._world.config.epoch_ns + step.index * STEP_NS for step in steps])
        voluntary = self._trades(steps, begin)
        forced, liquidations = self._forced(steps, begin)
        trades = np.concatenate([voluntary, forced])
        return EventBatch(
            until_ns=int(begin[-1]) + STEP_NS,
            trades=trades[np.argsort(trades["time_ns"], kind="stable")],
            mark_prices=self._marks(steps, begin),
            open_interest=self._open_interest(steps, begin),
            liquidations=liquidations,
            depth=self._depth(steps, begin),
        )

    def _stamp(self, out: Records, market: I64, time_ns: I64) -> None:
        out["market"], out["time_ns"] = self._ids[market], time_ns
        out["received_ns"] = time_ns + self._latency_ns[market]

    def _due(self, steps: Sequence[Step], every: I64) -> tuple[I64, I64]:
        """Steps (positions in the batch) and markets whose turn it is; live venues do not all send in one second."""
        config = self._world.config
        index = np.array([step.index for step in steps])[:, None]
        live = (index + 1 + self._phase) % every == 0
        history = (index + 1) % np.maximum(every, config.warmup_poll_s) == 0
        row, market = np.nonzero(np.where(index < config.warmup_steps, history, live))
        return row.astype(np.int64), market.astype(np.int64)

    def _trades(self, steps: Sequence[Step], begin: I64) -> Records:
        """Split each market's volume of a step into prints along the way from the old price to the new one."""
        rng, world = self._rng, self._world
        volume = np.stack([step.volume for step in steps])
        before, price = np.stack([step.before for step in steps]), np.stack([step.price for step in steps])
        activity = np.array([step.activity for step in steps])
        prints = np.where(volume > 0, 1 + rng.poisson(self._trades_per_s * activity[:, None]), 0).ravel()
        cell = np.repeat(np.arange(prints.size), prints)
        row, market = cell // len(world.markets), cell % len(world.markets)
        last = np.cumsum(prints)[prints > 0] - 1
        first = np.concatenate([[0], last[:-1] + 1])
        # Cumulative shares of a cell, floored to lots, end at its volume exactly: the prints add up to it.
        weight = np.cumsum(rng.standard_exponential(len(cell)))
        start = np.concatenate([[0.0], weight[last[:-1]]])
        start, whole = np.repeat(start, prints[prints > 0]), np.repeat(weight[last], prints[prints > 0])
        target = volume.ravel()[cell]
        upto = np.floor((weight - start) / (whole - start) * target).astype(np.int64)
        upto[last] = target[last]
        lots = np.diff(upto, prepend=0)
        lots[first] = upto[first]
        when = rng.random(len(cell))
        moved = np.log(price / before).ravel()
        buy = 0.5 + 0.4 * np.tanh(moved / 2e-4)
        aggressor = np.where(rng.random(len(cell)) < buy[cell], 1, -1)
        path = before.ravel()[cell] * np.exp(moved[cell] * when + aggressor * _HALF_SPREAD)
        kept = lots > 0
        out = np.zeros(int(kept.sum()), TRADE)
        market = market[kept]
        self._stamp(out, market, begin[row[kept]] + (when[kept] * _MARK_AT).astype(np.int64))
        out["price"] = self._ticks(path[kept], market)
        out["quantity"] = lots[kept] * world.quantity_step[market]
        out["aggressor"] = aggressor[kept]
        return out

    def _forced(self, steps: Sequence[Step], begin: I64) -> tuple[Records, Records]:
        """Forced trades, all of them, and the liquidation messages that the venues' feeds let through."""
        world = self._world
        counts = np.array([len(step.forced) for step in steps])
        if not counts.any():
            return np.empty(0, TRADE), np.empty(0, LIQUIDATION)
        forced = np.concatenate([step.forced for step in steps])
        row = np.repeat(np.arange(len(steps)), counts)
        rank = np.arange(len(forced)) - np.repeat(np.cumsum(counts) - counts, counts)
        spacing = (_END_AT - _FORCED_AT) / np.maximum(counts[row], 1)
        time_ns = begin[row] + _FORCED_AT + (rank * spacing).astype(np.int64)
        market, side = forced["market"], forced["side"]
        quantity = forced["lots"] * world.quantity_step[market]
        trades = np.zeros(len(forced), TRADE)
        self._stamp(trades, market, time_ns)
        trades["price"], trades["quantity"] = self._ticks(forced["fill"], market), quantity
        trades["aggressor"] = np.where(side == 0, -1, 1)
        printed = trades["price"].copy()
        for m in np.unique(market[self._at_bankruptcy[market]]):
            mine = market == m
            bankrupt = world.rules[m].bankruptcy_price(side[mine], forced["entry"][mine], forced["leverage"][mine])
            printed[mine] = self._ticks(bankrupt, market[mine])
        shown = ~self._no_feed[market]
        # A sampled feed shows the latest of each second and market.
        latest = np.zeros(len(forced), np.bool_)
        _, from_end = np.unique((row * len(world.markets) + market)[::-1], return_index=True)
        latest[len(forced) - 1 - from_end] = True
        shown &= self._full_feed[market] | latest
        liquidations = np.zeros(int(shown.sum()), LIQUIDATION)
        self._stamp(liquidations, market[shown], time_ns[shown])
        liquidations["price"], liquidations["quantity"] = printed[shown], quantity[shown]
        liquidations["side"] = side[shown]
        return trades, liquidations

    def _marks(self, steps: Sequence[Step], begin: I64) -> Records:
        markets = len(self._world.markets)
        out = np.zeros(len(steps) * markets, MARK_PRICE)
        self._stamp(out, np.tile(np.arange(markets), len(steps)), np.repeat(begin + _MARK_AT, markets))
        out["price"] = np.concatenate([step.mark for step in steps])
        return out

    def _open_interest(self, steps: Sequence[Step], begin: I64) -> Records:
        row, market = self._due(steps, self._oi_every)
        out = np.zeros(len(row), OPEN_INTEREST)
        self._stamp(out, market, begin[row] + _END_AT)
        lots = np.stack([step.open_interest for step in steps])[row, market]
        out["quantity"] = lots * self._world.quantity_step[market]
        return out

    def _depth(self, steps: Sequence[Step], begin: I64) -> Records:
        """Snapshots of the books that are due: bids then asks, best first, resting size at each level."""
        world = self._world
        row, market = self._due(steps, self._depth_every)
        mid = np.stack([step.after for step in steps])[row, market]
        there = np.stack([step.depth for step in steps])[row, market] * world.depth_usd[market]
        noise = np.exp(0.25 * self._rng.standard_normal((len(row), 2, len(_LEVELS))))
        usd = there[:, None, None] * np.diff(_LEVELS, prepend=0.0) * noise
        price = mid[:, None, None] * np.exp(np.array([-1.0, 1.0])[:, None] * _LEVELS)
        each = 2 * len(_LEVELS)
        market = np.repeat(market, each)
        out = np.zeros(len(market), BOOK_DEPTH)
        self._stamp(out, market, np.repeat(begin[row] + _END_AT, each))
        out["price"] = self._ticks(price.ravel(), market)
        unit = np.where(world.inverse[market], 1.0, out["price"]) * world.quantity_step[market]
        out["quantity"] = np.maximum(np.rint(usd.ravel() / unit), 1) * world.quantity_step[market]
        out["side"] = np.tile(np.repeat([0, 1], len(_LEVELS)), len(row))
        return out

    def _ticks(self, price: F64, market: I64) -> F64:
        """Round to the market's price step, at least one."""
        step = self._world.price_step[market]
        rounded: F64 = np.maximum(np.rint(price / step), 1) * step
        return rounded
