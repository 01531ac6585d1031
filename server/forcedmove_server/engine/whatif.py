"""A client's own position against the map: where it is liquidated, which chain gets there, and what would change that.

The position stays out of the map, and nothing of the question is kept. The chain of a larger shock never ends nearer:
it fires more and meets less depth, on every cell it has to pass. So there is a smallest shock whose chain reaches a
level. Chances are those of a driftless diffusion (scorecard.measures.reach): that it touches the level by itself, and,
with cascades, that the furthest price ``s`` it touches sets off a chain that does the rest,
``P(level) + integral of q(s) dP(s)``, where ``q(s)`` is the share of random paths of that shock's chain that get there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.engine.cascade.forecast import GivenBook, PointForecast, point_forecast, with_book
from forcedmove_server.engine.chains import check_rows
from forcedmove_server.engine.frames import AssumptionInfo, ChainInfo, SymbolMap
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.scan.books import Outward, Snapshot, beside, book_of, outward
from forcedmove_server.engine.scan.depths import depths_after_shocks, kernel_rows
from forcedmove_server.engine.scan.follow import SPREADS, random_tables
from forcedmove_server.engine.scan.tips import chain_ends
from forcedmove_server.errors import InputError, NotReadyError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.question import SIDES, Answer, Question, answer
from forcedmove_server.scorecard.measures.reach import reach_probability

F64 = NDArray[np.float64]

DEFAULT_HORIZONS_S = (3_600.0, 86_400.0)
DEFAULT_LEVERAGES = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
#: of the margin that there is
DEFAULT_ADDED = (0.1, 0.25, 0.5, 1.0)
#: rows of a table, and horizons
MAX_ROWS = 32
_LONGEST_HORIZON_S = 366 * 86_400.0
_DAY_S = 86_400.0
#: shocks that are followed at once
_BLOCK = 16
#: shocks whose random paths make up a chance with cascades, and paths of each
_SHOCKS, _PATHS = 32, 512


@dataclass(frozen=True, slots=True)
class WhatIfQuestion:
    """A position with its quantity, and what to tell of it. Empty horizons and tables mean the usual ones.

    ``book`` takes the place of the visible one; with ``book_ends`` nothing rests beyond it.
    """

    position: Question
    horizons_s: tuple[float, ...] = ()
    leverages: tuple[float, ...] = ()
    added_margins: tuple[float, ...] = ()
    shock_usd: float | None = None
    book: GivenBook | None = None
    book_ends: bool = False

    def __post_init__(self) -> None:
        """Raise InputError for what cannot be told."""
        if self.position.quantity is None:
            raise InputError("position.quantity", None, "is needed")
        if self.leverages and self.position.balance is not None:
            raise InputError("leverages", self.leverages, "the leverage of a cross position is a setting")
        for name in ("horizons_s", "leverages", "added_margins"):
            values = getattr(self, name)
            if len(values) > MAX_ROWS:
                raise InputError(name, len(values), f"at most {MAX_ROWS}")
            most = _LONGEST_HORIZON_S if name == "horizons_s" else math.inf
            for value in values:
                if not (0 < value <= most and math.isfinite(value)):
                    bound = f"above 0, at most {most:,.0f} s (366 days)" if math.isfinite(most) else "above 0"
                    raise InputError(name, value, f"must be a finite number {bound}")


@dataclass(frozen=True, slots=True)
class Touch:
    """Chance that the price gets to a level within a time: by itself, and with a cascade that does the rest."""

    horizon_s: float
    alone: float
    with_cascade: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """One position: its level in USD (None: never liquidated), and moves of the mark as fractions.

    ``distance`` touches the level, zero where it has been crossed; ``shock`` is the smallest whose chain reaches it,
    None where the level lies outside the window.
    """

    level_usd: float | None
    distance: float | None
    shock: float | None
    touches: tuple[Touch, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; without an outlook ``refused`` says why there is no such position."""

    value: float
    outlook: Outlook | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer."""

    liquidation: Answer
    outlook: Outlook
    nearest: ChainInfo | None
    shock: ChainInfo | None
    shock_reaches: bool
    by_leverage: tuple[Row, ...]
    by_added_margin: tuple[Row, ...]
    assumptions: tuple[AssumptionInfo, ...]


@dataclass(frozen=True, slots=True)
class MapOfTick:
    """A symbol's newest map and what it was made from; any thread may ask it."""

    newest: SymbolMap
    state: SymbolState
    backend: Backend

    def what_if(
        self, question: WhatIfQuestion, found: Answer, book: LadderBook, today: date, stale_after_days: int
    ) -> WhatIf:
        """Answer beside the engine's thread; see :func:`what_if`."""
        return what_if(beside(self.backend), self.state, question, found, book, today, stale_after_days)


