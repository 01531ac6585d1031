"""The smallest shock whose chain reaches a level, found by closing in, is that of following every shock."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.backend import select_backend
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook
from forcedmove_server.engine.scan.books import ScanBook, outward
from forcedmove_server.engine.scan.tips import chain_ends
from forcedmove_server.engine.whatif import nearest_shock, reach_shares

CPU = select_backend("cpu", 1)[0]


@st.composite
def books(draw: st.DrawFn) -> ScanBook:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cells = draw(st.integers(8, 150))
    below = draw(st.integers(3, cells - 4))
    scale = draw(st.sampled_from([10**5, 10**8, 10**10]))
    notional = rng.integers(0, scale, (2, cells)) * (rng.random((2, cells)) < draw(st.floats(0, 1)))
    visible = rng.random((2, cells)) * draw(st.sampled_from([0.0, 1e4, 1e7])) * (rng.random((2, cells)) < 0.5)
    law = ImpactLaw(0.03, draw(st.sampled_from([0.0, 1e8, 1e10])), 1.0, draw(st.sampled_from([0.01, 0.05, np.inf])))
    mark = 1_000.0 + draw(st.floats(0.01, 0.99))
    book = VisibleBook.of_one(visible)
    return ScanBook("X", mark, 1_001 - below, 1.0, notional.astype(np.uint64), book, law, True)


@settings(max_examples=150)
@given(books(), st.integers(0, 1), st.floats(0, 1))
def test_closing_in_finds_what_following_every_shock_finds(book: ScanBook, side: int, where: float) -> None:
    way = outward(book, side)
    prices, last = way.prices(), len(way.fires) - 1
    if last < 3:
        return
    shocks = np.arange(side, last)
    ends = chain_ends(CPU, way, shocks, prices[shocks])
    assert np.all(np.diff(ends) >= 0), "the chain of a larger shock ends nearer"
    target = 1 + int(where * (last - 2))
    level = float(prices[target]) + 0.3
    sufficient = [int(shock) for shock, end in zip(shocks, ends, strict=True) if shock < target and end >= target]
    found = nearest_shock(CPU, way, level)
    assert found == (prices[sufficient[0]] if sufficient else level)


@settings(max_examples=50)
@given(books(), st.integers(0, 1), st.floats(0, 1))
def test_shares_of_paths_end_with_the_level_itself(book: ScanBook, side: int, where: float) -> None:
    way = outward(book, side)
    target = 1 + int(where * max(len(way.fires) - 3, 0))
    level = float(way.prices()[target]) + 0.3
    prices, shares = reach_shares(CPU, way, level)
    assert prices[-1] == level
    assert shares[-1] == 1.0
    assert np.all((shares >= 0) & (shares <= 1))
    assert np.all(np.diff(way.sign * prices) > 0)


def test_a_level_outside_the_window_has_no_shock() -> None:
    ones = np.ones((2, 20), np.uint64)
    book = ScanBook("X", 1_000.5, 991, 1.0, ones, VisibleBook.of_one(ones * 1e3), ImpactLaw(0.03, 1e8, 1.0, 0.05), True)
    assert nearest_shock(CPU, outward(book, 0), 500.0) is None
    assert nearest_shock(CPU, outward(book, 1), 5_000.0) is None
    assert len(reach_shares(CPU, outward(book, 0), 500.0)[0]) == 1
