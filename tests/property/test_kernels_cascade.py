"""Cascades and clusters against brute force, and the acceptance scenario."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.arrays import U64, ClusterRule, Noise
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS, NOISE_BITS, SHARE_ONE
from tests.parity import tables

EXAMPLES = settings(max_examples=50)
Book = tuple[U64, U64, int]
MILLION = 100_000_000  # one million USD in cents


def brute_force(
    fires: dict[int, int], rests: dict[int, int], mark: int, shock: int
) -> tuple[list[tuple[int, ...]], int]:
    """Levels (near, far, notional, reached) and terminal cell, cell by cell, written from the docstring alone."""
    down = shock <= mark
    onwards = (lambda a, b: a <= b) if down else (lambda a, b: a >= b)  # a is b or lies beyond it
    outer = min(fires) if down else max(fires)
    left = dict(fires)
    levels, total, position = [], 0, shock
    while True:
        crossed = sorted((c for c in left if onwards(c, mark) and onwards(position, c)), reverse=down)
        if not crossed:
            return levels, position
        fired = {c: left.pop(c) for c in crossed}
        total += sum(fired.values())
        candidates = sorted((c for c in rests if onwards(c, shock)), reverse=down)
        enough = [c for c in candidates if sum(rests[d] for d in candidates if onwards(c, d)) >= total]
        position = enough[0] if enough else outer
        runs: list[list[int]] = []
        for c in crossed:
            if not fired[c]:
                continue
            if runs and abs(runs[-1][-1] - c) == 1:
                runs[-1].append(c)
            else:
                runs.append([c])
        levels += [(run[0], run[-1], sum(fired[c] for c in run), position) for run in runs]


@EXAMPLES
@given(draw=st.data(), book=tables.books())
def test_chain_against_brute_force(backend: Backend, draw: st.DataObject, book: Book) -> None:
    notional, depth, mark = book
    shock = draw.draw(st.integers(0, len(notional) - 1))
    chain = backend.cascade_chain(notional, depth, mark, shock)
    levels, terminal = brute_force(dict(enumerate(notional.tolist())), dict(enumerate(depth.tolist())), mark, shock)
    columns = chain.near.tolist(), chain.far.tolist(), chain.notional.tolist(), chain.reached.tolist()
    assert list(zip(*columns, strict=True)) == levels
    assert chain.terminal == terminal
    assert isinstance(chain.terminal, int)


def rows_of(book: Book) -> tuple[U64, U64, NDArray[np.int32]]:
    """A book as one row of several: notional, depth and mark, with notional that many chains can share sums of."""
    notional, depth, mark = book
    return np.minimum(notional, MAX_ROW_CENTS // len(notional))[None], depth[None], np.array([mark], np.int32)


@EXAMPLES
@given(book=tables.books(), side=st.integers(0, 1))
def test_curve_equals_the_chains_shock_by_shock(backend: Backend, book: Book, side: int) -> None:
    notional, depth, mark = rows_of(book)
    terminal, fired = backend.shock_curves(notional, depth, mark, np.array([side], np.int32))
    for cell in range(notional.shape[1]):
        if (cell <= mark[0]) if side == 0 else (cell > mark[0]):
            chain = backend.cascade_chain(notional[0], depth[0], int(mark[0]), cell)
            assert (terminal[0, cell], fired[0, cell]) == (chain.terminal, chain.notional.sum())
        else:
            assert (terminal[0, cell], fired[0, cell]) == (mark[0], 0)


@EXAMPLES
@given(book=tables.books())
def test_many_chains_are_the_chains_one_by_one(backend: Backend, book: Book) -> None:
    notional, depth, mark = rows_of(book)
    shock = np.arange(notional.shape[1], dtype=np.int32)
    ends = backend.cascade_chains(notional, depth, mark, np.zeros_like(shock), shock)
    for j in shock.tolist():
        chain = backend.cascade_chain(notional[0], depth[0], int(mark[0]), j)
        ending = chain.terminal, chain.notional.sum(), len(chain.near)
        assert (ends.terminal[j], ends.fired[j], ends.levels[j]) == ending


@EXAMPLES
@given(book=tables.books(), seed=st.integers(0, (1 << 64) - 1))
def test_paths_without_noise_are_the_chain(backend: Backend, book: Book, seed: int) -> None:
    notional, depth, mark = rows_of(book)
    shock = np.arange(notional.shape[1], dtype=np.int32)
    row = np.zeros_like(shock)
    ones = np.full(8, 1 << NOISE_BITS, np.uint32)
    paths = backend.cascade_paths(notional, depth, mark, row, shock, 3, Noise(ones, ones[:2], seed))
    ends = backend.cascade_chains(notional, depth, mark, row, shock)
    np.testing.assert_array_equal(paths.terminal, np.repeat(ends.terminal[:, None], 3, 1))
    np.testing.assert_array_equal(paths.fired, np.repeat(ends.fired[:, None], 3, 1))


def test_noise_takes_every_quantile_about_as_often(backend: Backend) -> None:
    """A chain that fires one cell of 2**16 cents tells the factor that its path drew."""
    notional, depth = np.zeros((1, 3), np.uint64), np.full((1, 3), 1 << 40, np.uint64)
    notional[0, 1] = 1 << 16
    factors = np.arange(1, 17, dtype=np.uint32) << np.uint32(8)
    nowhere = np.zeros(1, np.int32)
    noise = Noise(factors, np.full(1, 1 << NOISE_BITS, np.uint32), 7)
    paths = backend.cascade_paths(notional, depth, nowhere + 1, nowhere, nowhere + 1, 16_000, noise)
    drawn, often = np.unique(paths.fired, return_counts=True)
    assert drawn.tolist() == factors.tolist()
    assert np.all(np.abs(often - 1000) < 200)  # more than six standard deviations
    other = backend.cascade_paths(notional, depth, nowhere + 1, nowhere, nowhere + 1, 16_000, noise._replace(seed=8))
    assert np.mean(paths.fired == other.fired) < 0.1


@EXAMPLES
@given(
    book=tables.books(),
    half_width=st.integers(0, 4),
    ratio_percent=st.sampled_from([0, 50, 100, 150, 300]),
    share=st.sampled_from([0.0, 0.002, 0.1, 0.5]),
)
def test_clusters_against_brute_force(
    backend: Backend, book: Book, half_width: int, ratio_percent: int, share: float
) -> None:
    cells = book[0].tolist()
    least = max(sum(cells) * int(share * SHARE_ONE) // SHARE_ONE, 1)
    inner = range(1, len(cells) - 1)
    above = []
    for c in inner:
        around = [cells[d] for d in inner if abs(d - c) <= half_width]
        if cells[c] >= least and 100 * cells[c] * len(around) > ratio_percent * sum(around):
            above.append(c)
    begins = [c for c in above if c - 1 not in above]
    ends = [c + 1 for c in above if c + 1 not in above]
    found = backend.clusters(book[0][None], ClusterRule(half_width, ratio_percent, int(share * SHARE_ONE)))
    assert found.begin.tolist() == begins
    assert found.end.tolist() == ends
    assert found.notional.tolist() == [sum(cells[b:e]) for b, e in zip(begins, ends, strict=True)]
    peaks = [min(range(b, e), key=lambda c: (-cells[c], c)) for b, e in zip(begins, ends, strict=True)]
    assert found.peak.tolist() == peaks


def scenario(depth_below: list[tuple[int, int, float]]) -> Book:
    """BTC at $50 bins, window from 94 000: three clusters of longs, and bids in (low, high, million USD) layers."""
    cells = {price: 1 + (price - 94_000) // 50 for price in range(94_000, 98_000, 50)}
    notional, depth = np.zeros(len(cells) + 2, np.uint64), np.zeros(len(cells) + 2, np.uint64)
    for price, million in ((96_800, 18), (96_200, 31), (95_600, 14)):
        notional[cells[price]] = million * MILLION
    for low, high, million in depth_below:
        for price in range(low, high + 50, 50):
            depth[cells[price]] = int(million * MILLION)
    return notional, depth, cells[97_500]


# $1.4 M a bin below the mark, $2.5 M further down, a $20 M wall at 95 600
THIN_BOOK = [(94_000, 95_550, 2.5), (95_650, 96_150, 2.5), (96_200, 97_450, 1.4), (95_600, 95_600, 20)]


def test_acceptance_scenario(backend: Backend) -> None:
    """A shock to 96 800 fires three levels, $63 M in all, and ends at 95 600."""
    notional, depth, mark = scenario(THIN_BOOK)
    chain = backend.cascade_chain(notional, depth, mark, 1 + (96_800 - 94_000) // 50)
    prices = [94_000 + 50 * (cell - 1) for cell in chain.near.tolist()]
    assert prices == [96_800, 96_200, 95_600]
    assert [n // MILLION for n in chain.notional.tolist()] == [18, 31, 14]
    assert [94_000 + 50 * (cell - 1) for cell in chain.reached.tolist()] == [96_200, 95_600, 95_600]
    terminal = 94_000 + 50 * (chain.terminal - 1)
    assert terminal == 95_600
    assert (97_500 - terminal) / (97_500 - 96_800) == pytest.approx(2.71, abs=0.005)


def test_clusters_crossed_in_one_round_are_levels_of_their_own(backend: Backend) -> None:
    """Depth so thin that the first level's sale crosses both others at once."""
    notional, depth, mark = scenario([(95_650, 97_450, 0.7), (95_600, 95_600, 60)])
    chain = backend.cascade_chain(notional, depth, mark, 1 + (96_800 - 94_000) // 50)
    assert [n // MILLION for n in chain.notional.tolist()] == [18, 31, 14]
    assert len(set(chain.reached.tolist())) == 1
    assert 94_000 + 50 * (chain.terminal - 1) == 95_600


def test_shock_short_of_the_first_cluster_fires_nothing(backend: Backend) -> None:
    notional, depth, mark = scenario(THIN_BOOK)
    shock = 1 + (96_850 - 94_000) // 50
    chain = backend.cascade_chain(notional, depth, mark, shock)
    assert len(chain.near) == 0
    assert chain.terminal == shock
