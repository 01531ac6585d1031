"""Everything that one question about a shock is answered with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.engine.bands import Certainty
from forcedmove_server.engine.cascade.forecast import (
    CELL_DEPTH_SD,
    DEPTH_SD,
    MAP_SD,
    PathForecast,
    PointForecast,
    ShockQuestion,
    lasting,
    path_forecast,
    point_forecast,
    with_book,
)
from forcedmove_server.engine.cascade.noise import Spreads, notional_deviation
from forcedmove_server.engine.cascade.sweeps import CurvePoint, Tipping, curve, tipping
from forcedmove_server.engine.cascade.venues import VenueForecast, venue_forecast
from forcedmove_server.engine.depth import BOOK_STALE_S
from forcedmove_server.engine.frames import AssumptionInfo, ChainInfo
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.scan.books import book_of, outward


@dataclass(frozen=True, slots=True)
class BookCoverage:
    """How far the visible book of one market reaches, as fractions of the mark; a stale one is left out."""

    market: str
    age_s: float
    bid_reach: float
    ask_reach: float
    bid_usd: float
    ask_usd: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """The answer. ``tipping`` is of both sides, longs first; the curve is of the shock's own side."""

    chain: ChainInfo
    tipping: tuple[Tipping, Tipping]
    paths: PathForecast | None
    venues: VenueForecast | None
    curve: tuple[CurvePoint, ...]
    books: tuple[BookCoverage, ...]
    assumptions: tuple[AssumptionInfo, ...]


def forecast(pipeline: Pipeline, state: SymbolState, certainty: Certainty, question: ShockQuestion) -> Forecast:
    """Answer a question from the newest state of a symbol; ``certainty`` is that of ``state.rows.rows``.

    Raises InputError for a shock outside the window, or a book or coupling time that cannot be.
    """
    backend = pipeline.backend
    state = lasting(with_book(state, question.book), question.duration_s)
    point = point_forecast(backend, state, question.shock_usd)
    paths = None
    if question.paths:
        spreads = path_spreads(pipeline, state, certainty, point, question.duration_s)
        paths = path_forecast(backend, state, point, question.paths, question.seed, spreads)
    venues = None
    if question.coupling_s is not None:
        venues = venue_forecast(pipeline, state, point, question.coupling_s, question.book is not None)
    sides = tuple(outward(book_of(state), side) for side in (LONG, SHORT))
    return Forecast(
        chain=point.chain,
        tipping=(tipping(backend, state, sides[LONG]), tipping(backend, state, sides[SHORT])),
        paths=paths,
        venues=venues,
        curve=curve(backend, sides[point.side], question.curve_points),
        books=_coverage(pipeline, state) if question.book is None else (),
        assumptions=tuple(_assumptions(state, question, paths)),
    )


def path_spreads(
    pipeline: Pipeline, state: SymbolState, certainty: Certainty, point: PointForecast, duration_s: float = 0.0
) -> Spreads:
    """How far notional, depth and the shock itself are taken to be off on the paths of a shock.

    Of the notional what bands know about the cells that the chain crosses, and on top what maps are off by beyond that.
    Of the shock the symbol's ordinary volatility over the time that it takes.
    """
    chain = point.chain
    low, high = sorted((point.book.mark_cell, state.cell(chain.terminal_price_usd)))
    known = notional_deviation(pipeline.store, state, certainty, point.side, low, high)
    wandered = state.law.sigma_day * math.sqrt(duration_s / 86_400)
    return Spreads(float(np.hypot(known, MAP_SD)), DEPTH_SD, CELL_DEPTH_SD, wandered)


def _coverage(pipeline: Pipeline, state: SymbolState) -> tuple[BookCoverage, ...]:
    stale = pipeline.left_out(state.rows.symbol)
    markets = [market for market in state.rows.markets.tolist() if market not in stale]
    return tuple(
        BookCoverage(pipeline.registry[r.market].key, r.age_s, r.bid_reach, r.ask_reach, r.bid_usd, r.ask_usd, r.stale)
        for r in pipeline.books.reaches(markets, state.rows.mark_usd, pipeline.now_ns)
    )


def _assumptions(state: SymbolState, question: ShockQuestion, paths: PathForecast | None) -> list[AssumptionInfo]:
    """List what this answer takes for granted beyond the map's own assumptions."""
    listed = [
        AssumptionInfo("book_age", "books older than this many seconds are left out of the depth", BOOK_STALE_S),
        AssumptionInfo("latent_book", "depth beyond the visible book counts from where the shock leads"),
    ]
    if question.book is not None:
        listed.append(AssumptionInfo("given_book", "the visible book is the one of the request"))
    if question.duration_s > 0:
        law = state.law
        listed += [
            AssumptionInfo(
                "withdrawal_span",
                "the shock moves at an even pace: share of a move that withdraws depth as books were seen to, the part "
                f"that falls into five minutes; beyond what was seen the default takes {law.counted_unseen:.0%} of it",
                law.counted,
            ),
            AssumptionInfo(
                "impact_recovery",
                f"share of what is sold that still presses at the end: {law.permanent:g} of an impact stays, the rest "
                f"falls to 1/e in {law.recovery_s:g} s",
                law.felt,
            ),
        ]
    if paths is not None and paths.spreads.shock > 0:
        listed.append(
            AssumptionInfo(
                "path_shock",
                "relative standard deviation of where the shock ends: ordinary volatility over its duration",
                paths.spreads.shock,
            )
        )
    if paths is not None:
        listed += [
            AssumptionInfo(
                "path_notional",
                "relative standard deviation of what fires, all of it by one log-normal factor a path",
                paths.spreads.notional,
            ),
            AssumptionInfo("path_depth", "the same of the depth of all cells", paths.spreads.depth),
            AssumptionInfo("path_cell_depth", "the same of the depth of each cell by itself", paths.spreads.cell_depth),
            AssumptionInfo(
                "path_order", "the order of liquidations is not drawn: where a pooled chain ends does not depend on it"
            ),
        ]
    if question.coupling_s is not None:
        listed.append(
            AssumptionInfo(
                "coupling",
                "seconds in which arbitrage works off all but 1/e of what one venue's book took more than its part; "
                "venues look at marks once a second; positions are closed in the steps of their venue's rule; margin "
                "that is added in between, penalties, insurance funds and auto-deleveraging are left out",
                question.coupling_s,
            )
        )
    return listed
