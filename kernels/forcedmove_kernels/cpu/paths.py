"""Random cascade paths; see :mod:`forcedmove_kernels.reference.cascade` for what is drawn."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from forcedmove_kernels.arrays import I32, I64, U32, U64, Noise
from forcedmove_kernels.cpu.vectors import LANES, fill_picks, fill_scaled
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS

#: paths that share the sums of their chain's row
GROUP = 512
ROW_CENTS = np.uint64(MAX_ROW_CENTS)
HALF_SHIFT = np.uint64(32)


@njit(nogil=True, cache=True, forceinline=True)
def splitmix64(x: np.uint64) -> np.uint64:
    """The next number of the generator of that name whose state is ``x``."""
    x += np.uint64(0x9E37_79B9_7F4A_7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True, forceinline=True)
def fill_path(notional: U64, depth: U64, mark: int, first: int, up: bool, fired: U64, rests: U64, salt: U32) -> int:
    """Fill what a chain's paths share, from the shock's position ``first`` on; returns the number of positions.

    ``fired`` sums notional from the mark on, ``rests`` is the clipped depth, ``salt`` the cell's part of the hash.
    """
    step = 1 if up else -1
    last = len(notional) - 1 - mark if up else mark
    below = np.uint64(0)
    for p in range(first):
        below += notional[mark + step * p]
    for p in range(first, last + 1):
        cell = mark + step * p
        below += notional[cell]
        fired[p - first] = below
        rests[p - first] = min(depth[cell], ROW_CENTS)
        salt[p - first] = np.uint32(np.uint64(cell) * np.uint64(0x9E37_79B9))
    return last + 1 - first


@njit(nogil=True, cache=True)
def follow_groups(
    order: I64,
    groups: int,
    notional: U64,
    depth: U64,
    mark: I32,
    row: I32,
    shock: I32,
    noise: Noise,
    seed: np.uint64,
    terminal: I32,
    total: U64,
) -> None:
    """Follow the groups of paths ``order``; group ``g`` of chain ``j`` is ``j * groups + g``."""
    room = notional.shape[1] + LANES
    fired, rests, salt = np.zeros(room, np.uint64), np.zeros(room, np.uint64), np.zeros(room, np.uint32)
    pick, factors = np.empty(LANES, np.uint32), np.empty(LANES, np.uint64)
    holds, fires = np.empty(LANES, np.uint64), np.empty(LANES, np.uint64)
    notional_mask, depth_mask = np.uint64(len(noise.notional) - 1), np.uint32(len(noise.depth) - 1)
    paths = terminal.shape[1]
    for group in order:
        j, begin = group // groups, group % groups * GROUP
        own = row[j]
        start = int(mark[own])
        up = shock[j] > start
        first = abs(int(shock[j]) - start)
        positions = fill_path(notional[own], depth[own], start, first, up, fired, rests, salt)
        for p in range(begin, min(begin + GROUP, paths)):
            key = splitmix64(seed ^ (np.uint64(j) << HALF_SHIFT | np.uint64(p)))
            factor = np.uint64(noise.notional[(key >> HALF_SHIFT) & notional_mask])
            held, all_fired, end, is_held = np.uint64(0), np.uint64(0), 0, False
            for block in range(0, positions, LANES):
                fill_picks(pick, salt, block, np.uint32(key), depth_mask)
                for lane in range(LANES):
                    factors[lane] = noise.depth[pick[lane]]
                fill_scaled(holds, rests, block, factors)
                fill_scaled(fires, fired, block, factor)
                for lane in range(min(LANES, positions - block)):
                    held += holds[lane]
                    all_fired, end = fires[lane], block + lane
                    if held >= all_fired:
                        is_held = True
                        break
                if is_held:
                    break
            end += first
            terminal[j, p] = start + end if up else start - end
            total[j, p] = all_fired


@njit(nogil=True, cache=True, parallel=True)
def follow_groups_parallel(
    order: I64,
    part: I64,
    groups: int,
    notional: U64,
    depth: U64,
    mark: I32,
    row: I32,
    shock: I32,
    noise: Noise,
    seed: np.uint64,
    terminal: I32,
    total: U64,
) -> None:
    """Run :func:`follow_groups` with one part of ``order`` per thread."""
    for thread in prange(len(part) - 1):
        mine = order[part[thread] : part[thread + 1]]
        follow_groups(mine, groups, notional, depth, mark, row, shock, noise, seed, terminal, total)
