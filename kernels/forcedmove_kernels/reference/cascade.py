"""What shocks set off: round by round, cell by cell, in exact Python integers."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Chain, Endings, Noise, Paths
from forcedmove_kernels.checks import check_axis, check_books, check_cents, check_chains, check_noise, check_sides
from forcedmove_kernels.fixed_point import LONG, MAX_ROW_CENTS, NOISE_BITS

WORD = (1 << 32) - 1
LONG_WORD = (1 << 64) - 1


def cascade_chain(notional: U64, depth: U64, mark: int, shock: int) -> Chain:
    """Follow one shock; see :meth:`forcedmove_kernels.backend.Backend.cascade_chain`."""
    check_axis(notional, depth, mark, shock)
    path = list(range(mark, -1, -1)) if shock <= mark else list(range(mark, len(notional)))
    levels: list[tuple[int, int, int, int]] = []
    fired, total = 0, 0  # cells of the path that have fired, and what they held
    reached = abs(shock - mark)  # position of the mark on the path
    while reached >= fired:
        crossed = path[fired : reached + 1]
        total += sum(int(notional[c]) for c in crossed)
        fired = reached + 1
        reached = absorbed_by(depth, path, abs(shock - mark), total)
        levels += [(*run, path[reached]) for run in runs(notional, crossed)]
    columns = list(zip(*levels, strict=True)) or [()] * 4
    return Chain(
        near=np.array(columns[0], np.int32),
        far=np.array(columns[1], np.int32),
        notional=np.array(columns[2], np.uint64),
        reached=np.array(columns[3], np.int32),
        terminal=path[reached],
    )


def absorbed_by(depth: U64, path: list[int], first: int, total: int) -> int:
    """First position from ``first`` on by which the depth along the path holds ``total``, or the last position."""
    held = 0
    for position in range(first, len(path)):
        held += int(depth[path[position]])
        if held >= total:
            return position
    return len(path) - 1


def runs(notional: U64, crossed: list[int]) -> list[tuple[int, int, int]]:
    """Maximal runs of non-empty cells, in the order of ``crossed``: (near, far, notional)."""
    found: list[tuple[int, int, int]] = []
    open_run = False
    for cell in crossed:
        amount = int(notional[cell])
        if amount and open_run:
            near, _, held = found[-1]
            found[-1] = near, cell, held + amount
        elif amount:
            found.append((cell, cell, amount))
        open_run = amount > 0
    return found


def cascade_chains(notional: U64, depth: U64, mark: I32, row: I32, shock: I32) -> Endings:
    """Follow each chain by itself; see :meth:`forcedmove_kernels.backend.Backend.cascade_chains`."""
    check_books(notional, depth, mark)
    check_cents(notional)
    check_chains(row, shock, notional)
    chains = [
        cascade_chain(notional[r], depth[r], int(mark[r]), s) for r, s in zip(row.tolist(), shock.tolist(), strict=True)
    ]
    return Endings(
        terminal=np.array([chain.terminal for chain in chains], np.int32),
        fired=np.array([chain.notional.sum() for chain in chains], np.uint64),
        levels=np.array([len(chain.near) for chain in chains], np.int32),
    )


def shock_curves(notional: U64, depth: U64, mark: I32, side: I32) -> tuple[I32, U64]:
    """Run every shock of one side of each row; see :meth:`forcedmove_kernels.backend.Backend.shock_curves`."""
    check_books(notional, depth, mark)
    check_cents(notional)
    check_sides(side, mark)
    cells = notional.shape[1]
    terminal = np.repeat(mark.astype(np.int32)[:, None], cells, 1)
    fired = np.zeros(notional.shape, np.uint64)
    for row, (start, direction) in enumerate(zip(mark.tolist(), side.tolist(), strict=True)):
        for shock in range(start + 1) if direction == LONG else range(start + 1, cells):
            chain = cascade_chain(notional[row], depth[row], start, shock)
            terminal[row, shock] = chain.terminal
            fired[row, shock] = chain.notional.sum()
    return terminal, fired


def cascade_paths(notional: U64, depth: U64, mark: I32, row: I32, shock: I32, paths: int, noise: Noise) -> Paths:
    """Follow each path by itself; see :meth:`forcedmove_kernels.backend.Backend.cascade_paths`."""
    check_books(notional, depth, mark)
    check_cents(notional)
    check_chains(row, shock, notional)
    check_noise(paths, noise)
    terminal = np.zeros((len(row), paths), np.int32)
    total = np.zeros((len(row), paths), np.uint64)
    for j, (r, to) in enumerate(zip(row.tolist(), shock.tolist(), strict=True)):
        start = int(mark[r])
        path = list(range(start, -1, -1)) if to <= start else list(range(start, len(notional[r])))
        for p in range(paths):
            terminal[j, p], total[j, p] = follow_path(notional[r], depth[r], path, abs(to - start), noise, j, p)
    return Paths(terminal, total)


def follow_path(
    notional: U64, depth: U64, path: list[int], first: int, noise: Noise, j: int, p: int
) -> tuple[int, int]:
    """Last cell and cents fired of the ``p``-th random path of the ``j``-th chain, which is shocked to ``path[first]``.

    ``path`` lists the cells from the mark to the outer cell.
    """
    factor, of_depth = draw(noise, j, p, path)
    below = sum(int(notional[c]) for c in path[:first])
    fired = held = 0
    for position, cell in enumerate(path[first:], first):
        below += int(notional[cell])
        fired = below * factor >> NOISE_BITS
        held += min(int(depth[cell]), MAX_ROW_CENTS) * of_depth[position] >> NOISE_BITS
        if held >= fired:
            return cell, fired
    return path[-1], fired


def draw(noise: Noise, j: int, p: int, cells: list[int]) -> tuple[int, list[int]]:
    """Random factors of the ``p``-th path of the ``j``-th chain of a call: of what fires, of the depth of ``cells``.

    A hash of (seed, j, p) is the path's key; its upper half picks the notional's factor, its lower half and the number
    of the cell pick the depth's.
    """
    key = splitmix64(int(noise.seed) ^ (j << 32 | p))
    of_notional = int(noise.notional[(key >> 32) & (len(noise.notional) - 1)])
    picks = [mix32((key & WORD) ^ (cell * 0x9E37_79B9 & WORD)) & (len(noise.depth) - 1) for cell in cells]
    return of_notional, [int(noise.depth[pick]) for pick in picks]


def splitmix64(x: int) -> int:
    """The next number of the generator of that name whose state is ``x``."""
    x = x + 0x9E37_79B9_7F4A_7C15 & LONG_WORD
    x = (x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9 & LONG_WORD
    x = (x ^ x >> 27) * 0x94D0_49BB_1331_11EB & LONG_WORD
    return x ^ x >> 31


def mix32(h: int) -> int:
    """The finishing step of MurmurHash3."""
    h = (h ^ h >> 16) * 0x85EB_CA6B & WORD
    h = (h ^ h >> 13) * 0xC2B2_AE35 & WORD
    return h ^ h >> 16
