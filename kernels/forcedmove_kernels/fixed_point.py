"""The integer contract: every fixed-point format, and the one way to enter and leave it.

The heatmap is computed in integers so that every backend gives the same bits, in any order and on any number of
threads, and an incremental update equals a full rebuild. Floats appear only before (a margin rule becomes a
multiplier) and after (lots become USD).

======================  ======  ==========================================================================
quantity                dtype   unit
======================  ======  ==========================================================================
price                   u32     ``bin_width / 2**PRICE_BITS`` of the symbol; ``price >> PRICE_BITS`` is the bin
liquidation multiplier  u32     liquidation price / entry price, in ``2**-MULTIPLIER_BITS``
tier weight             u32     cumulative share of a cohort, in ``2**-WEIGHT_BITS``
freshness               u32     weight of an age, in ``2**-FRESHNESS_BITS``; at most one
lots                    u32     integer lots of the market; the live total of a (market, side) stays below 2**32
accumulated lots        u64     a cell of a grid: at most 2**32 lots, so a sum over 2**32 markets cannot overflow
notional                u64     US cents
random factor           u32     of a cascade path, in ``2**-NOISE_BITS``; below ``MAX_NOISE``
share of a row          u64     in ``2**-SHARE_BITS``; at most one
spread of a level       u32     half-width over distance from the mark, in ``1 / SPREAD_ONE``; at most one
nearness                u32     share of the mark, in ``2**-NEAR_BITS``; at most one
======================  ======  ==========================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRICE_BITS = 10
MULTIPLIER_BITS = 28
#: levels that a leverage tier has, a power of two: a cohort's entry bin picks one, see phase_of
PHASES = 8
WEIGHT_BITS = 16
FRESHNESS_BITS = 16
NOISE_BITS = 16
SHARE_BITS = 32
SPREAD_ONE = 256
#: fraction of a lot that spreading counts in
SPREAD_BITS = 15
NEAR_BITS = 16

WEIGHT_ONE = 1 << WEIGHT_BITS
FRESHNESS_ONE = 1 << FRESHNESS_BITS
SHARE_ONE = 1 << SHARE_BITS
#: random factors of cascade paths stay below this many ones
MAX_NOISE = 16
#: what all cells of a row hold in cents at most where many chains share its prefix sums (1.4e12 USD): sums of depth
#: clipped to it stay within 64 bits over the widest window, random factors included
MAX_ROW_CENTS = 1 << 47
MAX_PRICE_UNITS = (1 << 32) - 1
MAX_LOTS = (1 << 32) - 1
#: largest liquidation multiplier the format holds: a short at 2x on an inverse contract needs about 2
MAX_MULTIPLIER = ((1 << 32) - 1) / (1 << MULTIPLIER_BITS)

LONG, SHORT = 0, 1


def price_units(price: ArrayLike, bin_width: ArrayLike) -> NDArray[np.uint32]:
    """Round USD prices to price units of a symbol whose bins are ``bin_width`` USD wide.

    Raises ValueError naming the first price that is not finite, not positive or beyond the format.
    """
    prices = np.asarray(price, np.float64)
    units = np.rint(prices * (1 << PRICE_BITS) / np.asarray(bin_width, np.float64))
    bad = ~((prices > 0) & (units <= MAX_PRICE_UNITS))
    if np.any(bad):
        raise ValueError(f"price {np.ravel(prices)[np.argmax(bad)]!r} is not a positive price below the axis limit")
    return np.maximum(units, 1).astype(np.uint32)


def price_usd(units: ArrayLike, bin_width: ArrayLike) -> NDArray[np.float64]:
    """USD price of price units: the inverse of :func:`price_units` up to half a unit."""
    usd: NDArray[np.float64] = (
        np.asarray(units, np.float64) * np.asarray(bin_width, np.float64) / float(1 << PRICE_BITS)
    )
    return usd


def phase_of(entry: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Which of the PHASES levels of a tier cohorts have, u32 from ``entry`` in price units: the entry bin's low bits.

    Cohorts of neighbouring bins have different ones, so that together they cover a tier's interval of leverage.
    """
    return (entry >> np.uint32(PRICE_BITS)) & np.uint32(PHASES - 1)


def multipliers(ratio: ArrayLike) -> NDArray[np.uint32]:
    """Fixed-point liquidation multipliers from float ``liquidation price / entry``; below zero becomes zero.

    Values beyond the format saturate: they stand for a price that is never reached.
    """
    scaled = np.rint(np.asarray(ratio, np.float64) * (1 << MULTIPLIER_BITS))
    return np.clip(scaled, 0, MAX_PRICE_UNITS).astype(np.uint32)


def cumulative_weights(share: ArrayLike) -> NDArray[np.uint32]:
    """Weight rows for every number of live tiers, from the shares of ``T`` tiers.

    ``share`` is float ``[..., T]``, non-negative, any scale. Returns u32 ``[..., T + 1, T + 1]``: row ``n`` is the
    non-decreasing cumulative weight of the first ``n`` tiers, from 0 at column 0 to exactly ``WEIGHT_ONE`` at columns
    ``n..T``; row 0 is zero. A cohort with ``n`` live tiers gives tier ``l < n``
    ``(lots * row[l + 1] >> WEIGHT_BITS) - (lots * row[l] >> WEIGHT_BITS)`` lots: shares add up to its lots exactly.
    Where the first ``n`` shares are all zero they count as equal, because live lots have to be somewhere.
    """
    shares = np.asarray(share, np.float64)
    if shares.ndim == 0 or not np.all(np.isfinite(shares)) or np.any(shares < 0):
        raise ValueError("tier shares must be finite and non-negative")
    tiers = shares.shape[-1]
    rows = np.zeros((*shares.shape[:-1], tiers + 1, tiers + 1), np.uint32)
    for live in range(1, tiers + 1):
        head = shares[..., :live]
        total = head.sum(-1, keepdims=True)
        head = np.where(total > 0, head / np.where(total > 0, total, 1), 1 / live)
        cumulative = np.rint(np.cumsum(head, -1) * WEIGHT_ONE)
        rows[..., live, 1 : live + 1] = np.minimum(cumulative, WEIGHT_ONE)
        rows[..., live, live:] = WEIGHT_ONE
    return rows


def freshness_table(step_s: float, steps: int, half_life_s: float) -> NDArray[np.uint32]:
    """Weight ``2**(-age / half_life_s)`` of ages ``0, step_s, ...``: u32 ``[steps]``; older ages use the last entry.

    An infinite half-life gives the table of ones, which is the unweighted map.
    """
    if not (half_life_s > 0 and step_s > 0 and steps > 0):
        raise ValueError(
            f"freshness needs positive half_life_s, step_s and steps, got {half_life_s}, {step_s}, {steps}"
        )
    ages = np.arange(steps) * step_s
    table: NDArray[np.uint32] = np.rint(np.exp2(-ages / half_life_s) * FRESHNESS_ONE).astype(np.uint32)
    return table


def prefix_scaled(lots: NDArray[np.uint32], total: int) -> NDArray[np.uint64]:
    """Scale ``lots`` to add up to exactly ``total``: slot by slot the difference of the floored scaled prefix sums.

    Where all lots are zero the last slot takes the total.
    """
    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lots, dtype=np.uint64)])
    if prefix[-1] == 0:
        prefix[-1] = 1
    scaled: NDArray[np.uint64] = np.diff(prefix * np.uint64(total) // prefix[-1])
    return scaled
