"""Every shock of a side at once, each through the book that it meets: the curve, and the smallest shock that tips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.engine.cascade.forecast import SHOCKS_WITHIN, point_forecast
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.scan.books import Outward
from forcedmove_server.engine.scan.depths import depths_after_shocks, kernel_rows
from forcedmove_server.engine.scan.tips import tipping_shock

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

#: shocks whose books are made at once
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Where the chain of one shock ends, and what it fires."""

    shock_usd: float
    terminal_usd: float
    total_usd: float


@dataclass(frozen=True, slots=True)
class Tipping:
    """The smallest shock of a side, within ``SHOCKS_WITHIN`` of the mark, whose chain tips (``forecast.runs_beyond``).

    ``distance`` is that shock as a fraction of the mark, 0 or more; all None where there is none.
    """

    side: int
    shock_usd: float | None = None
    distance: float | None = None
    terminal_usd: float | None = None


def shock_sweep(backend: Backend, side: Outward, positions: I64) -> tuple[I64, U64]:
    """Follow the chains of shocks to some positions: where they end, by position, and cents fired; all ``[J]``.

    A shock is to the lower edge of its position's cell, as ``point_forecast`` of that price. Position 0 is the mark's
    own cell, which only longs can be shocked within.
    """
    prices = side.prices()[positions]
    terminal, fired = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.uint64)
    for begin in range(0, len(positions), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        shocked = positions[part]
        chains = np.arange(len(shocked), dtype=np.int32)
        rows = kernel_rows(side.fires, depths_after_shocks(side, prices[part]))
        ends = backend.cascade_chains(*rows, np.zeros_like(chains), chains, (shocked + 1).astype(np.int32))
        terminal[part], fired[part] = ends.terminal.astype(np.int64) - 1, ends.fired
    return terminal, fired


def shock_positions(side: Outward) -> I64:
    """Positions that shocks of a side within ``SHOCKS_WITHIN`` of the mark lead to, from the mark on outwards."""
    within = side.position(max(side.book.mark_usd * (1 + side.sign * SHOCKS_WITHIN), 0.0))
    return np.arange(0 if side.side == LONG else 1, min(within, len(side.fires) - 2) + 1)


def curve(backend: Backend, side: Outward, points: int) -> tuple[CurvePoint, ...]:
    """Follow so many shocks of a side, evenly from the mark to ``SHOCKS_WITHIN`` of it."""
    positions = shock_positions(side)
    if not points or not len(positions):
        return ()
    chosen = np.unique(np.linspace(positions[0], positions[-1], min(points, len(positions))).round().astype(np.int64))
    terminal, fired = shock_sweep(backend, side, chosen)
    prices = side.prices()
    return tuple(
        CurvePoint(float(prices[at]), float(prices[end]), int(cents) / 100)
        for at, end, cents in zip(chosen.tolist(), terminal.tolist(), fired.tolist(), strict=True)
    )


def tipping(backend: Backend, state: SymbolState, side: Outward) -> Tipping:
    """Find the smallest shock of a side that tips."""
    move = tipping_shock(backend, side)
    if move is None:
        return Tipping(side.side)
    prices = side.prices()
    mark = state.rows.mark_usd
    shock = float(prices[np.argmin(np.abs(prices / mark - 1 - move))])
    return Tipping(side.side, shock, abs(move), point_forecast(backend, state, shock).chain.terminal_price_usd)
