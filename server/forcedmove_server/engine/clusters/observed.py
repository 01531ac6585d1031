"""What was observed of a symbol between two ticks: how far the mark went, open interest, liquidations told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Updates
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.market.liquidation_feeds import liquidations_complete

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_NO_PRICE = np.iinfo(np.uint32).max


@dataclass(frozen=True, slots=True)
class Seen:
    """One symbol at a tick. Arrays ``[K]`` are of its markets in the registry's order, which only grows.

    ``low_usd`` and ``high_usd`` are how far the mark went since the tick before: the mean of its markets' extremes by
    open interest, as the mark is that of their prices, so that one venue's wick is not the symbol's. ``quantity`` is
    open interest in model units, NaN where there is none yet, worth ``usd`` each; ``liquidated`` ``[K, 2]`` USD of
    longs and shorts told since the start.
    """

    time_ns: int
    mark_usd: float
    low_usd: float
    high_usd: float
    quantity: F64
    usd: F64
    interest_ns: I64
    liquidated: F64
    complete: NDArray[np.bool_]  # markets whose venues tell every liquidation


class Released(NamedTuple):
    """What left a side between two looks, in USD; see :class:`~.events.Outcome`, and the open interest there was."""

    liquidated: float
    released: float
    total: float
    interest: float


class Observer:
    """Follows a pipeline. Belongs to the engine's thread."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        capacity = pipeline.inference.markets.capacity
        self._low = np.full(capacity, _NO_PRICE, np.uint32)
        self._high = np.zeros(capacity, np.uint32)
        self._liquidated = np.zeros((capacity, 2))
        pipeline.observers.append(self._updated)
        pipeline.readers.append(self._read)

    def look(self, symbol: str, mark_usd: float) -> Seen:
        """Return what was seen of a symbol that has a map since the last look at it."""
        pipeline, table = self._pipeline, self._pipeline.inference.markets
        mapped = pipeline.mapped_markets(symbol)
        unit_usd = float(table.bin_width[mapped[0]]) / (1 << PRICE_BITS)
        price = table.price
        low, high = (
            pipeline.mean_units(mapped, extreme(seen, price)) * unit_usd
            for seen, extreme in ((self._low, np.minimum), (self._high, np.maximum))
        )
        self._low[mapped], self._high[mapped] = _NO_PRICE, 0
        own = [m for m in pipeline.registry.markets_of(symbol) if m < table.capacity]
        inverse = np.array([pipeline.registry[m].contract_type is ContractType.INVERSE for m in own])
        interest = table.open_interest[own]
        return Seen(
            time_ns=pipeline.newest_event_ns,
            mark_usd=mark_usd,
            low_usd=min(low, mark_usd),
            high_usd=max(high, mark_usd),
            quantity=np.where(interest >= 0, interest * table.lot[own], np.nan),
            usd=np.where(inverse, 1.0, price[own] * unit_usd),
            interest_ns=table.open_interest_ns[own],
            liquidated=self._liquidated[own],
            complete=np.array([liquidations_complete(pipeline.registry[m].venue) is True for m in own]),
        )

    def _updated(self, updates: Updates) -> None:
        markets = updates.market
        self._low[markets] = np.minimum(self._low[markets], updates.low)
        self._high[markets] = np.maximum(self._high[markets], updates.high)

    def _read(self, batch: EventBatch) -> None:
        rows = batch.liquidations
        if not len(rows):
            return
        markets = np.unique(rows["market"])
        inverse = np.zeros(int(markets[-1]) + 1, bool)
        inverse[markets] = [self._pipeline.registry[m].contract_type is ContractType.INVERSE for m in markets.tolist()]
        usd = rows["quantity"] * np.where(inverse[rows["market"]], 1.0, rows["price"])
        np.add.at(self._liquidated, (rows["market"], rows["side"]), usd)


def released(before: Seen, after: Seen, side: int) -> Released:
    """Return what left one side between two looks: of every market what its feed told, or what its open interest lost.

    A feed that tells every liquidation counts as it is, any other at least as much as the open interest fell. Open
    interest is counted at the price of the first look, so that a falling price alone releases nothing.
    """
    k = len(before.quantity)
    told = after.liquidated[:k, side] - before.liquidated[:, side]
    left = np.nan_to_num(np.maximum(before.quantity - after.quantity[:k], 0.0) * before.usd)
    total = np.where(before.complete, told, np.maximum(told, left))
    interest = np.nan_to_num(before.quantity * before.usd)
    return Released(float(told.sum()), float(left.sum()), float(total.sum()), float(interest.sum()))
