"""What a forecast needs of a tick: taken on the engine's thread, and answered on any other.

Maps and states of a tick never change; books, feeds, rules and cohorts do. Of those a forecast gets a copy that stands
still, which has the names that :class:`~forcedmove_server.engine.pipeline.Pipeline` has for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.bands import Certainty
from forcedmove_server.engine.cascade.answer import Forecast, forecast
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.chains import check_rows, check_shock
from forcedmove_server.engine.depth import BookTable
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.scan.books import beside
from forcedmove_server.errors import LimitError
from forcedmove_server.margin.multipliers import Multipliers
from forcedmove_server.market.instruments import InstrumentRegistry

I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

#: a copied grid at most: what random paths need to know how sure a map is
MAX_GRID_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class StillGrid:
    """The grid of some rows as it was: u64 ``[K, 2, T, C]`` lots."""

    rows: I32
    lots: U64

    def leverage_grid(self, rows: I32, weighted: bool) -> U64:
        """Return the grid of the rows that it was taken of."""
        assert not weighted
        assert np.array_equal(rows, self.rows), "a grid that was not taken"
        return self.lots


@dataclass(frozen=True, slots=True)
class StillStore:
    """Width of the windows, the rules of a symbol's markets, and their grid where random paths are asked for."""

    bins: int
    margins: dict[int, Multipliers]
    resident: StillGrid | None


@dataclass(frozen=True, slots=True)
class StillMarkets:
    """Columns of inference's table, an element per market."""

    open_interest: NDArray[np.int64]
    lot: NDArray[np.float64]
    inverse: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StillInference:
    """What inference knows of the markets."""

    markets: StillMarkets


@dataclass(frozen=True, slots=True)
class StillPipeline:
    """As much of a pipeline as forecasts of one symbol read."""

    backend: Backend
    registry: InstrumentRegistry
    model: ModelConfig
    now_ns: int
    inference: StillInference
    store: StillStore
    books: BookTable
    stale: tuple[int, ...]

    def left_out(self, symbol: str) -> tuple[int, ...]:
        """Markets of the symbol whose feeds were stale."""
        return self.stale


@dataclass(frozen=True, slots=True)
class TakenQuestion:
    """A question about a shock, with all that its answer is made of."""

    question: ShockQuestion
    state: SymbolState
    certainty: Certainty
    still: StillPipeline

    def forecast(self) -> Forecast:
        """Answer it; any thread may. Raises InputError as :func:`~forcedmove_server.engine.cascade.answer.forecast`."""
        pipeline = cast(Pipeline, self.still)  # has all that is asked of one here
        return forecast(pipeline, self.state, self.certainty, self.question)


def take_question(
    pipeline: Pipeline, state: SymbolState, certainty: Certainty, question: ShockQuestion
) -> TakenQuestion:
    """Copy what answering a question takes; on the engine's thread. ``certainty`` is that of ``state.rows.rows``.

    Raises InputError for a shock outside the window, UnfitMapError for a map that no chain can be followed through,
    LimitError for one whose copy would be too large; all before anything is copied.
    """
    rows, table = state.rows, pipeline.inference.markets
    cells = state.profile.shape[1]
    check_rows(rows.symbol, state.profile)
    check_shock(question.shock_usd, state.first_bin, rows.bin_width_usd, cells)
    size = len(rows.rows) * 2 * len(LEVERAGES) * cells * np.dtype(np.uint64).itemsize
    if question.paths and size > MAX_GRID_BYTES:
        raise LimitError(
            f"paths = {question.paths}: the {len(rows.rows)} rows of {rows.symbol} have {size} bytes in windows of "
            f"{cells - 2} bins, more than the {MAX_GRID_BYTES} that random paths may take: ask for paths = 0"
        )
    own = rows.markets.tolist()
    grid = None
    if question.paths:
        grid = StillGrid(rows.rows, pipeline.store.resident.leverage_grid(rows.rows, weighted=False))
    still = StillPipeline(
        backend=beside(pipeline.backend),
        registry=pipeline.registry,
        model=pipeline.model,
        now_ns=pipeline.now_ns,
        inference=StillInference(StillMarkets(table.open_interest.copy(), table.lot.copy(), table.inverse.copy())),
        store=StillStore(pipeline.store.bins, {market: pipeline.store.margins[market] for market in own}, grid),
        books=pipeline.books.of(own),
        stale=tuple(pipeline.left_out(rows.symbol)),
    )
    return TakenQuestion(question, state, certainty, still)
