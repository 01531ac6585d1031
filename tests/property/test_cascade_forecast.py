"""What holds of every chain, whatever the map and the books: from the depth law to what readers are told."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.reference.cascade import draw as reference_draw
from forcedmove_server.engine.cascade.book import side_book
from forcedmove_server.engine.cascade.coupled import Steps, coupled_chain, split_depth
from forcedmove_server.engine.cascade.forecast import PathForecast, lasting, path_forecast, point_forecast
from forcedmove_server.engine.cascade.noise import Spreads, path_noise
from forcedmove_server.engine.cascade.sweeps import shock_positions, shock_sweep
from forcedmove_server.engine.depth import ImpactLaw
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.scan.books import book_of, outward
from tests.unit.cascade_states import WIDTH, state_of

EXAMPLES = settings(max_examples=60)
CELLS, FIRST = 42, 180
DURATIONS = (1.0, 299.0, 301.0, 900.0, 3_600.0, 86_400.0)
U64 = NDArray[np.uint64]


@st.composite
def states(draw: st.DrawFn) -> SymbolState:
    """Maps of 40 bins with the mark somewhere inside; many cells are empty, books reach as far as they like."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mark_bin = draw(st.integers(FIRST + 8, FIRST + 32))
    mark = (mark_bin + draw(st.integers(0, 1023)) / 1024) * WIDTH
    profile = rng.integers(0, draw(st.sampled_from([10**4, 10**9, 10**12])), (2, CELLS)).astype(np.uint64)
    profile[rng.random((2, CELLS)) < draw(st.sampled_from([0.1, 0.6, 0.95]))] = 0
    visible = rng.exponential(draw(st.sampled_from([10.0, 1e6, 1e9])), (2, CELLS))
    visible[0, mark_bin - FIRST + 2 :] = visible[1, : mark_bin - FIRST + 1] = 0.0
    reach = draw(st.integers(0, 20))
    visible[0, : max(mark_bin - FIRST + 1 - reach, 0)] = visible[1, mark_bin - FIRST + 2 + reach :] = 0.0
    law = ImpactLaw(
        sigma_day=draw(st.sampled_from([0.01, 0.03, 0.2])),
        volume_day_usd=draw(st.sampled_from([1.0, 1e8, 1e11])),
        y=draw(st.sampled_from([0.5, 1.0])),
        withdrawal_fraction=draw(st.sampled_from([0.005, 0.043, 10.0])),
        seen_move=draw(st.sampled_from([0.0, 0.01, math.inf])),
        unseen_fraction=draw(st.sampled_from([0.005, 0.043])),
        permanent=draw(st.sampled_from([0.1, 0.65, 1.0])),
    )
    return state_of(profile, visible, mark, FIRST, law)


