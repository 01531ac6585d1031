"""Forecasts of shocks on the wire: the question as it was asked, the answer field by field."""

from __future__ import annotations

from collections.abc import Iterable

from forcedmove.v1 import cascade_pb2
from forcedmove_server.engine.cascade.answer import BookCoverage, Forecast
from forcedmove_server.engine.cascade.coupled import MAX_COUPLING_S
from forcedmove_server.engine.cascade.forecast import MAX_BOOK_LEVELS, GivenBook, PathForecast, ShockQuestion
from forcedmove_server.engine.cascade.sweeps import Tipping
from forcedmove_server.engine.cascade.venues import VenueForecast
from forcedmove_server.engine.frames import SIDES, SymbolMap
from forcedmove_server.rpc.messages import assumption_messages, chain_message
from forcedmove_server.rpc.requests import SIDE_NUMBERS, few, finite, shock_of


def question_of(request: cascade_pb2.SimulateRequest, symbol_map: SymbolMap) -> ShockQuestion:
    """Check a request against the map it is asked of. Raises InputError or NotReadyError."""
    coupling_s = finite("coupling_s", request.coupling_s, 0.0, MAX_COUPLING_S)
    return ShockQuestion(
        shock_usd=shock_of(request, symbol_map),
        paths=request.paths,
        seed=request.seed,
        coupling_s=coupling_s if request.HasField("coupling_s") else None,
        curve_points=request.curve_points,
        book=given_book(request.book) if request.HasField("book") else None,
        duration_s=request.duration_s,
    )


def given_book(book: cascade_pb2.OrderBook) -> GivenBook:
    """A reader's own book, its quantities made USD. Raises InputError for one of too many levels."""
    few("book.bids", book.bids, MAX_BOOK_LEVELS)
    few("book.asks", book.asks, MAX_BOOK_LEVELS)
    return GivenBook(_levels(book.bids), _levels(book.asks))


def _levels(levels: Iterable[cascade_pb2.OrderBookLevel]) -> tuple[tuple[float, float], ...]:
    return tuple((level.price_usd, level.price_usd * level.quantity) for level in levels)


def simulate_response(epoch: int, symbol_map: SymbolMap, found: Forecast) -> cascade_pb2.SimulateResponse:
    """Everything that a question was answered with."""
    return cascade_pb2.SimulateResponse(
        chain=chain_message(found.chain),
        epoch=epoch,
        seq=symbol_map.seq,
        event_time_ns=symbol_map.event_time_ns,
        assumptions=assumption_messages((*symbol_map.assumptions, *found.assumptions)),
        paths=None if found.paths is None else paths_message(found.paths),
        tipping_points=map(tipping_message, found.tipping),
        by_venue=None if found.venues is None else venues_message(found.venues),
        curve=[
            cascade_pb2.ShockOutcome(
                shock_price_usd=point.shock_usd, terminal_price_usd=point.terminal_usd, total_usd=point.total_usd
            )
            for point in found.curve
        ],
        books=map(coverage_message, found.books),
    )


def paths_message(paths: PathForecast) -> cascade_pb2.CascadePaths:
    """What random paths give."""
    return cascade_pb2.CascadePaths(
        paths=paths.paths,
        seed=paths.seed,
        quantiles=[
            cascade_pb2.CascadeQuantile(
                probability=quantile.probability,
                terminal_price_usd=quantile.terminal_usd,
                total_usd=quantile.total_usd,
            )
            for quantile in paths.quantiles
        ],
        level_probabilities=paths.level_probabilities,
        beyond_window_share=paths.beyond_window,
    )


def tipping_message(point: Tipping) -> cascade_pb2.TippingPoint:
    """The smallest shock of a side that tips; what is not known stays absent."""
    return cascade_pb2.TippingPoint(
        side=SIDE_NUMBERS[SIDES[point.side]],
        shock_price_usd=point.shock_usd,
        distance_fraction=point.distance,
        terminal_price_usd=point.terminal_usd,
    )


def venues_message(found: VenueForecast) -> cascade_pb2.VenueCascade:
    """The chain venue by venue."""
    return cascade_pb2.VenueCascade(
        coupling_s=found.coupling_s,
        terminal_price_usd=found.terminal_usd,
        total_usd=found.total_usd,
        duration_s=found.duration_s,
        settled=found.settled,
        venues=[
            cascade_pb2.VenueOutcome(
                venue=end.venue,
                furthest_price_usd=end.furthest_usd,
                total_usd=end.total_usd,
                first_step_share=end.first_step,
            )
            for end in found.venues
        ],
    )


def coverage_message(book: BookCoverage) -> cascade_pb2.BookCoverage:
    """How far one market's book reaches, and how old it is."""
    return cascade_pb2.BookCoverage(
        market=book.market,
        age_ms=round(book.age_s * 1e3),
        bid_reach_fraction=book.bid_reach,
        ask_reach_fraction=book.ask_reach,
        bid_usd=book.bid_usd,
        ask_usd=book.ask_usd,
        stale=book.stale,
    )