def look_up(symbol: str) -> Callable[[Snapshot], MapOfTick]:
    """Return what takes a symbol's map out of a snapshot.

    It raises NotReadyError where there is none, UnfitMapError where no chain can be followed through it.
    """

    def look(snapshot: Snapshot) -> MapOfTick:
        newest, state = snapshot.tick.maps.get(symbol), snapshot.states.get(symbol)
        if newest is None or state is None:
            raise NotReadyError(f"{symbol}: no market has both a price and an open interest yet")
        check_rows(symbol, state.profile)
        return MapOfTick(newest, state, snapshot.backend)

    return look


def what_if(
    backend: Backend,
    state: SymbolState,
    question: WhatIfQuestion,
    found: Answer,
    book: LadderBook,
    today: date,
    stale_after_days: int,
) -> WhatIf:
    """Answer from a symbol's state; ``found`` is where the position is liquidated, by the ladders of ``book``.

    Raises InputError for a shock or a book that cannot be.
    """
    state = with_book(state, question.book)
    if question.book_ends:
        state = replace(state, law=replace(state.law, volume_day_usd=0.0))
    side = SIDES[question.position.side]
    way = outward(book_of(state), side)
    horizons = question.horizons_s or DEFAULT_HORIZONS_S

    def outlook_of(position: Question) -> Outlook:
        level = answer(position, book, today, stale_after_days).liquidation.liquidation_price
        return outlook(backend, way, level, horizons)

    def rows(cases: Iterator[tuple[float, Question]]) -> Iterator[Row]:
        for value, position in cases:
            try:
                yield Row(value, outlook_of(position))
            except InputError as error:
                yield Row(value, None, str(error))

    own = outlook(backend, way, found.liquidation.liquidation_price, horizons)
    shock = None if question.shock_usd is None else point_forecast(backend, state, question.shock_usd)
    return WhatIf(
        liquidation=found,
        outlook=own,
        nearest=_nearest(backend, state, own),
        shock=None if shock is None else shock.chain,
        shock_reaches=shock is not None and _reaches(state, shock, side, own.level_usd),
        by_leverage=tuple(rows(_by_leverage(question, found))),
        by_added_margin=tuple(rows(_by_added_margin(question, found))),
        assumptions=tuple(_assumptions(question)),
    )


def outlook(backend: Backend, way: Outward, level_usd: float | None, horizons_s: tuple[float, ...]) -> Outlook:
    """Tell how far a level on one side of a book is, and with what chances it is touched."""
    if level_usd is None:
        return Outlook(None, None, None, tuple(Touch(horizon, 0.0, 0.0) for horizon in horizons_s))
    mark = way.book.mark_usd
    if way.sign * (level_usd - mark) <= 0:
        return Outlook(level_usd, 0.0, 0.0, tuple(Touch(horizon, 1.0, 1.0) for horizon in horizons_s))
    shock_usd = nearest_shock(backend, way, level_usd)
    prices, shares = reach_shares(backend, way, level_usd)
    away = np.abs(np.log(prices / mark))
    between = (shares[1:] + shares[:-1]) / 2
    touches = []
    for horizon_s in horizons_s:
        chance = reach_probability(away, way.book.law.sigma_day / math.sqrt(_DAY_S), horizon_s)
        alone = float(chance[-1])
        touches.append(Touch(horizon_s, alone, alone + float((chance[:-1] - chance[1:]) @ between)))
    shock = None if shock_usd is None else shock_usd / mark - 1
    return Outlook(level_usd, level_usd / mark - 1, shock, tuple(touches))


def reach_shares(backend: Backend, way: Outward, level_usd: float) -> tuple[F64, F64]:
    """Return shocks in USD from next to the mark up to a level, and the share of paths of each that get there.

    Both float64 ``[N]``; the last is the level itself, which all reach. Only it is there where it lies outside the
    window, or in the mark's own bin.
    """
    target, first = way.position(level_usd), (0 if way.side == LONG else 1)
    if target >= len(way.fires) - 1 or target <= first:
        return np.array([level_usd]), np.ones(1)
    shocked = np.unique(np.linspace(first, target - 1, min(_SHOCKS, target - first)).astype(np.int64))
    prices = way.prices()[shocked]
    rows = kernel_rows(way.fires, depths_after_shocks(way, prices))
    chains = np.arange(len(shocked), dtype=np.int32)
    noise = random_tables(0).kernel
    ends = backend.cascade_paths(*rows, np.zeros_like(chains), chains, (shocked + 1).astype(np.int32), _PATHS, noise)
    shares = (ends.terminal.astype(np.int64) - 1 >= target).mean(1)
    return np.append(prices, level_usd), np.append(shares, 1.0)


