"""The smallest shock of a side whose chain runs beyond it, found without following them all.

A chain that ends at position ``t`` has passed all positions before, so that what fires up to ``t - 1`` is more than the
depth from the shock to there. That depth is a sum of what is visible and of what the square-root law has put around the
shock, which is linear in the shock: with two prefix sums the condition is known for every shock at once. Shocks that
fail it cannot tip; the others are followed, nearest first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.engine.cascade.forecast import SHOCKS_WITHIN, TIPPING_AMPLIFICATION, TIPPING_BINS, runs_beyond
from forcedmove_server.engine.scan.books import Outward
from forcedmove_server.engine.scan.depths import depths_after_shocks, kernel_rows

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: shocks that are followed at once
_BLOCK = 16
#: what prefix sums may be off by: as a share, and a cent of rounding in each cell
_SLACK = 1e-6


def tipping_shock(backend: Backend, side: Outward) -> float | None:
    """Return the smallest shock whose chain moves the mark by ``TIPPING_AMPLIFICATION`` times as much, as a move.

    Shocks lead to lower edges of cells within ``SHOCKS_WITHIN`` of the mark. None where no such shock tips.
    """
    mark, prices = side.book.mark_usd, side.prices()
    candidates = could_tip(side, prices)
    for begin in range(0, len(candidates), _BLOCK):
        shocked = candidates[begin : begin + _BLOCK]
        reached = chain_ends(backend, side, shocked, prices[shocked])
        went, goes = np.abs(mark - prices[shocked]), np.abs(mark - prices[reached])
        tips = np.flatnonzero(runs_beyond(went, goes, reached - shocked))
        if len(tips):
            return float(prices[shocked[tips[0]]]) / mark - 1
    return None


def chain_ends(backend: Backend, side: Outward, shocked: I64, shocks_usd: F64) -> I64:
    """Return where the chains of shocks end, int64 ``[J]``; all by position, the shocks in USD as well."""
    rows = kernel_rows(side.fires, depths_after_shocks(side, shocks_usd))
    chains = np.arange(len(shocked), dtype=np.int32)
    ends = backend.cascade_chains(*rows, np.zeros_like(chains), chains, (shocked + 1).astype(np.int32))
    return ends.terminal.astype(np.int64) - 1


def could_tip(side: Outward, prices: F64) -> I64:
    """Positions whose shocks meet the necessary condition, nearest first, int64; ``prices`` are the side's."""
    book = side.book
    distance = side.sign * (prices - book.mark_usd)
    last = len(prices) - 1
    within = max(book.mark_usd * (1 + side.sign * SHOCKS_WITHIN), 0.0)
    shocks = np.arange(0 if side.side == LONG else 1, min(side.position(within), last - 1) + 1)
    if not len(shocks):
        return shocks
    # first position that is far enough: distances rise
    needed = np.searchsorted(distance, TIPPING_AMPLIFICATION * distance[shocks] * (1 - _SLACK))
    needed = np.maximum(needed, shocks + TIPPING_BINS)
    reachable = needed <= last
    shocks, before = shocks[reachable], needed[reachable] - 1
    fired = np.cumsum(side.fires.astype(np.float64))[before]
    held = depth_between(side, shocks, before)
    return shocks[fired >= held * (1 - _SLACK) - (before - shocks + 1)]


def depth_between(side: Outward, first: I64, last: I64) -> F64:
    """Cents of depth from positions ``first`` to ``last``, met after shocks to the lower edges of ``first``."""
    law, book = side.book.law, side.book
    # a cell between x - width and x beyond the shock holds x^2 - (x - width)^2, that is width (2 x - width); a price
    # that falls to a lower edge has its own cell behind it, one that rises to it has it before
    beyond = np.arange(len(side.fires)) + (0 if side.side == LONG else 1)
    scale = law.volume_day_usd * (book.bin_width / (book.mark_usd * law.y * law.sigma_day)) ** 2
    latent = side.left * scale * side.unseen
    visible, whole, linear = (_sums(part) for part in (side.visible * side.left, latent * (2 * beyond - 1), latent))
    begin = first + (1 if side.side == LONG else 0)
    end = np.maximum(last + 1, begin)
    usd: F64 = visible[last + 1] - visible[first]
    usd = usd + (whole[end] - whole[begin]) - 2 * first * (linear[end] - linear[begin])
    return usd * 100


def _sums(values: F64) -> F64:
    """Sums before each position, float64 ``[L + 1]``."""
    return np.concatenate([np.zeros(1), np.cumsum(values)])
