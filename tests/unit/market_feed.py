"""Small hand-made market feeds for tests of the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import EngineConfig, ModelConfig
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.market.events import BOOK_DEPTH, MARK_PRICE, OPEN_INTEREST, TRADE, EventBatch
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry

S = 10**9
START = 1_700_000_000 * S
ENGINE = EngineConfig(backend="cpu", threads=1, max_markets=8, max_cohorts_per_market=2048, bins=1024)


def two_venue_registry() -> InstrumentRegistry:
    """BTC on binance (linear and inverse) and hyperliquid; ETH on binance."""
    return InstrumentRegistry(
        [
            Instrument("binance", "BTCUSDT", "BTC", "USDT", max_leverage=125),
            Instrument("hyperliquid", "BTC", "BTC", "USDC", max_leverage=40),
            Instrument(
                "binance",
                "BTCUSD_PERP",
                "BTC",
                "USD",
                contract_type=ContractType.INVERSE,
                contract_size=100,
                quantity_step=100,
                max_leverage=125,
            ),
            Instrument("binance", "ETHUSDT", "ETH", "USDT", max_leverage=100),
        ]
    )


PRICES = (97_500.0, 97_510.0, 97_490.0, 3_400.0)
INTEREST = (20_000.0, 5_000.0, 3e8, 100_000.0)


def minute(number: int, seed: int = 3, move: float = 0.001, books: bool = True) -> EventBatch:
    """One minute of trades, marks and open interest of the four markets, a few basis points around a drifting price."""
    rng = np.random.default_rng((seed, number))
    begin = START + 60 * number * S
    marks, trades, interest, depth = [], [], [], []
    for market, (price, oi) in enumerate(zip(PRICES, INTEREST, strict=True)):
        drift = np.cumsum(rng.normal(0, move / 4, 60)) + move * np.sin(number)
        for second in range(60):
            mark = price * np.exp(drift[second])
            now = begin + second * S
            marks.append((now, now, mark, market, 0))
            trades.append((now + 1, now + 1, mark * rng.uniform(0.9998, 1.0002), oi / 20_000, market, 1))
        interest.append((begin + 59 * S, 0, round(oi * rng.uniform(0.99, 1.01), 3), market, 0))
        if books:
            usd = market == 2
            for level in range(1, 20):
                for side, sign in ((0, -1), (1, 1)):
                    level_price = mark * (1 + sign * level * 1e-4)
                    quantity = 2e6 if usd else 2e6 / level_price
                    depth.append((begin + 59 * S, 0, level_price, quantity, market, side))
    return EventBatch(
        until_ns=begin + 60 * S,
        trades=np.sort(np.array(trades, TRADE), order="time_ns"),
        mark_prices=np.sort(np.array(marks, MARK_PRICE), order="time_ns"),
        open_interest=np.sort(np.array(interest, OPEN_INTEREST), order="time_ns"),
        depth=np.array(depth, BOOK_DEPTH),
    )


def fed_pipeline(minutes: int = 5, **model: float) -> Pipeline:
    """Return a pipeline that has taken some minutes, with its windows centred and its totals current."""
    pipeline = Pipeline(two_venue_registry(), ENGINE, ModelConfig(**model))  # type: ignore[arg-type]
    for number in range(minutes):
        pipeline.take(minute(number))
    for symbol in pipeline.registry.symbols():
        markets = np.array(pipeline.mapped_markets(symbol))
        pipeline.store.centre(markets, int(pipeline.inference.markets.price[markets[0]]))
    pipeline.store.refresh(pipeline.now_s)
    return pipeline


def live_totals(pipeline: Pipeline) -> NDArray[np.uint64]:
    """Standing totals of the known markets: u64 ``[M, 2, C]`` lots."""
    return pipeline.store.resident.totals(_known(pipeline), weighted=False)


def fresh_totals(pipeline: Pipeline) -> NDArray[np.uint64]:
    """The same weighted by age, as of the clock's reference."""
    return pipeline.store.resident.totals(_known(pipeline), weighted=True)


def _known(pipeline: Pipeline) -> NDArray[np.int32]:
    return np.arange(len(pipeline.registry), dtype=np.int32)