def shocks_of(state: SymbolState, side: int) -> list[float]:
    """Every lower edge that a shock of a side may lead to, nearest first."""
    mark = state.rows.mark_usd
    inside = [state.edge(cell) for cell in range(1, CELLS - 1)]
    return [p for p in reversed(inside) if p <= mark] if side == 0 else [p for p in inside if p > mark]


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), duration_s=st.sampled_from([0.0, *DURATIONS]))
def test_a_larger_shock_never_ends_nearer(backend: Backend, state: SymbolState, side: int, duration_s: float) -> None:
    state = lasting(state, duration_s)
    ends = [point_forecast(backend, state, shock).chain.terminal_price_usd for shock in shocks_of(state, side)]
    steps = np.diff(ends) * (1 if side else -1)
    assert (steps >= 0).all(), ends


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), moves=st.lists(st.floats(0.0001, 0.9), min_size=2, max_size=6))
def test_shocks_within_a_bin_end_in_the_order_of_their_bins(
    backend: Backend, state: SymbolState, side: int, moves: list[float]
) -> None:
    """A bin that is reached counts whole: a shock into it that goes no further ends at itself, just short of that."""
    lower, upper = sorted(shocks_of(state, side))[:: len(shocks_of(state, side)) - 1]
    shocks = sorted((lower + move * (upper - lower) for move in moves), reverse=side == 0)
    ends = [state.cell(point_forecast(backend, state, shock).chain.terminal_price_usd) for shock in shocks]
    steps = np.diff(ends) * (1 if side else -1)
    assert (steps >= 0).all(), (shocks, ends)


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1))
def test_more_time_never_deepens_a_chain(backend: Backend, state: SymbolState, side: int, pick: float) -> None:
    shocks = shocks_of(state, side)
    shock = shocks[int(pick * (len(shocks) - 1))]
    found = [point_forecast(backend, lasting(state, time_s), shock) for time_s in (0.0, *DURATIONS)]
    assert found[0].chain == point_forecast(backend, state, shock).chain, "no time at all is at once"
    for shorter, longer in pairwise(found):
        assert (longer.book.depth >= shorter.book.depth).all()
        assert abs(longer.chain.terminal_price_usd - shock) <= abs(shorter.chain.terminal_price_usd - shock)
        assert longer.chain.total_usd <= shorter.chain.total_usd


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1))
def test_a_short_time_is_almost_at_once(backend: Backend, state: SymbolState, side: int, pick: float) -> None:
    """The depth that a chain meets is continuous in time; so is where a shock ends."""
    shocks = shocks_of(state, side)
    shock = shocks[int(pick * (len(shocks) - 1))]
    at_once, soon = (point_forecast(backend, lasting(state, time_s), shock) for time_s in (0.0, 1e-9))
    gained = soon.book.depth - at_once.book.depth
    assert (gained <= at_once.book.depth // 10**9 + 1).all()
    if soon.chain == at_once.chain:
        sure = [path_forecast(backend, state, soon, 64, 1, Spreads(0.0, 0.0, 0.0, sd)) for sd in (0.0, 1e-12)]
        for known, nearly in zip(*(told.quantiles for told in sure), strict=True):
            assert abs(nearly.terminal_usd - known.terminal_usd) <= 2 * WIDTH


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_less_certain_shock_never_narrows_the_band(
    backend: Backend, state: SymbolState, side: int, pick: float, seed: int
) -> None:
    """Given the book: that a longer shock meets a deeper one is for the chain to say."""
    shocks = shocks_of(state, side)
    point = point_forecast(backend, state, shocks[int(pick * (len(shocks) - 1))])
    told = [
        path_forecast(backend, state, point, 96, seed, Spreads(0.0, 0.0, 0.0, sd)) for sd in (0.0, 0.001, 0.01, 0.05)
    ]
    for surer, vaguer in pairwise(told):
        assert _band(surer, side)[0] >= _band(vaguer, side)[0]
        assert _band(surer, side)[1] <= _band(vaguer, side)[1]
        assert surer.quantiles[0].total_usd >= vaguer.quantiles[0].total_usd
        assert surer.quantiles[-1].total_usd <= vaguer.quantiles[-1].total_usd


def _band(told: PathForecast, side: int) -> tuple[float, float]:
    """Nearer and further end, outwards."""
    sign = 1 if side else -1
    return sign * told.quantiles[0].terminal_usd, sign * told.quantiles[-1].terminal_usd


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1))
def test_no_level_fires_that_the_mark_did_not_reach(
    backend: Backend, state: SymbolState, side: int, pick: float
) -> None:
    """The mark goes where the last round left it; what a level holds lies between there and the mark before."""
    shocks = shocks_of(state, side)
    shock = shocks[int(pick * (len(shocks) - 1))]
    found = point_forecast(backend, state, shock)
    chain, book = found.chain, found.book
    reached, fired = found.shock_cell, 0.0
    for level in chain.levels:
        cell = state.cell(level.trigger_price_usd)
        assert abs(cell - book.mark_cell) <= abs(reached - book.mark_cell)
        fired += level.notional_usd
        if level.price_after_usd != chain.shock_price_usd:
            reached = state.cell(level.price_after_usd)
    if chain.beyond_window:  # the outer cell has no price of its own
        reached = CELLS - 1 if side else 0
    low, high = sorted((book.mark_cell, reached))
    crossed = int(state.profile[side, low : high + 1].sum())
    assert crossed == pytest.approx(chain.total_usd * 100)
    assert fired == pytest.approx(chain.total_usd)


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_more_depth_never_deepens_a_chain(
    backend: Backend, state: SymbolState, side: int, pick: float, seed: int
) -> None:
    shocks = shocks_of(state, side)
    found = point_forecast(backend, state, shocks[int(pick * (len(shocks) - 1))])
    book = found.book
    rng = np.random.default_rng(seed)
    more = np.minimum(book.depth, np.uint64(1 << 62)) + rng.integers(0, 10**12, CELLS).astype(np.uint64)
    row = np.zeros(1, np.int32)
    shock, mark = np.array([found.shock_cell], np.int32), np.array([book.mark_cell], np.int32)
    ends = [backend.cascade_chains(book.notional[None], depth[None], mark, row, shock) for depth in (book.depth, more)]
    assert abs(ends[1].terminal[0] - book.mark_cell) <= abs(ends[0].terminal[0] - book.mark_cell)
    assert ends[1].fired[0] <= ends[0].fired[0]


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), duration_s=st.sampled_from([0.0, *DURATIONS]))
def test_the_sweep_is_every_shock_by_itself(backend: Backend, state: SymbolState, side: int, duration_s: float) -> None:
    state = lasting(state, duration_s)
    way = outward(book_of(state), side)
    positions = shock_positions(way)
    terminal, fired = shock_sweep(backend, way, positions)
    prices = way.prices()
    for at, end, cents in zip(positions.tolist(), terminal.tolist(), fired.tolist(), strict=True):
        chain = point_forecast(backend, state, float(prices[at])).chain
        assert cents == round(chain.total_usd * 100)
        # a chain that stays in the cell of its shock ends at the shock, which is that cell's lower edge
        assert chain.terminal_price_usd == prices[end]