def nearest_shock(backend: Backend, way: Outward, level_usd: float) -> float | None:
    """Return the smallest shock in USD whose chain reaches the level's bin; None where that is outside the window.

    Shocks lead to lower edges of bins; where none before the level's own bin suffices it is the level itself. Ends of
    chains rise with their shocks (see the module), so the search closes in on the first that reaches.
    """
    target, last, prices = way.position(level_usd), len(way.fires) - 1, way.prices()
    if target >= last:
        return None
    low, high = (0 if way.side == LONG else 1), target  # the answer lies in low .. high
    while low < high:
        tried = np.unique(np.linspace(low, high - 1, min(_BLOCK, high - low)).astype(np.int64))
        reaches = chain_ends(backend, way, tried, prices[tried]) >= target
        first = int(reaches.argmax()) if reaches.any() else len(tried)
        low, high = (
            int(tried[first - 1]) + 1 if first else low,
            int(tried[first]) if first < len(tried) else high,
        )
    return level_usd if low >= target else float(prices[low])


def _nearest(backend: Backend, state: SymbolState, own: Outlook) -> ChainInfo | None:
    """The chain of the smallest shock that reaches a position which is not crossed yet."""
    if own.level_usd is None or not own.shock:
        return None
    mark = state.rows.mark_usd
    shock_usd = own.level_usd if own.shock == own.distance else mark * (1 + own.shock)
    return point_forecast(backend, state, shock_usd).chain


def _reaches(state: SymbolState, shock: PointForecast, side: int, level_usd: float | None) -> bool:
    """Whether a chain reaches the bin of a level of its side, or one that has been crossed before."""
    if level_usd is None:
        return False
    sign, mark = (-1, state.rows.mark_usd) if side == LONG else (1, state.rows.mark_usd)
    if sign * (level_usd - mark) <= 0:
        return True
    end = state.cell(shock.chain.terminal_price_usd)
    return shock.side == side and sign * (end - state.cell(level_usd)) >= 0


def _by_leverage(question: WhatIfQuestion, found: Answer) -> Iterator[tuple[float, Question]]:
    position, liquidation = question.position, found.liquidation
    if position.balance is not None:
        return
    limit = liquidation.rule.leverage_limit
    usual = {leverage for leverage in DEFAULT_LEVERAGES if leverage <= limit}
    own = {liquidation.leverage} if math.isfinite(liquidation.leverage) else set()
    for leverage in question.leverages or sorted(usual | own):
        yield leverage, replace(position, leverage=leverage, margin=None, extra_margin=0.0)


def _by_added_margin(question: WhatIfQuestion, found: Answer) -> Iterator[tuple[float, Question]]:
    position, rule = question.position, found.liquidation.rule
    assert position.quantity is not None  # WhatIfQuestion needs it
    value = float(rule.value(position.quantity * position.contract_size, position.entry))
    if position.balance is not None:
        there = position.balance
    else:
        there = value / position.leverage if position.margin is None and position.leverage else position.margin or 0.0
    usual = tuple(share * there for share in DEFAULT_ADDED if there > 0)
    for added in question.added_margins or usual:
        if position.balance is not None:
            yield added, replace(position, balance=position.balance + added)
        elif position.margin is not None:
            yield added, replace(position, margin=position.margin + added)
        else:
            yield added, replace(position, extra_margin=position.extra_margin + added)


def _assumptions(question: WhatIfQuestion) -> Iterator[AssumptionInfo]:
    yield AssumptionInfo("own_position", "the position itself is not in the map: its own liquidation fires nothing")
    yield AssumptionInfo("touch", "the price is a driftless diffusion of the symbol's daily volatility")
    yield AssumptionInfo(
        "with_cascade",
        "what fires, all depth, and the depth of each cell are random, log-normal with relative standard deviations "
        f"of {SPREADS.notional:g}, {SPREADS.depth:g} and {SPREADS.cell_depth:g}; so many paths of each shock",
        float(_PATHS),
    )
    yield AssumptionInfo("symbol_mark", "the position's trigger price is the symbol's mark over all venues")
    if question.book is not None:
        yield AssumptionInfo("given_book", "the visible book is the one of the request")
    if question.book_ends:
        yield AssumptionInfo("book_ends", "nothing rests beyond the visible book")
