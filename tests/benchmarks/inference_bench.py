"""What following every market costs: 22 venues x 300 symbols, open interest and mark once a second.

Processor time per second of event time, as a share of one core: inference (events to updates), the kernels that apply
them, and the scorecard with its baselines and the calibration, whose maps are frozen every five minutes.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from forcedmove_kernels.backend import select_backend
from forcedmove_server.config import CalibrationConfig, Config, EngineConfig
from forcedmove_server.engine.forecasts import Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.margin.venues import VENUES
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, TRADE, EventBatch
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.scorecard.scorecard import Scorecard
from tests.benchmarks.rows import goal

SYMBOLS, SECONDS = 300, 20
TRADES_PER_S = 30_000
START_NS = 1_791_158_400 * 10**9
S = 10**9


def _registry() -> InstrumentRegistry:
    return InstrumentRegistry(
        [
            Instrument(venue.name, f"C{n:03}USDT", f"C{n:03}", "USDT", max_leverage=50)
            for n in range(SYMBOLS)
            for venue in VENUES
        ]
    )


class _Market:
    """Prices that walk by 1.5 basis points a second, the same on all venues; open interest that walks as well."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._rng = np.random.default_rng(5)
        self._symbol = np.repeat(np.arange(SYMBOLS), len(registry) // SYMBOLS)
        self._log_price = np.log(self._rng.uniform(1.0, 500.0, SYMBOLS))
        self._interest = self._rng.uniform(2e5, 2e6, len(registry))
        rank = self._rng.permutation(len(registry)) + 1.0
        self._traded = (1 / rank) / (1 / rank).sum()

    def second(self, number: int) -> EventBatch:
        """All events of one second."""
        rng, markets = self._rng, len(self._symbol)
        begin = START_NS + number * S
        self._log_price += rng.normal(0, 1.5e-4, SYMBOLS)
        self._interest *= np.exp(rng.normal(0, 1e-4, markets))
        price = np.exp(self._log_price)[self._symbol]
        trades = np.zeros(TRADES_PER_S, TRADE)
        trades["market"] = rng.choice(markets, TRADES_PER_S, p=self._traded)
        trades["time_ns"] = np.sort(begin + rng.integers(0, S, TRADES_PER_S))
        trades["price"] = price[trades["market"]] * np.exp(rng.normal(0, 5e-5, TRADES_PER_S))
        trades["quantity"] = rng.lognormal(3, 1, TRADES_PER_S)
        trades["aggressor"] = rng.choice([-1, 1], TRADES_PER_S)
        marks, interest = np.zeros(markets, MARK_PRICE), np.zeros(markets, OPEN_INTEREST)
        for rows in (marks, interest):
            rows["market"] = np.arange(markets)
        marks["price"], interest["quantity"] = price, np.round(self._interest)
        for rows in (marks, interest):
            rows["time_ns"] = begin + (np.arange(markets, dtype=np.int64) * 7919) % markets * (S // markets)
            rows.sort(order="time_ns")
        return EventBatch(until_ns=begin + S, trades=trades, mark_prices=marks, open_interest=interest)


def run(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Append the rows of this benchmark; return the figures that have to be reached."""
    registry = _registry()
    engine = EngineConfig(threads=1, max_markets=len(registry), max_cohorts_per_market=1024, bins=1024)
    pipeline = Pipeline(registry, engine, Config().model)
    pipeline.backend = select_backend("cpu", 1)[0]
    learner = Learner(pipeline, CalibrationConfig())
    forecasts = Forecasts(pipeline, Scorecard(), learner)
    market = _Market(registry)
    for number in range(3):
        forecasts.take(market.second(number))
    spent = {"inference": 0.0, "kernels": 0.0, "scorecard, between maps": 0.0}
    observers, pipeline.observers = list(pipeline.observers), []

    def timed(name: str, begin: float) -> float:
        now = time.process_time()
        spent[name] += now - begin
        return now

    for number in range(3, 3 + SECONDS):
        batch = market.second(number)
        begin = time.process_time()
        for updates in pipeline.inference.step(batch):
            begin = timed("inference", begin)
            pipeline.store.apply(updates)
            begin = timed("kernels", begin)
            for observer in observers:
                observer(updates)
            begin = timed("scorecard, between maps", begin)
        begin = timed("inference", begin)
        pipeline.store.refresh(number)
        timed("kernels", begin)
    live, interest = (
        pipeline.store.ledger.live[: len(registry)],
        pipeline.inference.markets.open_interest[: len(registry)],
    )
    assert (live == interest[:, None]).all(), "open interest is conserved on every market"
    pipeline.observers = observers
    begin = time.process_time()
    forecasts.take(EventBatch(until_ns=START_NS + 300 * S + 2))
    frozen = (time.process_time() - begin) / 300
    params = {"markets": len(registry), "trades/s": TRADES_PER_S}
    shares = {name: 100 * seconds / SECONDS for name, seconds in spent.items()} | {
        "scorecard, maps frozen": 100 * frozen
    }
    for name, share in shares.items():
        results.append(
            {
                "name": f"share of a core: {name}",
                "params": params,
                "median": share,
                "unit": "%",
                "baseline": None,
                "ratio": None,
            }
        )
    scoring = shares["scorecard, between maps"] + shares["scorecard, maps frozen"]
    return [
        goal(
            "inference, open interest once a second, share of a core", 20, None, shares["inference"], "%", at_most=True
        ),
        goal("scorecard with calibration, share of a core", 5, None, scoring, "%", at_most=True),
    ]