@EXAMPLES
@given(state=states(), side=st.integers(0, 1), pick=st.floats(0, 1))
def test_nothing_to_liquidate_amplifies_nothing(backend: Backend, state: SymbolState, side: int, pick: float) -> None:
    empty = state_of(np.zeros_like(state.profile), state.visible.usd, state.rows.mark_usd, FIRST, state.law)
    shocks = shocks_of(state, side)
    chain = point_forecast(backend, empty, shocks[int(pick * (len(shocks) - 1))]).chain
    assert (chain.amplification, chain.total_usd, chain.levels) == (1.0, 0.0, ())
    assert chain.terminal_price_usd == chain.shock_price_usd


@st.composite
def venue_books(draw: st.DrawFn) -> tuple[U64, U64, int, int]:
    """Notional and depth of up to four venues, u64 ``[V, C]``, mark and shock."""
    venues, cells = draw(st.integers(1, 4)), draw(st.integers(2, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    notional = rng.integers(0, 10 ** draw(st.integers(1, 11)), (venues, cells)).astype(np.uint64)
    depth = rng.integers(0, 10 ** draw(st.integers(1, 12)), (venues, cells)).astype(np.uint64)
    for amounts in (notional, depth):
        amounts[rng.random(amounts.shape) < draw(st.sampled_from([0.0, 0.5, 0.9]))] = 0
    return notional, depth, draw(st.integers(0, cells - 1)), draw(st.integers(0, cells - 1))


@EXAMPLES
@given(books=venue_books(), share=st.floats(0.1, 1))
def test_venues_that_are_coupled_at_once_are_the_pooled_chain(
    backend: Backend, books: tuple[U64, U64, int, int], share: float
) -> None:
    notional, depth, mark, shock = books
    pooled = backend.cascade_chain(notional.sum(0), depth.sum(0), mark, shock)
    steps = Steps(np.full(len(notional), share), np.full(len(notional), 30.0))
    found = coupled_chain(notional, depth, mark, shock, 0.0, steps)
    assert found.terminal == pooled.terminal
    assert int(found.fired.sum()) == int(pooled.notional.sum())
    assert (found.furthest == pooled.terminal).all()
    assert found.settled


@EXAMPLES
@given(books=venue_books(), coupling_s=st.sampled_from([0.2, 3.0, 60.0]), share=st.floats(0.1, 1))
def test_slower_coupling_fires_no_less(books: tuple[U64, U64, int, int], coupling_s: float, share: float) -> None:
    """Prices overshoot and come back: what the common price passes fires on every venue, and more may."""
    notional, depth, mark, shock = books
    at_once = coupled_chain(notional, depth, mark, shock, 0.0)
    steps = Steps(np.full(len(notional), share), np.full(len(notional), 30.0))
    found = coupled_chain(notional, depth, mark, shock, coupling_s, steps)
    if found.settled:
        assert int(found.fired.sum()) >= int(at_once.fired.sum())
        assert abs(found.terminal - mark) >= abs(at_once.terminal - mark)
    assert (np.abs(found.furthest - mark) >= abs(found.terminal - mark)).all()
    for v, cell in enumerate(found.furthest.tolist()):
        low, high = sorted((mark, cell))
        assert int(found.fired[v]) <= int(notional[v, low : high + 1].sum()), "it fires only what its price reached"


@EXAMPLES
@given(seed=st.integers(0, 2**32), venues=st.integers(1, 5))
def test_depth_is_shared_out_to_the_cent(seed: int, venues: int) -> None:
    rng = np.random.default_rng(seed)
    pooled = rng.integers(0, 1 << 62, 30).astype(np.uint64)
    weights = rng.random((venues, 30)) * (rng.random((venues, 30)) < 0.7)
    shared = split_depth(pooled, weights)
    np.testing.assert_array_equal(shared.sum(0), pooled)
    held = weights.sum(0) > 0
    assert (shared[:, held][weights[:, held] == 0] <= pooled[held].max() * 1e-9).all()


@EXAMPLES
@given(books=venue_books(), seed=st.integers(0, 2**32))
def test_where_a_chain_ends_does_not_depend_on_the_order(
    backend: Backend, books: tuple[U64, U64, int, int], seed: int
) -> None:
    """Positions that the mark has passed fire one cell at a time, in any order."""
    notional, depth, mark, shock = books[0].sum(0), books[1].sum(0), books[2], books[3]
    chain = backend.cascade_chain(notional, depth, mark, shock)
    way = -1 if shock <= mark else 1
    path = list(range(mark, -1, -1)) if way < 0 else list(range(mark, len(notional)))
    first, rng = abs(shock - mark), random.Random(seed)
    waiting, reached, total = [], -1, 0
    position = first
    while True:
        waiting += path[reached + 1 : position + 1]
        reached = max(reached, position)
        if not waiting:
            break
        total += int(notional[waiting.pop(rng.randrange(len(waiting)))])
        held = np.cumsum([int(depth[c]) for c in path[first:]])
        enough = np.flatnonzero(held >= total)
        position = first + int(enough[0]) if len(enough) else len(path) - 1
    assert path[reached] == chain.terminal


@EXAMPLES
@given(
    state=states(),
    side=st.integers(0, 1),
    pick=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
    shock_sd=st.sampled_from([0.0, 0.01]),
)
def test_paths_without_noise_are_the_chain_and_seeds_repeat(
    backend: Backend, state: SymbolState, side: int, pick: float, seed: int, shock_sd: float
) -> None:
    shocks = shocks_of(state, side)
    point = point_forecast(backend, state, shocks[int(pick * (len(shocks) - 1))])
    sure = path_forecast(backend, state, point, 5, seed, Spreads(0.0, 0.0, 0.0))
    for quantile in sure.quantiles:
        assert quantile.terminal_usd == point.chain.terminal_price_usd
        assert quantile.total_usd == pytest.approx(point.chain.total_usd, rel=1e-4)
    assert all(share == 1.0 for share in sure.level_probabilities)
    spreads = Spreads(0.7, 0.5, 0.5, shock_sd)
    told = path_forecast(backend, state, point, 64, seed, spreads)
    assert told == path_forecast(backend, state, point, 64, seed, spreads)
    way = 1 if side else -1
    ends = [way * quantile.terminal_usd for quantile in told.quantiles]
    totals = [quantile.total_usd for quantile in told.quantiles]
    assert ends == sorted(ends)
    assert totals == sorted(totals)
    if not shock_sd:
        assert ends[0] >= way * point.chain.shock_price_usd - WIDTH, "no path ends before its shock"
    assert ends[0] >= way * state.rows.mark_usd - WIDTH, "no shock ends across the mark"
    shares = told.level_probabilities
    assert list(shares) == sorted(shares, reverse=True), "a mark that reaches a level has reached those before it"


@given(seed=st.integers(0, 2**64 - 1), chain=st.integers(0, 5))
@settings(max_examples=20)
def test_what_really_fires_is_worked_out_from_the_kernels_own_draw(seed: int, chain: int) -> None:
    noise = path_noise(Spreads(0.7, 0.5, 0.3), seed)
    factors = noise.factors(chain, 40)
    for path in range(40):
        drawn = reference_draw(noise.kernel, chain, path, [])[0]
        at = np.flatnonzero(noise.kernel.notional == drawn)
        assert np.isclose(noise.factor[at], factors[path]).any()


def test_the_shock_alone_moves_the_mark_where_books_are_side_by_side(backend: Backend) -> None:
    """The book of a sweep at rest is deeper at a distance than the one that re-forms around a shock."""
    profile = np.zeros((2, CELLS), np.uint64)
    state = state_of(profile, np.zeros((2, CELLS)), (FIRST + 30) * WIDTH, FIRST)
    shock = (FIRST + 25) * WIDTH
    at_rest, met = side_book(state, 0), side_book(state, 0, shock)
    beyond = slice(1, state.cell(shock))
    assert (at_rest.depth[beyond] >= met.depth[beyond]).all()
    assert (at_rest.depth[beyond] > met.depth[beyond]).any()
    assert at_rest.mark_cell == met.mark_cell == state.cell(state.rows.mark_usd)
