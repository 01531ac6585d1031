"""Builders of profile rows: what fires, what rests, where the mark is, and how random paths differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Noise
from forcedmove_kernels.fixed_point import MAX_NOISE, MAX_ROW_CENTS, NOISE_BITS
from tests.parity.builders import SMALL, Size, bounded
from tests.parity.draws import Draws, Numbers

AMOUNTS = Numbers(((0, 5), (0, 1 << 50)), (0,))
DEPTHS = Numbers(((0, 5), (0, 1 << 50)), (0, (1 << 64) - 1))
# As in a map: clusters with gaps between them, and depth that is just about enough, so that chains take many rounds.
CLUSTERS = Numbers(((1, 1_000_000),), (0,))
BOOK_DEPTHS = tuple(Numbers(((0, most),)) for most in (550_000, 400_000, 700_000))
#: cells of the widest rows, for oracles that go over them cell by cell
WIDEST = 2050
FACTORS = Numbers(((0, 2 << NOISE_BITS), (0, (MAX_NOISE << NOISE_BITS) - 1)), (0, 1, 1 << NOISE_BITS))


class Books(NamedTuple):
    """Rows that chains run on."""

    notional: U64  # [R, C] cents
    depth: U64  # [R, C] cents
    mark: I32  # [R]


class Shocks(NamedTuple):
    """Chains: the row and the shocked cell of each."""

    row: I32  # [J]
    shock: I32  # [J]


def cells(draws: Draws, size: Size, widest: int = WIDEST) -> int:
    """Cells of a row, at most ``widest``."""
    return draws.integers(3, 14) if size is SMALL else min(draws.sampled(size.bins) + 2, widest)


def rows(draws: Draws, size: Size = SMALL, widest: int = WIDEST, limit: int = MAX_ROW_CENTS, most: int = 3) -> Books:
    """Up to ``most`` rows, each of at most ``limit`` cents. Depth adds up to more than 64 bits hold on some."""
    count, width = draws.integers(1, most), cells(draws, size, widest)
    notional, depth = np.zeros((2, count, width), np.uint64)
    for row in range(count):
        like_a_map = draws.sampled((True, True, False))
        amounts, depths = (CLUSTERS, draws.sampled(BOOK_DEPTHS)) if like_a_map else (AMOUNTS, DEPTHS)
        notional[row] = bounded(draws.array(amounts, width, np.uint64), limit)
        depth[row] = draws.array(depths, width, np.uint64)
    if draws.sampled((False, False, False, True)):  # the most that a row may hold
        notional[0, draws.integers(0, width - 1)] += np.uint64(limit - sum(notional[0].tolist()))
    anywhere, middle = (0, width - 1), (width // 3, width * 2 // 3)
    return Books(notional, depth, draws.array(Numbers((middle, anywhere)), count, np.int32))


def book(draws: Draws, size: Size = SMALL, widest: int = WIDEST, limit: int = MAX_ROW_CENTS) -> tuple[U64, U64, int]:
    """Notional and depth of one row, and the mark's cell."""
    books = rows(draws, size, widest, limit, most=1)
    return books.notional[0], books.depth[0], int(books.mark[0])


def shocks(draws: Draws, books: Books, count: int) -> Shocks:
    """``count`` chains: anywhere on the rows, or near the mark as most are asked for."""
    rows_, width = books.notional.shape
    row = draws.array(Numbers(((0, rows_ - 1),)), count, np.int32)
    if draws.sampled((True, False)):
        away = draws.array(Numbers(((-2, 2), (-20, 20))), count, np.int32)
        return Shocks(row, np.clip(books.mark[row] + away, 0, width - 1).astype(np.int32))
    return Shocks(row, draws.array(Numbers(((0, width - 1),)), count, np.int32))


def noise(draws: Draws, size: Size = SMALL) -> Noise:
    """Tables of any power of two."""
    lengths = (1, 2, 8) if size is SMALL else (1, 1024, 4096)
    return Noise(
        draws.array(FACTORS, draws.sampled(lengths), np.uint32),
        draws.array(FACTORS, draws.sampled(lengths), np.uint32),
        draws.sampled((0, 1, (1 << 64) - 1, draws.integers(0, (1 << 64) - 1))),
    )
