"""Exact positions over a small pipeline, and what is told of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from forcedmove_server.config import ExactConfig, ModelConfig
from forcedmove_server.engine.exact.positions import ExactPositions
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.maps import build_map, symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import render_view
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, EventBatch
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey, PositionState
from tests.unit.market_feed import ENGINE, START, S, two_venue_registry

LONG, SHORT = 0, 1
LINEAR, INVERSE, HYPERLIQUID = "binance:BTCUSDT", "binance:BTCUSD_PERP", "hyperliquid:BTC"


class Book:
    """Exact positions over a pipeline of four markets, with one quiet linear market at a chosen price and interest."""

    def __init__(self, *, ready: bool = True, config: ExactConfig | None = None, **model: float) -> None:
        self.pipeline = Pipeline(two_venue_registry(), ENGINE, ModelConfig(**model), exact_markets=2)  # type: ignore[arg-type]
        self.seconds = 0.0
        self.exact = ExactPositions(self.pipeline, config or ExactConfig(), clock=lambda: self.seconds)
        self.sequence, self.now = 0, START
        if ready:
            self.feed(100_000.0, 100.0)

    def feed(self, price: float, interest: float | None = None, market: int = 0) -> None:
        self.now += S
        rows = [] if interest is None else [(self.now + 1, 0, interest, market, 0)]
        marks = np.array([(self.now, 0, price, market, 0)], MARK_PRICE)
        self.pipeline.take(
            EventBatch(until_ns=self.now + 2, mark_prices=marks, open_interest=np.array(rows, OPEN_INTEREST))
        )
        self.pipeline.sweep()
        self.exact.refresh()

    def tell(self, *positions: ExactPosition, producer: str = "me", **change: Any) -> Any:
        self.sequence += 1
        change = {"sequence": self.sequence, "replace": True} | change
        return self.exact.change(PositionChange(producer, positions=positions, **change))

    def live(self, market: int = 0) -> tuple[list[float], list[float]]:
        """Inferred and exact quantities of a market, by side."""
        lot = float(self.pipeline.inference.markets.lot[market])
        inferred, exact = self.pipeline.store.remainders.lots(market), self.pipeline.exact.live([market])[0]
        return [round(lots * lot, 6) for lots in inferred.tolist()], [round(lots * lot, 6) for lots in exact.tolist()]

    def states(self, producer: str = "me") -> list[PositionState]:
        return [held.state for held in self.exact.held(producer).positions]


def position(side: int = LONG, quantity: float = 30.0, level: float | None = 90_000.0, **more: Any) -> ExactPosition:
    key = PositionKey(more.pop("account", ""), more.pop("market", LINEAR), side)
    return ExactPosition(key, quantity=quantity, liquidation_price_usd=level, **more)


def one_map(book: Book, symbol: str = "BTC") -> Any:
    pipeline = book.pipeline
    pipeline.centre(symbol)
    pipeline.store.refresh(pipeline.now_s)
    return build_map(pipeline, symbol_states(pipeline, [symbol], pipeline.notional())[symbol], 1)


def rendered(book: Book, **spec: Any) -> Any:
    pipeline = book.pipeline
    pipeline.centre("BTC")
    pipeline.store.refresh(pipeline.now_s)
    return render_view(pipeline.store, pipeline.symbol_rows("BTC", pipeline.notional()), ViewSpec(**spec))
