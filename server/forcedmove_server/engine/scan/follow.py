"""One symbol's part of a scan: the chains of all shocks, random paths of them, tipping shocks, and the measures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.engine.cascade.forecast import CELL_DEPTH_SD, DEPTH_SD, MAP_SD
from forcedmove_server.engine.cascade.noise import PathNoise, Spreads, path_noise
from forcedmove_server.engine.scan.books import Outward, ScanBook, outward
from forcedmove_server.engine.scan.depths import depths_after_shocks, kernel_rows
from forcedmove_server.engine.scan.question import BLOCK_CELLS, ScanQuestion
from forcedmove_server.engine.scan.tips import tipping_shock
from forcedmove_server.scorecard.measures.reach import reach_probability

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
B8 = NDArray[np.bool_]

#: of random paths, by distance from the mark and by what fires
QUANTILES = (0.05, 0.5, 0.95)
#: what is random on a path; the part of maps that credible bands know is left out: it takes a grid per symbol
SPREADS = Spreads(MAP_SD, DEPTH_SD, CELL_DEPTH_SD)
_DAY_S = 86_400.0


class CancelledScan(Exception):
    """Nobody waits for the scan any more."""


@dataclass(frozen=True, slots=True)
class PathQuantiles:
    """By quantile and shock, float64 ``[3, S]`` USD."""

    terminal_usd: F64
    fired_usd: F64


@dataclass(frozen=True, slots=True)
class SymbolScan:
    """One symbol's answer; arrays have an element per shock, in the question's order. See scan.proto for each."""

    book: ScanBook
    terminal_usd: F64
    fired_usd: F64
    levels: I64
    amplification: F64
    fragility: F64
    touch: F64
    beyond_window: B8
    paths: PathQuantiles | None
    tipping_down: float | None  # moves of the mark
    tipping_up: float | None
    expected_loss_usd: float
    notional_usd: float

    @property
    def tipping_distance(self) -> float | None:
        """The nearer of both tips, 0 or more; None where there is none."""
        return min((abs(tip) for tip in (self.tipping_down, self.tipping_up) if tip is not None), default=None)


@dataclass(slots=True)
class _Found:
    """Columns that sides fill in."""

    terminal_usd: F64
    fired_usd: F64
    levels: I64
    fragility: F64
    beyond: B8
    quantiles: F64  # [2, 3, S]: terminal, fired
    loss_usd: F64  # what fires times the fraction that the chain moves beyond the shock

    @classmethod
    def empty(cls, shocks: int) -> _Found:
        """Return columns of zeros."""
        return cls(
            terminal_usd=np.zeros(shocks),
            fired_usd=np.zeros(shocks),
            levels=np.zeros(shocks, np.int64),
            fragility=np.zeros(shocks),
            beyond=np.zeros(shocks, np.bool_),
            quantiles=np.zeros((2, len(QUANTILES), shocks)),
            loss_usd=np.zeros(shocks),
        )


def scan_symbol(
    backend: Backend, book: ScanBook, question: ScanQuestion, is_cancelled: Callable[[], bool] = lambda: False
) -> SymbolScan:
    """Answer for one symbol; any thread may. The same book, question and seed give the same answer, on every backend.

    Raises CancelledScan between two calls of the kernels once ``is_cancelled``.
    """
    moves = np.array(question.shocks)
    prices = book.mark_usd * (1 + moves)
    found = _Found.empty(len(moves))
    tips: list[float | None] = [None, None]
    notional_usd, loss_usd = 0.0, 0.0
    touch = reach_probability(np.abs(np.log1p(moves)), book.law.sigma_day / _DAY_S**0.5, question.horizon_s)
    for side_number in (LONG, SHORT):
        mine = np.flatnonzero(moves < 0 if side_number == LONG else moves > 0)
        side = outward(book, side_number)
        if len(mine):
            rows = max(1, BLOCK_CELLS // len(side.fires))
            for begin in range(0, len(mine), rows):
                if is_cancelled():
                    raise CancelledScan
                _follow(backend, side, mine[begin : begin + rows], prices, question, found)
            furthest = side.position(float(prices[mine][np.abs(moves[mine]).argmax()]))
            notional_usd += int(side.fires[: furthest + 1].sum()) / 100
            loss_usd += _expected(np.abs(moves[mine]), touch[mine], found.loss_usd[mine])
        if is_cancelled():
            raise CancelledScan
        tips[side_number] = tipping_shock(backend, side)
    return SymbolScan(
        book=book,
        terminal_usd=found.terminal_usd,
        fired_usd=found.fired_usd,
        levels=found.levels,
        amplification=(book.mark_usd - found.terminal_usd) / (book.mark_usd - prices),
        fragility=found.fragility,
        touch=touch,
        beyond_window=found.beyond,
        paths=PathQuantiles(*found.quantiles) if question.paths else None,
        tipping_down=tips[LONG],
        tipping_up=tips[SHORT],
        expected_loss_usd=loss_usd,
        notional_usd=notional_usd,
    )


def _follow(backend: Backend, side: Outward, mine: I64, prices: F64, question: ScanQuestion, found: _Found) -> None:
    """Fill in the columns of some shocks of one side, ``mine`` being their places in the question."""
    shocked = np.array([side.position(price) for price in prices[mine].tolist()], np.int64)
    depth = depths_after_shocks(side, prices[mine])
    rows = kernel_rows(side.fires, depth)
    chains = np.arange(len(mine), dtype=np.int32)
    marks, to = np.zeros(len(mine), np.int32), (shocked + 1).astype(np.int32)
    ends = backend.cascade_chains(*rows, marks, chains, to)
    reached = ends.terminal.astype(np.int64) - 1
    of_position = side.prices()

    def price_at(position: I64) -> F64:
        """Prices by shock (last axis): the shock's own where the chain has not left its cell."""
        return np.where(position == shocked, prices[mine], of_position[position])

    found.terminal_usd[mine] = price_at(reached)
    found.fired_usd[mine] = ends.fired / 100
    found.levels[mine] = ends.levels
    found.beyond[mine] = reached == len(side.fires) - 1
    found.fragility[mine] = _fragility(side.fires, depth, shocked)
    slide = np.abs(found.terminal_usd[mine] - prices[mine]) / side.book.mark_usd
    found.loss_usd[mine] = found.fired_usd[mine] * slide
    if not question.paths:
        return
    noise = random_tables(_seed(question.seed, side.book.symbol, side.side, int(mine[0])))
    ends_of_paths = backend.cascade_paths(*rows, marks, chains, to, question.paths, noise.kernel)
    reached = ends_of_paths.terminal.astype(np.int64) - 1  # [S, P]
    factor = np.stack([noise.factors(chain, question.paths) for chain in range(len(mine))])
    fired = np.cumsum(side.fires.astype(np.float64))[reached] * factor / 100
    slides = np.abs(price_at(reached.T).T - prices[mine][:, None]) / side.book.mark_usd
    found.loss_usd[mine] = (fired * slides).mean(1)
    reached.sort(axis=1)
    fired.sort(axis=1)
    for k, probability in enumerate(QUANTILES):
        place = math.ceil(probability * question.paths) - 1
        found.quantiles[0, k, mine], found.quantiles[1, k, mine] = price_at(reached[:, place]), fired[:, place]


