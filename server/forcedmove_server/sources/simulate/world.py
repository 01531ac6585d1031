"""One step of the simulated market: agents act, prices move, marks trigger, forced orders hit the books.

Within a step: voluntary closes and openings meet each other and the market maker takes the rest; prices move with news
and flow; the mark is set; every position whose liquidation price the mark has crossed is closed into the book. So at
the end of a step no live position is beyond its mark, and open interest is the sum of the longs, which is the sum of
the shorts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.events import Records
from forcedmove_server.sources.simulate.agents import FUNDING_PULL, Agents
from forcedmove_server.sources.simulate.config import STEP_NS, STEP_S, SYMBOLS, SimulationConfig
from forcedmove_server.sources.simulate.positions import POSITION, TRUTH, PositionTable
from forcedmove_server.sources.simulate.prices import PriceField
from forcedmove_server.sources.simulate.regimes import Regimes

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: steps whose random numbers are drawn together
SPAN_STEPS = 300

#: a forced close as it happened, before a venue's feed prints or hides it
FORCED = np.dtype(
    [("market", "<i8"), ("side", "<i8"), ("entry", "<f8"), ("leverage", "<f8"), ("lots", "<i8"), ("fill", "<f8")]
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step showed; arrays ``[M]``. ``volume`` counts voluntary lots, ``forced`` the rest."""

    index: int
    before: F64  # traded price at the beginning
    price: F64  # traded price after voluntary flow
    after: F64  # traded price after forced orders
    mark: F64
    volume: I64
    open_interest: I64
    depth: F64
    activity: float
    forced: Records


