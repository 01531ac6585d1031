"""Cascade kernels against the oracle, bit for bit; see :mod:`tests.parity.checks`."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.reference.cascade import follow_path
from tests.parity import books
from tests.parity.builders import SMALL, Size
from tests.parity.checks import ORACLE
from tests.parity.compare import assert_array, assert_same
from tests.parity.draws import Draws, Numbers

#: the oracle follows chains cell by cell in Python: wide rows for few chains, narrower ones for many
NARROW = 258
#: chains and paths of each
BATCHES = ((2, 130), (20, 9), (1, 270))


def cascade_chain(backend: Backend, draws: Draws, size: Size) -> None:
    """The one kernel whose rows may hold up to 2**63 cents."""
    notional, depth, mark = books.book(draws, size, limit=(1 << 63) - 1)
    shock = draws.integers(0, len(notional) - 1)
    assert_same(backend.cascade_chain(notional, depth, mark, shock), ORACLE.cascade_chain(notional, depth, mark, shock))


def cascade_chains(backend: Backend, draws: Draws, size: Size) -> None:
    chains = books.rows(draws, size)
    asked = books.shocks(draws, chains, draws.sampled(size.many))
    endings = backend.cascade_chains(*chains, *asked)
    assert_same(endings, ORACLE.cascade_chains(*chains, *asked))
    for j in range(min(len(asked.row), 3)):
        row = asked.row[j]
        chain = ORACLE.cascade_chain(
            chains.notional[row], chains.depth[row], int(chains.mark[row]), int(asked.shock[j])
        )
        ending = int(endings.terminal[j]), int(endings.fired[j]), int(endings.levels[j])
        assert ending == (chain.terminal, sum(chain.notional.tolist()), len(chain.near)), f"chain {j}"


def shock_curves(backend: Backend, draws: Draws, size: Size) -> None:
    curves = books.rows(draws, size, widest=NARROW)
    side = draws.array(Numbers(((0, 1),)), len(curves.mark), np.int32)
    expected = ORACLE.shock_curves(*curves, side)
    for name, one, other in zip(("terminal", "fired"), backend.shock_curves(*curves, side), expected, strict=True):
        assert_array(one, other, name)


def wide_shock_curves(backend: Backend, draws: Draws, size: Size) -> None:
    """Every width, some shocks of each side; on the other side nothing happens."""
    curves = books.rows(draws, size)
    side = draws.array(Numbers(((0, 1),)), len(curves.mark), np.int32)
    terminal, fired = backend.shock_curves(*curves, side)
    width = curves.notional.shape[1]
    for row, mark in enumerate(curves.mark.tolist()):
        down = np.arange(width) <= mark
        elsewhere = ~down if side[row] == 0 else down
        assert_array(terminal[row, elsewhere], np.full(np.count_nonzero(elsewhere), mark, np.int32), "other side")
        assert_array(fired[row, elsewhere], np.zeros(np.count_nonzero(elsewhere), np.uint64), "other side")
        shocks = np.flatnonzero(~elsewhere)
        if not len(shocks):
            continue
        for at in draws.array(Numbers(((0, len(shocks) - 1),)), 4, np.int64).tolist():
            chain = ORACLE.cascade_chain(curves.notional[row], curves.depth[row], mark, int(shocks[at]))
            found = int(terminal[row, shocks[at]]), int(fired[row, shocks[at]])
            assert found == (chain.terminal, sum(chain.notional.tolist())), f"row {row}, shock {shocks[at]}"


def cascade_paths(backend: Backend, draws: Draws, size: Size) -> None:
    chains = books.rows(draws, size)
    count, paths = (draws.integers(0, 3), draws.integers(0, 5)) if size is SMALL else draws.sampled(BATCHES)
    asked = books.shocks(draws, chains, count)
    noise = books.noise(draws, size)
    expected = ORACLE.cascade_paths(*chains, *asked, paths, noise)
    assert_same(backend.cascade_paths(*chains, *asked, paths, noise), expected)


def many_cascade_paths(backend: Backend, draws: Draws, size: Size) -> None:
    """More paths than the oracle would finish: some of them."""
    chains = books.rows(draws, size, widest=NARROW)
    asked = books.shocks(draws, chains, 3)
    paths = draws.sampled((300, 1500))
    noise = books.noise(draws, size)
    found = backend.cascade_paths(*chains, *asked, paths, noise)
    for j, p in zip(
        draws.array(Numbers(((0, 2),)), 8, int), draws.array(Numbers(((0, paths - 1),)), 8, int), strict=True
    ):
        row, shock = asked.row[j], int(asked.shock[j])
        mark = int(chains.mark[row])
        path = list(range(mark, -1, -1) if shock <= mark else range(mark, chains.notional.shape[1]))
        expected = follow_path(chains.notional[row], chains.depth[row], path, abs(shock - mark), noise, int(j), int(p))
        assert (int(found.terminal[j, p]), int(found.fired[j, p])) == expected, f"chain {j}, path {p}"