def _fragility(fires: U64, depth: U64, shocked: I64) -> F64:
    """Notional up to the shock over the depth from there on as far again, at least one cell more: float64 ``[S]``.

    Infinite where nothing rests, 0 of a shock out of the window, behind which nothing is known.
    """
    last = len(fires) - 1
    crossed = np.cumsum(fires.astype(np.float64))[shocked]
    held = np.array(
        [
            depth[k, at : min(2 * at, last) + 1 + (at == 0)].sum(dtype=np.float64)
            for k, at in enumerate(shocked.tolist())
        ]
    )
    ratio: F64 = np.divide(crossed, held, out=np.where(crossed > 0, np.inf, 0.0), where=held > 0)
    return np.where(shocked < last, ratio, 0.0)


def _expected(distance: F64, touch: F64, loss_usd: F64) -> float:
    """Mean loss at the furthest shock that is touched; shocks of one side, arrays float64 ``[S]``."""
    order = np.argsort(distance, kind="stable")
    chance = touch[order] - np.append(touch[order][1:], 0.0)
    return float(chance @ loss_usd[order])


@cache
def _tables() -> PathNoise:
    return path_noise(SPREADS, 0)


def random_tables(seed: int) -> PathNoise:
    """Return what paths of scans are drawn from."""
    tables = _tables()
    return PathNoise(tables.kernel._replace(seed=seed), tables.factor)


def _seed(seed: int, symbol: str, side: int, first: int) -> int:
    """A seed for each call of the kernels, so that a symbol's paths do not depend on which others are scanned."""
    text = f"{seed} {symbol} {side} {first}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