class World:
    """The state of a simulated market; :meth:`step` advances it by one second."""

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self.markets = config.markets()
        self.instruments = [instrument for _, instrument in self.markets]
        self.rules = [rule_for(instrument) for instrument in self.instruments]
        self.symbol = np.array([config.symbols.index(i.base) for i in self.instruments])
        self.inverse = np.array([rule.formula.inverse for rule in self.rules])
        self.quantity_step = np.array([i.quantity_step for i in self.instruments])
        self.price_step = np.array([i.price_step for i in self.instruments])
        total = np.array([SYMBOLS[i.base].open_interest_usd for i in self.instruments])
        share = np.array([profile.open_interest_share for profile, _ in self.markets])
        share = share / np.bincount(self.symbol, share)[self.symbol]
        self.open_interest_usd = total * share
        depth_usd = self.open_interest_usd * config.depth_share_1_percent * 100 * config.weather.depth
        people, weather, flow = (np.random.default_rng(s) for s in np.random.SeedSequence(config.seed).spawn(3))
        self._flow_rng = flow
        self._prices = PriceField(config, self.symbol, share, depth_usd)
        self._regimes = Regimes(config, weather)
        self._weather_rng = weather
        self._agents = Agents(config, self.markets, self.rules, self.open_interest_usd, people)
        self._positions = PositionTable(self.inverse, int(self._agents.live.max() * 1.5) + 64)
        # The market maker of each market: signed lots, and its mean entry.
        self._maker_lots = np.zeros(len(self.markets), np.int64)
        self._maker_entry = self._prices.price
        self.steps_done = 0
        #: USD liquidated since the beginning, by symbol and side, at the price before their own impact
        self.forced_usd = np.zeros((len(config.symbols), 2))
        self._populate()

    @property
    def depth_usd(self) -> F64:
        """Resting notional per unit of log price of a full book, one side, ``[M]``."""
        return self._prices.depth_usd

    @property
    def news(self) -> F64:
        """Log return of each symbol's news since the beginning, ``[S]``: of prices without any flow."""
        return self._prices.news

    def usd_per_lot(self, price: F64) -> F64:
        """USD value of one lot, ``[M]``."""
        usd: F64 = np.where(self.inverse, 1.0, price) * self.quantity_step
        return usd

    def open_interest(self) -> I64:
        """Lots open on one side: the longs, the market maker's included, which equal the shorts."""
        return self._positions.lots[0::2] + np.maximum(self._maker_lots, 0)

    def step(self) -> Step:
        """Advance by one step."""
        offset = self.steps_done % SPAN_STEPS
        if offset == 0:
            self._draw_span()
        before = self._prices.price
        bought, sold = self._close_due()
        first, last = self._opening_bounds[offset], self._opening_bounds[offset + 1]
        openings = self._openings[first:last]
        if last > first:
            _tally(bought, sold, openings["row"], openings["lots"])
        net = bought - sold
        price = self._prices.advance(self._news[offset], net * self.usd_per_lot(before))
        self._open(openings, before, price)
        if net.any():
            self._make_market(-net, price)
        mark = np.maximum(np.rint(self._prices.marks() / self.price_step), 1) * self.price_step
        forced, after = self._liquidate(mark, price)
        volume = np.maximum(bought, sold) + self._churn[offset]
        done = Step(
            self.steps_done, before, price, after, mark, volume, self.open_interest(),
            self._prices.depth.copy(), float(self._weather.activity[offset]), forced,
        )  # fmt: skip
        self.steps_done += 1
        return done

    def truth(self, market_ids: NDArray[np.int32]) -> Records:
        """Every live position as TRUTH records, the market makers' included (leverage 1: cross-margined)."""
        agents = self._positions.truth(market_ids, self.quantity_step)
        held = np.flatnonzero(self._maker_lots)
        makers = np.zeros(len(held), TRUTH)
        lots = self._maker_lots[held]
        makers["market"], makers["side"] = market_ids[held], lots < 0
        makers["entry"], makers["quantity"] = self._maker_entry[held], np.abs(lots) * self.quantity_step[held]
        makers["leverage"] = 1.0
        makers["account_usd"] = np.abs(lots) * self.usd_per_lot(self._maker_entry)[held]
        makers["opened_ns"] = self.config.epoch_ns
        # At 1x a long loses all at zero, a linear short at twice the entry, an inverse short never.
        short = np.where(self.inverse[held], np.inf, 2 * makers["entry"])
        makers["liquidation_price"] = np.where(lots < 0, short, 0.0)
        return np.concatenate([agents, makers])

    def _populate(self) -> None:
        for row, records in enumerate(self._agents.population(self._prices.price, self.symbol)):
            if len(records):
                self._positions.insert(row, records)
        self._maker_lots = self._positions.lots[1::2] - self._positions.lots[0::2]

    def _draw_span(self) -> None:
        weather = self._weather = self._regimes.span(SPAN_STEPS)
        self._news = self._prices.draw(self._weather_rng, SPAN_STEPS, weather.volatility, weather.drift)
        # Funding leans the crowd against its own imbalance, which the market maker holds; a trend leans it along.
        price = self._prices.price
        imbalance = self._maker_lots * self.usd_per_lot(price) / self.open_interest_usd
        crowd = np.tanh(FUNDING_PULL * imbalance + 2_000 * weather.drift[0] + self.config.weather.crowd)
        self._openings = self._agents.openings(SPAN_STEPS, weather.activity, price, crowd)
        self._opening_bounds = np.searchsorted(self._openings["step"], np.arange(SPAN_STEPS + 1))
        rate = self.config.churn_per_open_interest_day * STEP_S / 86_400
        bursts = np.exp(0.8 * self._flow_rng.standard_normal((SPAN_STEPS, len(self.markets))) - 0.32)
        lots = self.open_interest_usd / self.usd_per_lot(price) * rate
        self._churn = np.rint(lots * bursts * weather.activity[:, None]).astype(np.int64)

    def _close_due(self) -> tuple[I64, I64]:
        """Close what has lived long enough; return lots bought and sold by it, ``[M]``."""
        bought, sold = np.zeros(len(self.markets), np.int64), np.zeros(len(self.markets), np.int64)
        for row in np.flatnonzero(self._positions.next_close <= self.steps_done).tolist():
            gone = self._positions.take(row, self._positions.row(row)["close_at"] <= self.steps_done)
            (bought if row % 2 else sold)[row // 2] += gone["lots"].sum()
        return bought, sold

    def _open(self, openings: Records, before: F64, price: F64) -> None:
        now_ns = self.config.epoch_ns + self.steps_done * STEP_NS
        for opening in openings:
            row = int(opening["row"])
            market = row // 2
            at = before[market] + (price[market] - before[market]) * opening["when"]
            at = max(round(at / self.price_step[market]), 1) * self.price_step[market]
            live = int(self._positions.count[row])
            if opening["adds"] and live:
                self._positions.add_to(row, int(opening["pick"] * live), int(opening["lots"]), at)
                continue
            record = np.zeros(1, POSITION)
            for name in ("lots", "leverage", "ratio", "account_usd"):
                record[name] = opening[name]
            record["entry"], record["liquidation_price"] = at, at * opening["ratio"]
            record["opened_ns"] = now_ns + int(opening["when"] * STEP_NS)
            record["close_at"] = self.steps_done + opening["lifetime_steps"]
            self._positions.insert(row, record)

    def _make_market(self, lots: I64, price: F64) -> None:
        """Let the market makers trade signed ``lots`` ``[M]``: more averages the entry, a flip restarts it."""
        old, new = self._maker_lots, self._maker_lots + lots
        grown = (np.sign(old) == np.sign(new)) & (np.abs(new) > np.abs(old))
        flipped = (np.sign(old) != np.sign(new)) & (new != 0)
        weight = np.where(grown, np.abs(old) / np.maximum(np.abs(new), 1), 1.0)
        entry = weight * self._maker_entry + (1 - weight) * price
        self._maker_entry = np.where(flipped, price, entry)
        self._maker_lots = new

    def _liquidate(self, mark: F64, price: F64) -> tuple[Records, F64]:
        """Close every position beyond its mark into the books; return what was forced and the prices after it."""
        nearest = self._positions.nearest
        crossed = np.empty(len(nearest), np.bool_)
        crossed[0::2], crossed[1::2] = nearest[0::2] >= mark, nearest[1::2] <= mark
        if not crossed.any():
            return _NOTHING_FORCED, price
        signed, parts = np.zeros(len(mark), np.int64), []
        unit_usd = self.usd_per_lot(price)
        for row in np.flatnonzero(crossed).tolist():
            side, market = row % 2, row // 2
            levels = self._positions.row(row)["liquidation_price"]
            gone = self._positions.take(row, levels <= mark[market] if side else levels >= mark[market])
            part = np.zeros(len(gone), FORCED)
            part["market"], part["side"] = market, side
            for name in ("entry", "leverage", "lots"):
                part[name] = gone[name]
            signed[market] += gone["lots"].sum() * (1 if side else -1)
            self.forced_usd[self.symbol[market], side] += gone["lots"].sum() * unit_usd[market]
            parts.append(part)
        after = self._prices.force(signed * unit_usd)
        self._make_market(-signed, after)
        forced = np.concatenate(parts)
        # Orders of one row eat through the book one after the other.
        for part_of in np.unique(forced["market"]):
            mine = forced["market"] == part_of
            eaten = np.cumsum(forced["lots"][mine]) / forced["lots"][mine].sum()
            forced["fill"][mine] = price[part_of] + (after[part_of] - price[part_of]) * eaten
        return forced, after


_NOTHING_FORCED = np.empty(0, FORCED)


def _tally(bought: I64, sold: I64, rows: I64, lots: I64) -> None:
    """Add openings to what was bought (long rows) and sold (short rows)."""
    long = rows % 2 == 0
    np.add.at(bought, rows[long] // 2, lots[long])
    np.add.at(sold, rows[~long] // 2, lots[~long])
