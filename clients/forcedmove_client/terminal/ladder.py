"""From a frame's bins to the rows of a price ladder. Pure: no colours, no terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_client.frames import Cluster, MapFrame

F64 = NDArray[np.float64]

#: bins per row, so that rows begin at round prices
_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80)


#: clusters further from the mark than this are not listed
_FAR = 0.3


@dataclass(frozen=True, slots=True)
class Ladder:
    """Notional by price row, highest price first.

    ``low`` f64 [R] lower edges; ``long`` and ``short`` f64 [R] USD; ``groups`` names of the kept extra axis (venues or
    leverages, perhaps none) and ``by_group`` f64 [R, G] USD of both sides together. ``below`` and ``above`` are what
    lies beyond the rows, per side (long, short).
    """

    low: F64
    step: float
    long: F64
    short: F64
    groups: tuple[str, ...]
    by_group: F64
    mark_row: int
    below: tuple[float, float]
    above: tuple[float, float]

    @property
    def peak(self) -> float:
        """Most notional of a side in one row."""
        return float(max(self.long.max(initial=0.0), self.short.max(initial=0.0)))

    def row_of(self, price: float) -> int | None:
        """Row that holds a price; None beyond the ladder."""
        row = len(self.low) - 1 - math.floor((price - self.low[-1]) / self.step + 1e-9)
        return row if 0 <= row < len(self.low) else None


def build_ladder(frame: MapFrame, rows: int, reach: float, centre: float | None = None) -> Ladder:
    """Sum a frame's bins into ``rows`` rows that cover at least ``reach`` (a fraction of the mark) around ``centre``.

    The frame keeps ``price`` and any of the other axes. ``centre`` is a price, the mark by default.
    """
    width, mark = frame.bin_width, frame.mark_price
    bins = _bins_per_row(2 * reach * mark / rows / width)
    middle = math.floor((mark if centre is None else centre) / width / bins + 1e-9)
    bottom = max(middle - rows // 2, 0)  # in rows from price zero
    side_grid, by_group, groups = split(frame)
    first = round(float(frame.price_low[1]) / width)  # absolute bin of cell 1
    cells = side_grid.shape[-1]
    row = (np.arange(first - 1, first + cells - 1) // bins) - bottom
    row[0], row[-1] = -1, rows
    row = np.clip(row, -1, rows) + 1  # 0 below, rows + 1 above
    sums = np.zeros((2 + len(groups), rows + 2))
    for k, values in enumerate((*side_grid, *by_group)):
        sums[k] = np.bincount(row, weights=values, minlength=rows + 2)
    inside = sums[:, -2:0:-1]
    mark_row = rows - 1 - (math.floor(mark / width / bins + 1e-9) - bottom)
    return Ladder(
        low=(bottom + np.arange(rows - 1, -1, -1, dtype=np.float64)) * (bins * width),
        step=bins * width,
        long=inside[0],
        short=inside[1],
        groups=groups,
        by_group=inside[2:].T,
        mark_row=min(max(mark_row, 0), rows - 1),
        below=(float(sums[0, 0]), float(sums[1, 0])),
        above=(float(sums[0, -1]), float(sums[1, -1])),
    )


def split(frame: MapFrame) -> tuple[F64, F64, tuple[str, ...]]:
    """Return the grid by side ``[2, C]`` (long, short), by the extra axis ``[G, C]``, and that axis's labels."""
    grid = np.asarray(frame.grid, np.float64)
    axes = list(frame.axes)
    for axis in ("venue", "leverage"):
        if axis in axes and axes.count("venue") + axes.count("leverage") > 1 and axis == "leverage":
            grid = grid.sum(axes.index(axis))
            axes.remove(axis)
    side = axes.index("side") if "side" in axes else None
    group = next((k for k, axis in enumerate(axes) if axis in ("venue", "leverage")), None)
    groups: tuple[str, ...] = ()
    by_group = np.zeros((0, grid.shape[-1]))
    if group is not None:
        groups = frame.venues if axes[group] == "venue" else tuple(f"{lever:g}x" for lever in frame.leverages)
        by_group = grid if side is None else grid.sum(side)
    by_side = np.zeros((2, grid.shape[-1]))
    if side is not None:
        present = grid if group is None else grid.sum(group)
        for name, values in zip(frame.sides, present, strict=True):
            by_side[0 if name == "long" else 1] = values
    else:  # without the side axis the mark decides: longs are liquidated below it, shorts above
        both = grid if group is None else grid.sum(group)
        below = np.arange(len(both)) < np.searchsorted(frame.price_low, frame.mark_price, side="right")
        by_side[0], by_side[1] = np.where(below, both, 0), np.where(below, 0, both)
    return by_side, by_group, groups


def largest_clusters(frame: MapFrame, count: int) -> list[Cluster]:
    """Return the clusters with the most notional, largest first, of those a market may reach."""
    near = [cluster for cluster in frame.clusters if abs(cluster.distance) <= _FAR]
    return sorted(near, key=lambda cluster: -cluster.notional_usd)[:count]


def _bins_per_row(wanted: float) -> int:
    """Smallest round number of bins that is at least ``wanted``."""
    decade = 1
    while True:
        for step in _STEPS:
            if step * decade >= wanted - 1e-9:
                return step * decade
        decade *= 100
