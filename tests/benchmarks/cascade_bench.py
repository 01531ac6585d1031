"""Cascades of many symbols: chains, curves of every shock, random paths, against NumPy.

Both sides of every symbol are a row: even rows go down from the mark, odd rows up. A third of the cells have something
to fire, and the depth of all together is about as much as fires, so that chains run over several rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from forcedmove_kernels.arrays import U64, Noise
from forcedmove_kernels.fixed_point import NOISE_BITS
from tests.benchmarks.cascade_rivals import Books, chains, curves, paths
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import Cost, goal, row
from tests.benchmarks.runners import Limits, Runner

RIVAL = "numpy cumsum and searchsorted"
PATHS_RIVAL = "numpy, path by path"
#: a shock of 2 % in a window of 2 048 bins of 5 bp, as a share of the window
PATH_SHOCK_PERCENT = 2
SLOW_ROUNDS = 3
QUANTILES = 256

CHAINS_GOAL = ("cascade batch of {:,} chains, against NumPy cumsum and searchsorted", 12.0, 25.0)
CURVES_GOAL = ("all-shock curves of {} symbols x 2 sides x {:,} bins", 20.0, 10.0)
PATHS_GOAL = ("H200: {:,} cascade paths", 5.0, 1.0)


class Sizes(NamedTuple):
    """How much is done; ``promised`` where the figures are those of the promises."""

    symbols: int
    shocks: int
    bins: int
    paths: int
    numpy_rows: int  # of which NumPy follows the paths
    rounds: int
    promised: bool


def build_books(symbols: int, bins: int) -> Books:
    """Rows whose mark is about the middle of the window."""
    rng = np.random.default_rng(5)
    shape = (2 * symbols, bins + 2)
    notional = rng.integers(0, 100_000_000, shape).astype(np.uint64) * (rng.random(shape) < 0.3)
    depth = rng.integers(0, 60_000_000, shape).astype(np.uint64)
    mark = np.repeat(rng.integers(bins * 9 // 20, bins * 11 // 20, symbols), 2)
    return Books(notional, depth, mark.astype(np.int32))


def quantiles(spread: float) -> Any:
    """Equally likely factors around one, u32 ``[QUANTILES]``: lognormal by its sorted draws."""
    drawn = np.sort(np.random.default_rng(9).lognormal(0, spread, QUANTILES))
    return np.minimum(np.rint(drawn * (1 << NOISE_BITS)), (16 << NOISE_BITS) - 1).astype(np.uint32)


def bench_cascades(
    results: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    numpy_limits: Limits,
    runners: Sequence[Runner],
    sizes: Sizes,
) -> None:
    """All three."""
    books = build_books(sizes.symbols, sizes.bins)
    _chains(results, goals, books, numpy_limits, runners, sizes)
    _curves(results, goals, books, numpy_limits, runners, sizes)
    _paths(results, goals, books, numpy_limits, runners, sizes)


def _chains(
    results: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    books: Books,
    numpy_limits: Limits,
    runners: Sequence[Runner],
    sizes: Sizes,
) -> None:
    rows = len(books.mark)
    distance = np.unique(np.geomspace(1, sizes.bins * 2 // 5, 4 * sizes.shocks).astype(np.int64))
    distance = distance[np.linspace(0, len(distance) - 1, sizes.shocks).astype(np.int64)]
    way = np.where(np.arange(rows) % 2 == 0, -1, 1)
    shock = (books.mark[:, None] + way[:, None] * distance).astype(np.int32).ravel()
    of_row = np.repeat(np.arange(rows, dtype=np.int32), len(distance))

    def contestant(runner: Runner) -> Contestant:
        def work() -> tuple[Any, ...]:
            ends = runner.backend.cascade_chains(*books, of_row, shock)
            runner.finish()
            return ends.terminal.reshape(rows, -1), ends.fired.reshape(rows, -1)

        return Contestant(runner.name, work)

    seconds = medians([Contestant(RIVAL, lambda: chains(books, distance)), *map(contestant, runners)], sizes.rounds)
    cost = Cost(len(shock), books.notional.nbytes + books.depth.nbytes + 20 * len(shock), False)
    params = {"symbols": sizes.symbols, "shocks": len(distance), "sides": 2}
    _rows(results, "cascade chains", params, seconds, cost, numpy_limits, runners)
    cpu = _fastest_cpu(seconds, runners)
    if sizes.promised and cpu:
        what, must, aim = CHAINS_GOAL
        goals.append(goal(what.format(len(shock)), must, aim, seconds[RIVAL] / cpu, "x"))


def _curves(
    results: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    books: Books,
    numpy_limits: Limits,
    runners: Sequence[Runner],
    sizes: Sizes,
) -> None:
    side = np.arange(len(books.mark), dtype=np.int32) % np.int32(2)

    def contestant(runner: Runner) -> Contestant:
        def work() -> tuple[Any, ...]:
            curve = runner.backend.shock_curves(*books, side)
            runner.finish()
            return curve

        return Contestant(runner.name, work)

    seconds = medians([Contestant(RIVAL, lambda: curves(books)), *map(contestant, runners)], sizes.rounds)
    cells = books.notional.size
    cost = Cost(cells, cells * (8 + 8 + 4 + 8), False)
    params = {"symbols": sizes.symbols, "bins": sizes.bins, "sides": 2}
    _rows(results, "all-shock curves", params, seconds, cost, numpy_limits, runners)
    cpu = _fastest_cpu(seconds, runners)
    if sizes.promised and cpu:
        what, must, aim = CURVES_GOAL
        goals.append(goal(what.format(sizes.symbols, sizes.bins), must, aim, cpu * 1e3, "ms", at_most=True))


def _paths(
    results: list[dict[str, Any]],
    goals: list[dict[str, Any]],
    books: Books,
    numpy_limits: Limits,
    runners: Sequence[Runner],
    sizes: Sizes,
) -> None:
    rows, distance = len(books.mark), sizes.bins * PATH_SHOCK_PERCENT // 100
    per_chain = sizes.paths // rows
    noise = Noise(quantiles(0.5), quantiles(0.3), seed=0x5EED_5EED_5EED_5EED)
    some = range(min(rows, sizes.numpy_rows))
    way = np.where(np.arange(rows) % 2 == 0, -1, 1)
    of_row, shock = np.arange(rows, dtype=np.int32), (books.mark + way * distance).astype(np.int32)

    def contestant(runner: Runner) -> Contestant:
        last: list[U64] = []

        def work() -> None:
            last[:] = runner.backend.cascade_paths(*books, of_row, shock, per_chain, noise)
            runner.finish()

        return Contestant(runner.name, work, answer=lambda: tuple(field[: len(some)] for field in last))

    rival = Contestant(PATHS_RIVAL, lambda: paths(books, distance, per_chain, noise, some), rounds=SLOW_ROUNDS)
    seconds = medians([rival, *map(contestant, runners)], sizes.rounds)
    seconds[PATHS_RIVAL] *= rows / len(some)  # it follows the paths of some chains: the same time per path
    cost = Cost(rows * per_chain, books.notional.nbytes + books.depth.nbytes + 12 * rows * per_chain, False)
    params = {"chains": rows, "paths": rows * per_chain}
    _rows(results, "cascade paths", params, seconds, cost, numpy_limits, runners)
    for runner in runners:
        if sizes.promised and "H200" in runner.device:
            what, must, aim = PATHS_GOAL
            goals.append(goal(what.format(rows * per_chain), must, aim, seconds[runner.name] * 1e3, "ms", at_most=True))


def _rows(
    results: list[dict[str, Any]],
    name: str,
    params: dict[str, Any],
    seconds: dict[str, float],
    cost: Cost,
    numpy_limits: Limits,
    runners: Sequence[Runner],
) -> None:
    """A line per contestant; the first is the baseline."""
    limits = {runner.name: runner.limits for runner in runners}
    rival, base = next(iter(seconds.items()))
    for by, spent in seconds.items():
        against = None if by == rival else (rival, base)
        measured = limits.get(by, numpy_limits)
        results.append(row(name, params | {"by": by}, spent, "ms", cost, measured, against))


def _fastest_cpu(seconds: dict[str, float], runners: Sequence[Runner]) -> float | None:
    return min((seconds[runner.name] for runner in runners if not runner.device), default=None)
