"""What impact is left of flow after a while, on a recorded tape: how the price answers, and what of it recovers.

Two figures of one market, on a grid of ``STEP_S``. The *response* to bursts: how far the price has moved in the
direction of a step's net flow, over how far it had moved when the step ended. Flow is followed by more of its kind,
which hides what recovers; the *propagator* is free of that: returns regressed on the signed square roots of all flow
of the last hour, added up over lags, and over its value after one step (Bouchaud et al., Quant. Finance 4, 2004; the
square root is that of the impact law). What of it stays and how fast the rest decays is :func:`fit_recovery`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

STEP_S = 10
#: a price that nobody traded at for so many steps is not known any more
_STALE_STEPS = 12
#: share of steps, by size of net flow, that counts as bursts
BURSTS = 0.01
#: ends of the groups of lags that share a coefficient, in steps: to an hour
LAGS = (1, 2, 3, 6, 12, 30, 60, 90, 180, 361)
_HOUR_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Grid:
    """One linear market by step: net aggressive flow in USD, log of the price (NaN: not known), hour; all ``[n]``.

    The price is the mean of the last trades of both sides: without the bounce between them.
    """

    flow_usd: F64
    log_price: F64
    hour: I64


@dataclass(frozen=True, slots=True)
class Bursts:
    """Log moves in the direction of the flow, float64: ``at_once`` ``[n]`` over a step, ``later`` ``[n, H]`` since.

    ``hour`` i64 ``[n]``.
    """

    at_once: F64
    later: F64
    hour: I64

    def response(self, weights: F64 | None = None) -> F64:
        """Moves so long after a burst over those at its end, float64 ``[H]``; ``weights`` ``[n]`` are of bursts."""
        w = np.ones(len(self.at_once)) if weights is None else weights
        found: F64 = w @ self.later / (w @ self.at_once)
        return found


def on_grid(trades: Records) -> Grid:
    """Put the trades of one market on a grid; rows in any order."""
    begin = int(trades["time_ns"].min()) // (STEP_S * 10**9)
    step = trades["time_ns"] // (STEP_S * 10**9) - begin
    steps = int(step.max()) + 1
    signed = trades["aggressor"] * trades["price"] * trades["quantity"]
    flow: F64 = np.bincount(step, signed, steps).astype(np.float64)
    order = np.argsort(trades["time_ns"], kind="stable")
    sides = [
        _last(step[order], np.log(trades["price"][order]), trades["aggressor"][order] == s, steps) for s in (1, -1)
    ]
    hour = (begin + np.arange(steps)) * STEP_S * 10**9 // _HOUR_NS
    return Grid(flow, (sides[0] + sides[1]) / 2, hour)


def _last(step: I64, log_price: F64, own: NDArray[np.bool_], steps: int) -> F64:
    """The last of some prices up to the end of each step, float64 ``[steps]``."""
    price, at = np.full(steps, np.nan), np.full(steps, -1, np.int64)
    price[step[own]] = log_price[own]
    at[step[own]] = step[own]
    at = np.maximum.accumulate(at)
    known = (at >= 0) & (np.arange(steps) - at <= _STALE_STEPS)
    found: F64 = np.where(known, price[np.maximum(at, 0)], np.nan)
    return found


def bursts(grid: Grid, horizons_s: tuple[int, ...]) -> Bursts:
    """Find the steps with the largest net flow whose prices are known before, after and at all ``horizons_s``."""
    price, steps = grid.log_price, len(grid.log_price)
    known = np.isfinite(price)
    size = np.abs(grid.flow_usd)
    least = np.quantile(size[known], 1 - BURSTS)
    at = np.flatnonzero(known & (size >= least) & (size > 0))
    ends = at[:, None] + np.array([0, *horizons_s]) // STEP_S
    inside = (at > 0) & (ends[:, -1] < steps)
    at, ends = at[inside], ends[inside]
    moved = np.sign(grid.flow_usd[at])[:, None] * (price[ends] - price[at - 1][:, None])
    good = np.isfinite(moved).all(1)
    return Bursts(moved[good, 0], moved[good, 1:], grid.hour[at][good])


@dataclass(frozen=True, slots=True)
class Propagator:
    """Normal equations by block of hours, float64 ``[B, K, K]`` and ``[B, K]``, of the regression on groups of lags."""

    gram: F64
    moment: F64

    def kept(self, weights: F64 | None = None) -> F64:
        """Impact at the ends of the groups of :data:`LAGS` over that after one step; ``weights`` ``[B]`` of blocks."""
        w = np.ones(len(self.gram)) if weights is None else weights
        by_lag = np.linalg.solve(np.tensordot(w, self.gram, 1), np.tensordot(w, self.moment, 1))
        upto = np.cumsum(by_lag * np.diff(LAGS, prepend=0))
        found: F64 = upto / upto[0]
        return found


def propagator(grid: Grid, block_hours: int = 3) -> Propagator:
    """Regress the returns of a market on its flow."""
    root = np.sign(grid.flow_usd) * np.sqrt(np.abs(grid.flow_usd))
    upto, steps = np.concatenate([[0.0], np.cumsum(root)]), len(root)
    grouped = np.full((steps, len(LAGS)), np.nan)
    for column, (begin, end) in enumerate(zip((0, *LAGS[:-1]), LAGS, strict=True)):
        at = np.arange(end - 1, steps)
        grouped[at, column] = upto[at - begin + 1] - upto[at - end + 1]
    returns = np.diff(grid.log_price, prepend=np.nan)
    good = np.isfinite(returns) & np.isfinite(grouped).all(1)
    block = np.unique(grid.hour[good] // block_hours, return_inverse=True)[1]
    x, y = grouped[good], returns[good]
    own = [block == b for b in range(int(block.max(initial=-1)) + 1)]
    return Propagator(np.stack([x[b].T @ x[b] for b in own]), np.stack([x[b].T @ y[b] for b in own]))


def fit_recovery(kept: F64) -> tuple[float, float]:
    """Fit ``p + (1 - p) exp(-t / tau)``, times a constant, to a propagator; return ``p`` and ``tau`` in seconds.

    By least squares, with ``tau`` between a step and an hour.
    """
    lag = np.array(LAGS, np.float64) * STEP_S
    best: tuple[float, float, float] | None = None
    for tau in np.geomspace(STEP_S, 3600, 120).tolist():
        shape = np.stack([np.ones(len(lag)), np.exp(-(lag - STEP_S) / tau)], 1)
        (stays, decays), *_ = np.linalg.lstsq(shape, kept, rcond=None)
        missed = float(((shape @ (stays, decays) - kept) ** 2).sum())
        if best is None or missed < best[0]:
            best = missed, float(stays / (stays + decays)), tau
    assert best is not None
    return best[1], best[2]
