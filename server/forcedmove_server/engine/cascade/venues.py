"""The per-venue form of a symbol's chain: whose book holds how much, who closes in steps, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.cascade.coupled import Steps, coupled_chain, split_depth
from forcedmove_server.engine.cascade.forecast import PointForecast
from forcedmove_server.engine.depth import latent_usd
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.inference.markets import interest_usd
from forcedmove_server.margin.process import first_step

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

#: sizes of what is liquidated scatter log-normally around the typical one, weighted by size
SIZE_LOG_SD = 1.0
_SIZES = np.exp(SIZE_LOG_SD * np.linspace(-2.5, 2.5, 21))
_SIZE_WEIGHTS = np.exp(-(np.linspace(-2.5, 2.5, 21) ** 2) / 2)


@dataclass(frozen=True, slots=True)
class VenueEnd:
    """The furthest price that one venue sees, and what is liquidated there."""

    venue: str
    furthest_usd: float
    total_usd: float
    #: share of a liquidation that the venue's rule closes at once; the rest comes after its pause
    first_step: float


@dataclass(frozen=True, slots=True)
class VenueForecast:
    """A chain venue by venue; ``terminal_usd`` is where arbitrage brings all prices in the end."""

    coupling_s: float
    terminal_usd: float
    total_usd: float
    duration_s: float
    settled: bool
    venues: tuple[VenueEnd, ...]


def venue_forecast(
    pipeline: Pipeline, state: SymbolState, point: PointForecast, coupling_s: float, own_book: bool = False
) -> VenueForecast:
    """Follow a point forecast's shock venue by venue. Raises InputError as :func:`coupled_chain` does.

    ``own_book``: the visible book is the reader's, of no venue; it is shared out as the latent one is.
    """
    names = list(state.venue_cents)
    side, book = point.side, point.book
    notional = np.stack([state.venue_cents[venue][side] for venue in names])
    depth = split_depth(book.depth, _depth_weights(pipeline, state, point, names, own_book))
    steps = _steps(pipeline, state, names)
    mark, shock = book.mark_cell, point.shock_cell
    last = notional.shape[1] - 1
    flipped = side == 1 and mark == shock  # a shock within its cell has no direction but down
    if flipped:
        notional, depth, mark, shock = notional[:, ::-1], depth[:, ::-1], last - mark, last - shock
    found = coupled_chain(notional, depth, mark, shock, coupling_s, steps)

    def price(cell: int) -> float:
        cell = last - cell if flipped else cell
        return point.chain.shock_price_usd if cell == point.shock_cell else state.edge(cell)

    return VenueForecast(
        coupling_s=coupling_s,
        terminal_usd=price(found.terminal),
        total_usd=int(found.fired.sum()) / 100,
        duration_s=found.duration_s,
        settled=found.settled,
        venues=tuple(
            VenueEnd(venue, price(int(cell)), int(cents) / 100, float(share))
            for venue, cell, cents, share in zip(names, found.furthest, found.fired, steps.share, strict=True)
        ),
    )


def _depth_weights(
    pipeline: Pipeline, state: SymbolState, point: PointForecast, names: list[str], own_book: bool
) -> F64:
    """Whose orders rest in each cell, float64 ``[V, C]``: books as they are; the latent book by open interest."""
    rows, table = state.rows, pipeline.inference.markets
    mark = rows.mark_usd
    usd = list(interest_usd(table, rows.markets.tolist(), mark).values())
    interest = np.array([sum(usd[k] for k, venue in enumerate(rows.venues) if venue == name) for name in names])
    latent = latent_usd(
        state.visible, mark, point.chain.shock_price_usd, point.side, state.first_bin, rows.bin_width_usd, state.law
    )
    share = interest / interest.sum() if interest.sum() > 0 else np.full(len(names), 1 / len(names))
    if own_book:
        return np.outer(share, latent + state.visible.usd[point.side])
    weights = np.outer(share, latent)
    stale = pipeline.left_out(rows.symbol)
    for row, name in enumerate(names):
        own = [m for m, venue in zip(rows.markets.tolist(), rows.venues, strict=True) if venue == name]
        seen, _ = pipeline.books.visible(
            dict.fromkeys((m for m in own if m not in stale), 1.0),
            state.first_bin,
            pipeline.store.bins,
            rows.bin_width_usd,
            pipeline.now_ns,
        )
        weights[row] += seen.usd[point.side]
    return weights


def _steps(pipeline: Pipeline, state: SymbolState, names: list[str]) -> Steps:
    """How the venues' rules close positions of about the typical size; of several markets the largest decides."""
    share, pause = np.ones(len(names)), np.zeros(len(names))
    table, mark = pipeline.inference.markets, state.rows.mark_usd
    largest: dict[str, int] = {}
    for market, venue in zip(state.rows.markets.tolist(), state.rows.venues, strict=True):
        best = largest.get(venue)
        if (
            best is None
            or table.open_interest[market] * table.lot[market] > table.open_interest[best] * table.lot[best]
        ):
            largest[venue] = market
    for row, name in enumerate(names):
        market = largest[name]
        rule = pipeline.store.margins[market].rule
        usd = pipeline.model.typical_position_usd * _SIZES
        quantity = usd if table.inverse[market] else usd / mark
        share[row] = float(np.average(first_step(rule, quantity, mark, 10.0), weights=_SIZE_WEIGHTS))
        pause[row] = rule.process.cooldown_s
    return Steps(share, pause)
