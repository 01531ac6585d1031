"""The forecast of a shock: its chain, how sure that is, how venues take it one by one, and how far tipping is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import LONG, MAX_ROW_CENTS, SHORT
from forcedmove_server.engine.cascade.book import SideBook, side_book
from forcedmove_server.engine.cascade.noise import Spreads, normal_quantiles, path_noise, spread_order
from forcedmove_server.engine.chains import chain_info, check_shock, follow_shock
from forcedmove_server.engine.depth import VisibleBook
from forcedmove_server.engine.frames import SIDES, ChainInfo
from forcedmove_server.errors import InputError

if TYPE_CHECKING:  # maps are drawn with chains
    from forcedmove_server.engine.maps import SymbolState

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

#: paths of one question at most; points of a curve; levels a side of a book that is given
MAX_PATHS, MAX_CURVE_POINTS, MAX_BOOK_LEVELS = 20_000, 512, 2_000
#: probabilities that a forecast's quantiles are given for
PROBABILITIES = (0.05, 0.5, 0.95)
#: a chain runs beyond its own shock where amplification reaches this
TIPPING_AMPLIFICATION = 1.5
#: and runs at least so many bins beyond it: less is the width of a bin, no cascade
TIPPING_BINS = 5
#: shocks are looked at up to this move, as a fraction of the mark
SHOCKS_WITHIN = 0.2
#: relative standard deviation of depth: of all books together, and of each cell; docs/MODEL.md, "Impact"
DEPTH_SD, CELL_DEPTH_SD = 0.5, 0.5
#: what maps are off by beyond what bands know, as a share of what fires; docs/MODEL.md, "Cascades"
MAP_SD = 0.65
#: how long a shock may take to play out
MAX_DURATION_S = 86_400.0
#: where a shock that takes time ends is uncertain: so many equally likely prices, each with its part of the paths
_SHOCKS = 32


@dataclass(frozen=True, slots=True)
class GivenBook:
    """A book of the reader's own, in place of the visible one: ``bids`` and ``asks`` are (price in USD, USD) pairs."""

    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ShockQuestion:
    """What is asked of a shock to ``shock_usd`` that takes ``duration_s`` (0: comes at once).

    ``paths`` 0 asks for the chain alone.
    """

    shock_usd: float
    paths: int = 0
    seed: int = 0
    coupling_s: float | None = None
    curve_points: int = 0
    book: GivenBook | None = None
    duration_s: float = 0.0

    def __post_init__(self) -> None:
        """Raise InputError for what no forecast could be made of, before anything is allocated."""
        for name, value, most in (
            ("paths", self.paths, MAX_PATHS),
            ("curve_points", self.curve_points, MAX_CURVE_POINTS),
        ):
            if not 0 <= value <= most:
                raise InputError(name, value, f"must lie in 0 .. {most}")
        if not 0 <= self.seed < 1 << 64:
            raise InputError("seed", self.seed, "must fit 64 bits and not be negative")
        if not 0 <= self.duration_s <= MAX_DURATION_S:
            raise InputError("duration_s", self.duration_s, f"must lie in 0 .. {MAX_DURATION_S:g}")
        if self.book is not None:
            for name, levels in (("book.bids", self.book.bids), ("book.asks", self.book.asks)):
                if len(levels) > MAX_BOOK_LEVELS:
                    raise InputError(name, len(levels), f"at most {MAX_BOOK_LEVELS} levels")


@dataclass(frozen=True, slots=True)
class Quantile:
    """With this probability the mark ends no further from where it started, and no more than that is liquidated."""

    probability: float
    terminal_usd: float
    total_usd: float


@dataclass(frozen=True, slots=True)
class PathForecast:
    """What random paths of a chain give: quantiles, and per level of the point chain the share that reaches it."""

    paths: int
    seed: int
    spreads: Spreads
    quantiles: tuple[Quantile, ...]
    level_probabilities: tuple[float, ...]
    beyond_window: float  # share of paths that leave the window: their floor is a bound


@dataclass(frozen=True, slots=True)
class PointForecast:
    """The chain of a shock and the book that it ran through."""

    chain: ChainInfo
    book: SideBook
    shock_cell: int
    side: int


def with_book(state: SymbolState, book: GivenBook | None) -> SymbolState:
    """Return a state whose visible book is the one given. Raises InputError for a level that cannot be."""
    if book is None:
        return state
    visible = np.zeros_like(state.visible.usd)
    mark = state.rows.mark_usd
    for side, (name, levels) in enumerate((("book.bids", book.bids), ("book.asks", book.asks))):
        for price, usd in levels:
            if not (np.isfinite(price) and price > 0 and np.isfinite(usd) and 0 < usd <= MAX_ROW_CENTS / 100):
                raise InputError(name, (price, usd), "needs a price and an amount above 0")
            if (price > mark) if side == 0 else (price < mark):
                raise InputError(name, price, f"lies on the other side of the mark, {mark:g}")
            visible[side, state.cell(price)] += usd
    return replace(state, visible=VisibleBook.of_one(visible), books=1)


def lasting(state: SymbolState, duration_s: float) -> SymbolState:
    """Return a state as shocks that take ``duration_s`` meet it."""
    return replace(state, law=state.law.lasting(duration_s))


