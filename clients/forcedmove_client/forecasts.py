"""Forecasts of shocks: what a server answers about one, and how it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forcedmove.v1 import cascade_pb2
from forcedmove_client.decoding import SIDE_NAMES, assumption_of, chain_of, named
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.frames import Assumption, Chain, SideName
from forcedmove_client.requests import simulate_request


@dataclass(frozen=True, slots=True)
class Quantile:
    """With ``probability`` the mark ends no further from its start than that, and no more than that is liquidated."""

    probability: float
    terminal_price: float
    total_usd: float


@dataclass(frozen=True, slots=True)
class PathForecast:
    """Where random paths of a chain end.

    ``level_probabilities`` has an entry per level of the chain: the share of paths whose mark reaches its trigger.
    """

    paths: int
    seed: int
    quantiles: tuple[Quantile, ...]
    level_probabilities: tuple[float, ...]
    beyond_window_share: float


@dataclass(frozen=True, slots=True)
class TippingPoint:
    """The smallest shock of a side whose chain runs 1.5 times as far as the shock itself, and five bins beyond it.

    ``distance`` is a fraction of the mark, 0 or more. All None where no shock within 20 % of the mark does.
    """

    side: SideName
    shock_price: float | None
    distance: float | None
    terminal_price: float | None


@dataclass(frozen=True, slots=True)
class VenueOutcome:
    """The furthest price of one venue, what is liquidated there, and what share of it its rule closes at once."""

    venue: str
    furthest_price: float
    total_usd: float
    first_step_share: float


@dataclass(frozen=True, slots=True)
class VenueForecast:
    """The chain with a price per venue. ``settled`` is False where it was still running after half an hour."""

    coupling_s: float
    terminal_price: float
    total_usd: float
    duration_s: float
    settled: bool
    venues: tuple[VenueOutcome, ...]


@dataclass(frozen=True, slots=True)
class ShockOutcome:
    """Where the chain of one shock ends, and what it fires."""

    shock_price: float
    terminal_price: float
    total_usd: float


@dataclass(frozen=True, slots=True)
class BookCoverage:
    """How far the visible book of a market reaches, as fractions of the mark, and how old it is."""

    market: str
    age_ms: int
    bid_reach: float
    ask_reach: float
    bid_usd: float
    ask_usd: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a shock would set off, and how sure that is. ``tipping_points`` are of longs and of shorts."""

    chain: Chain
    paths: PathForecast | None
    tipping_points: tuple[TippingPoint, ...]
    by_venue: VenueForecast | None
    curve: tuple[ShockOutcome, ...]
    books: tuple[BookCoverage, ...]
    assumptions: tuple[Assumption, ...]


Levels = Iterable[tuple[float, float]]


def forecast_request(
    symbol: str,
    price: float | None,
    move: float | None,
    *,
    paths: int,
    seed: int,
    coupling_s: float | None,
    curve_points: int,
    bids: Levels,
    asks: Levels,
    duration_s: float = 0.0,
) -> cascade_pb2.SimulateRequest:
    """The request for one forecast. Raises InvalidArgumentError for what the wire cannot carry."""
    request = simulate_request(symbol, price, move)
    for name, value, bits in (("paths", paths, 32), ("seed", seed, 64), ("curve_points", curve_points, 32)):
        if not 0 <= value < 1 << bits:
            raise InvalidArgumentError(f"{name} = {value!r}: must be 0 or more and fit {bits} bits")
        setattr(request, name, value)
    if coupling_s is not None:
        request.coupling_s = coupling_s
    request.duration_s = duration_s
    for name, levels in (("bids", bids), ("asks", asks)):
        for level_price, quantity in levels:
            getattr(request.book, name).add(price_usd=level_price, quantity=quantity)
    return request


def forecast_of(response: cascade_pb2.SimulateResponse) -> Forecast:
    """One answer."""
    return Forecast(
        chain=chain_of(response.chain),
        paths=_paths(response.paths) if response.HasField("paths") else None,
        tipping_points=tuple(map(_tipping, response.tipping_points)),
        by_venue=_venues(response.by_venue) if response.HasField("by_venue") else None,
        curve=tuple(ShockOutcome(p.shock_price_usd, p.terminal_price_usd, p.total_usd) for p in response.curve),
        books=tuple(
            BookCoverage(
                book.market,
                book.age_ms,
                book.bid_reach_fraction,
                book.ask_reach_fraction,
                book.bid_usd,
                book.ask_usd,
                book.stale,
            )
            for book in response.books
        ),
        assumptions=tuple(map(assumption_of, response.assumptions)),
    )


def _paths(paths: cascade_pb2.CascadePaths) -> PathForecast:
    return PathForecast(
        paths=paths.paths,
        seed=paths.seed,
        quantiles=tuple(Quantile(q.probability, q.terminal_price_usd, q.total_usd) for q in paths.quantiles),
        level_probabilities=tuple(paths.level_probabilities),
        beyond_window_share=paths.beyond_window_share,
    )


def _tipping(point: cascade_pb2.TippingPoint) -> TippingPoint:
    return TippingPoint(
        side=named("tipping_points.side", point.side, SIDE_NAMES),
        shock_price=point.shock_price_usd if point.HasField("shock_price_usd") else None,
        distance=point.distance_fraction if point.HasField("distance_fraction") else None,
        terminal_price=point.terminal_price_usd if point.HasField("terminal_price_usd") else None,
    )


def _venues(found: cascade_pb2.VenueCascade) -> VenueForecast:
    return VenueForecast(
        coupling_s=found.coupling_s,
        terminal_price=found.terminal_price_usd,
        total_usd=found.total_usd,
        duration_s=found.duration_s,
        settled=found.settled,
        venues=tuple(
            VenueOutcome(v.venue, v.furthest_price_usd, v.total_usd, v.first_step_share) for v in found.venues
        ),
    )
