"""Runs of cells that stand above their surroundings."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import U64, ClusterRule, Clusters
from forcedmove_kernels.checks import check_cluster_rule
from forcedmove_kernels.fixed_point import SHARE_BITS


def clusters(notional: U64, rule: ClusterRule) -> Clusters:
    """Find the clusters of profile rows; see :meth:`forcedmove_kernels.backend.Backend.clusters`."""
    check_cluster_rule(notional, rule)
    rows = [runs_above(cells, rule) for cells in notional.tolist()]
    found = [run for row in rows for run in row]
    columns = list(zip(*found, strict=True)) or [()] * 4
    return Clusters(
        first=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        begin=np.array(columns[0], np.int32),
        end=np.array(columns[1], np.int32),
        peak=np.array(columns[2], np.int32),
        notional=np.array(columns[3], np.uint64),
    )


def runs_above(cells: list[int], rule: ClusterRule) -> list[tuple[int, int, int, int]]:
    """Clusters of one row: (begin, end, peak, notional)."""
    minimum = max(sum(cells) * rule.share >> SHARE_BITS, 1)
    last = len(cells) - 2  # the outer cells are no bins
    found: list[tuple[int, int, int, int]] = []
    begin = 0
    for c in range(1, last + 2):
        around = cells[max(c - rule.half_width, 1) : min(c + rule.half_width, last) + 1]
        above = c <= last and cells[c] >= minimum and 100 * cells[c] * len(around) > rule.ratio_percent * sum(around)
        if above and not begin:
            begin = c
        elif begin and not above:
            run = cells[begin:c]
            found.append((begin, c, begin + run.index(max(run)), sum(run)))
            begin = 0
    return found