def point_forecast(backend: Backend, state: SymbolState, shock_usd: float) -> PointForecast:
    """Follow the chain of one shock. Raises InputError for a price outside the window."""
    mark, cells = state.rows.mark_usd, state.profile.shape[1]
    cell = check_shock(shock_usd, state.first_bin, state.rows.bin_width_usd, cells)
    side = LONG if shock_usd <= mark else SHORT
    book = side_book(state, side, shock_usd)
    chain = follow_shock(backend, book.notional, book.depth, book.first_bin, book.bin_width, mark, shock_usd)
    venues = {venue: cents[side] for venue, cents in state.venue_cents.items()}
    info = chain_info(chain, SIDES[side], book.first_bin, book.bin_width, mark, shock_usd, venues)
    return PointForecast(info, book, cell, side)


def path_forecast(
    backend: Backend, state: SymbolState, point: PointForecast, paths: int, seed: int, spreads: Spreads
) -> PathForecast:
    """Follow random paths of a point forecast's shock; the same seed gives the same answer on every backend.

    With ``spreads.shock`` the shock ends at one of ``_SHOCKS`` equally likely prices around the point forecast's, each
    with as many paths as the others, give or take one.
    """
    side, noise = point.side, path_noise(spreads, seed)
    cells, prices = _shocks(state, point, spreads.shock)
    books = [point.book] if len(cells) == 1 else [side_book(state, side, price) for price in prices.tolist()]
    notional, depth = point.book.notional[None], np.stack([book.depth for book in books])
    mark, last = point.book.mark_cell, depth.shape[1] - 1
    shocks = cells
    flipped = side == SHORT and bool((cells == mark).any())  # a shock within its cell has no direction but down
    if flipped:
        notional, depth, mark, shocks = notional[:, ::-1], depth[:, ::-1], last - mark, last - cells
    each = -(-paths // len(prices))
    ends = backend.cascade_paths(
        np.ascontiguousarray(np.repeat(notional, len(prices), axis=0)),
        np.ascontiguousarray(depth),
        np.full(len(prices), mark, np.int32),
        np.arange(len(prices), dtype=np.int32),
        shocks.astype(np.int32),
        each,
        noise.kernel,
    )
    terminal = ends.terminal.astype(np.int64)
    if flipped:
        terminal = last - terminal
    factors = np.stack([noise.factors(chain, each) for chain in range(len(prices))])
    # a path of each shock, then another of each: what is cut off is spread over the shocks
    found = terminal.T.ravel()[:paths]
    of = np.tile(np.arange(len(prices)), each)[:paths]
    reached, which = np.unique(found, return_inverse=True)
    edges = np.array([state.edge(cell) for cell in reached.tolist()])
    terminal_usd = np.where(found == cells[of], prices[of], edges[which])
    totals = fired_totals(point.book, side, found, factors.T.ravel()[:paths])
    return _told(state, point, _Ends(found, terminal_usd, totals), seed, spreads)


def _shocks(state: SymbolState, point: PointForecast, deviation: float) -> tuple[I64, F64]:
    """Cells and prices in USD that the shock may end at, both ``[S]``.

    Uncertain ones end at lower edges, as those of sweeps; one beyond the window ends at its last cell, one across the
    mark at the nearest cell that a shock of the side can lead to.
    """
    shock, mark = point.chain.shock_price_usd, point.book.mark_cell
    if not deviation > 0:
        return np.array([point.shock_cell]), np.array([shock])
    ends = shock * np.exp(deviation * normal_quantiles(_SHOCKS)[spread_order(_SHOCKS)])
    low, high = (1, mark) if point.side == LONG else (mark + 1, state.profile.shape[1] - 2)
    cells = np.clip([state.cell(price) for price in ends.tolist()], low, high)
    return cells, np.array([state.edge(cell) for cell in cells.tolist()])


def fired_totals(book: SideBook, side: int, terminal: I64, factors: F64) -> F64:
    """USD that really fire up to the last cell of each path, float64 ``[P]``; ``factors`` are the notional's."""
    cells = book.notional.astype(np.float64)
    if side == LONG:
        upto = np.cumsum(cells[book.mark_cell :: -1])[book.mark_cell - terminal]
    else:
        upto = np.cumsum(cells[book.mark_cell :])[terminal - book.mark_cell]
    found: F64 = upto * factors / 100
    return found


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where paths end: cell, USD, and USD fired; all ``[P]``."""

    cell: I64
    usd: F64
    fired: F64


def _told(state: SymbolState, point: PointForecast, ends: _Ends, seed: int, spreads: Spreads) -> PathForecast:
    """Put paths into quantiles and probabilities."""
    sign = 1 if point.side == SHORT else -1
    quantiles = tuple(
        Quantile(
            probability,
            sign * float(np.quantile(sign * ends.usd, probability, method="inverted_cdf")),
            float(np.quantile(ends.fired, probability, method="inverted_cdf")),
        )
        for probability in PROBABILITIES
    )
    levels = [state.cell(level.trigger_price_usd) for level in point.chain.levels]
    reached = tuple(float(np.mean(sign * ends.cell >= sign * cell)) for cell in levels)
    beyond = float(np.mean((ends.cell == 0) | (ends.cell == state.profile.shape[1] - 1)))
    return PathForecast(len(ends.cell), seed, spreads, quantiles, reached, beyond)


def runs_beyond(went: F64, goes: F64, bins: I64) -> NDArray[np.bool_]:
    """Which chains tip: of a shock that ``went`` USD from the mark, that end ``goes`` USD from it.

    Those that run beyond their shock by ``TIPPING_AMPLIFICATION`` and ``TIPPING_BINS``. ``bins`` int64 are those
    between shock and end; all ``[J]``.
    """
    found: NDArray[np.bool_] = (bins >= TIPPING_BINS) & (goes >= TIPPING_AMPLIFICATION * went) & (went > 0)
    return found
