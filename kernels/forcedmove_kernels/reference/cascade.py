"""What one shock sets off: round by round, in exact Python integers."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import I32, U64, Chain
from forcedmove_kernels.checks import check_axis
from forcedmove_kernels.fixed_point import LONG


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


def shock_curve(notional: U64, depth: U64, mark: int, side: int) -> tuple[I32, U64]:
    """Run every shock of one side; see :meth:`forcedmove_kernels.backend.Backend.shock_curve`."""
    check_axis(notional, depth, mark, mark)
    terminal = np.full(len(notional), mark, np.int32)
    total = np.zeros(len(notional), np.uint64)
    for shock in range(mark + 1) if side == LONG else range(mark + 1, len(notional)):
        chain = cascade_chain(notional, depth, mark, shock)
        terminal[shock] = chain.terminal
        total[shock] = chain.notional.sum(dtype=np.uint64)
    return terminal, total
