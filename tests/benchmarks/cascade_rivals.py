"""Cascades in NumPy: prefix sums and binary search, row by row, as one writes them first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import I32, I64, U32, U64, Noise
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS, NOISE_BITS

LOW_32 = np.uint64(0xFFFF_FFFF)


class Books(NamedTuple):
    """Rows that chains run on: what fires in each cell, what absorbs it, where the mark is; even rows go down."""

    notional: U64  # [R, C] cents
    depth: U64  # [R, C] cents
    mark: I32  # [R]


def ahead(books: Books, row: int) -> tuple[U64, U64]:
    """Notional and depth of a row by position: cells from the mark on, in the direction of the row."""
    way = slice(books.mark[row], None, -1 if row % 2 == 0 else 1)
    return books.notional[row, way], books.depth[row, way]


def chains_of_row(notional: U64, depth: U64, shock: I64) -> tuple[I64, U64]:
    """Last position and cents fired of the chains of every shock (positions); all rounds of all shocks together."""
    fired, absorbed = np.cumsum(notional), np.cumsum(depth)
    passed = (absorbed - depth)[shock]
    reached = shock
    while True:
        further = np.searchsorted(absorbed, passed + fired[reached])
        further = np.maximum(np.minimum(further, len(notional) - 1), reached)
        if np.array_equal(further, reached):
            return reached, fired[reached]
        reached = further


def chains(books: Books, shocks: I64) -> tuple[I32, U64]:
    """Terminal cells and cents fired, ``[R, len(shocks)]``; ``shocks`` are distances from the mark in cells."""
    rows = len(books.mark)
    terminal = np.empty((rows, len(shocks)), np.int32)
    total = np.empty((rows, len(shocks)), np.uint64)
    for row in range(rows):
        reached, total[row] = chains_of_row(*ahead(books, row), shocks)
        terminal[row] = books.mark[row] + (reached if row % 2 else -reached)
    return terminal, total


def curves(books: Books) -> tuple[I32, U64]:
    """Terminal cells and cents fired of every shock of each row's direction, ``[R, C]``."""
    rows, cells = books.notional.shape
    terminal = np.repeat(books.mark[:, None], cells, 1)
    total = np.zeros((rows, cells), np.uint64)
    for row in range(rows):
        mark, up = books.mark[row], row % 2
        notional, depth = ahead(books, row)
        reached, fired = chains_of_row(notional, depth, np.arange(up, len(notional)))
        if up:
            terminal[row, mark + 1 :], total[row, mark + 1 :] = mark + reached, fired
        else:
            terminal[row, mark::-1], total[row, mark::-1] = mark - reached, fired
    return terminal, total


def paths(books: Books, shock: int, count: int, noise: Noise, rows: range) -> tuple[I32, U64]:
    """Terminal cells and cents fired of random paths of one chain per row: ``[len(rows), count]``."""
    terminal = np.empty((len(rows), count), np.int32)
    total = np.empty((len(rows), count), np.uint64)
    for number, row in enumerate(rows):
        notional, depth = ahead(books, row)
        mark, way = int(books.mark[row]), 1 if row % 2 else -1
        key = _splitmix64(np.uint64(noise.seed) ^ (np.uint64(row << 32) | np.arange(count, dtype=np.uint64)))
        factor = noise.notional[(key >> np.uint64(32)) & np.uint64(len(noise.notional) - 1)].astype(np.uint64)
        fired = np.cumsum(notional)[None] * factor[:, None] >> np.uint64(NOISE_BITS)
        cell = (mark + way * np.arange(shock, len(notional))).astype(np.uint32)
        mixed = _mix32((key & LOW_32).astype(np.uint32)[:, None] ^ (cell * np.uint32(0x9E3779B9))[None])
        drawn = noise.depth[mixed & np.uint32(len(noise.depth) - 1)].astype(np.uint64)
        clipped = np.minimum(depth[shock:], np.uint64(MAX_ROW_CENTS))
        held = np.cumsum(clipped[None] * drawn >> np.uint64(NOISE_BITS), 1)
        holds = held >= fired[:, shock:]
        reached = shock + np.where(holds.any(1), holds.argmax(1), len(notional) - 1 - shock)
        terminal[number] = mark + way * reached
        total[number] = fired[np.arange(count), reached]
    return terminal, total


def _splitmix64(x: U64) -> U64:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: U64 = x ^ x >> np.uint64(31)
    return mixed


def _mix32(h: NDArray[np.uint32]) -> U32:
    h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    mixed: U32 = h ^ h >> np.uint32(16)
    return mixed
