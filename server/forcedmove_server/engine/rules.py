"""Leverage and liquidation tables of every market, in the fixed-point form the kernels use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Rules, check_rules
from forcedmove_kernels.fixed_point import (
    MAX_MULTIPLIER,
    MULTIPLIER_BITS,
    PHASES,
    WEIGHT_ONE,
    cumulative_weights,
    multipliers,
)
from forcedmove_server.config import MarginConfig
from forcedmove_server.inference.leverage_prior import prior_for, tier_shares
from forcedmove_server.margin.ladder_book import LadderBook, book_with, user_folder
from forcedmove_server.margin.multipliers import (
    LEVERAGE_TIERS,
    Multipliers,
    liquidation_multipliers,
    max_leverage,
    offered_tiers,
    tier_intervals,
)
from forcedmove_server.market.instruments import Instrument

F64 = NDArray[np.float64]

LEVERAGES: F64 = np.array(LEVERAGE_TIERS, np.float64)

#: place of each phase in its tier's interval: bits reversed, so that entries in neighbouring bins are far apart in it
_RANK = np.array([int(f"{phase:b}".zfill(PHASES.bit_length() - 1)[::-1], 2) for phase in range(PHASES)])


def empty_rules(markets: int) -> Rules:
    """Return tables of ``markets`` markets, not yet set: one tier, no weight."""
    tiers = len(LEVERAGES)
    return Rules(
        tiers=np.ones(markets, np.uint8),
        multiplier=np.zeros((markets, 2, PHASES, tiers), np.uint32),
        weight=np.zeros((markets, 2, tiers + 1, tiers + 1), np.uint32),
    )


def rules_of(rules: Rules, market: int) -> Rules:
    """Return one market's tables, as those of a store of one market."""
    row = slice(market, market + 1)
    return Rules(rules.tiers[row], rules.multiplier[row], rules.weight[row])


def phase_leverages(leverages: F64, highest: float, width: float) -> F64:
    """Leverage that each phase of each tier stands for, float64 ``[P, T]``; see ``tier_intervals`` for the arguments.

    The phases of a tier are the middles of equal parts of its interval, in logarithms.
    """
    low, high = tier_intervals(leverages, highest, width)
    middle = (_RANK[:, None] + 0.5) / PHASES
    found: F64 = low * (high / low) ** middle
    return found


def set_rules(
    rules: Rules,
    market: int,
    instrument: Instrument,
    typical_usd: float,
    tier_width: float,
    price_usd: float,
    shares: F64 | None = None,
    book: LadderBook | None = None,
) -> Multipliers:
    """Fill one market's row, in place; return the constants of the tiers' own leverages.

    Their error holds for all phases of a tier, with the rounding to fixed point. ``typical_usd`` is the position size
    whose maintenance tier counts, ``tier_width`` the share of a tier's interval that its phases cover, ``price_usd``
    the market's price now. ``shares`` float64 ``[2, T]`` are the weights per side; without them the venue's prior.
    Tiers that the venue does not offer get nothing. ``book`` has the maintenance ladders (default: the shipped ones).
    """
    exact = liquidation_multipliers(instrument, LEVERAGES, typical_usd, price_usd, book)
    offered = offered_tiers(instrument, exact.rule)
    if shares is None:
        prior = tier_shares(prior_for(instrument.venue), LEVERAGES, instrument.max_leverage)
        shares = np.stack([prior, prior])
    cut = np.where(np.arange(len(LEVERAGES)) < offered, shares, 0.0)
    rules.tiers[market] = offered
    leverages = phase_leverages(LEVERAGES[:offered], max_leverage(instrument, exact.rule), tier_width)
    distinct, column = np.unique(leverages, return_inverse=True)
    spread = liquidation_multipliers(instrument, distinct, typical_usd, price_usd, book)
    # Tiers that are not offered repeat the last one that is.
    column = column.reshape(leverages.shape)[:, np.minimum(np.arange(len(LEVERAGES)), offered - 1)]
    # A price that is never reached is as far away as the format goes.
    within = np.minimum(spread.ratio[:, column], MAX_MULTIPLIER)
    rules.multiplier[market] = multipliers(within)
    rules.weight[market] = cumulative_weights(cut)
    check_rules(rules_of(rules, market))
    rounding = np.abs(rules.multiplier[market] / float(1 << MULTIPLIER_BITS) - within)
    error = np.maximum(exact.error, (spread.error[:, column] + rounding).max(1))
    return replace(exact, ratio=np.minimum(exact.ratio, MAX_MULTIPLIER), error=error)


def set_exact_rules(rules: Rules, row: int) -> None:
    """Fill the row of a market's exact positions, in place: their entries are their liquidation prices.

    All of a cohort is in its highest live tier, and its price takes them all: ``live_tiers`` names the leverage tier.
    """
    tiers = len(LEVERAGES)
    rules.tiers[row] = tiers
    rules.multiplier[row] = 1 << MULTIPLIER_BITS
    rules.weight[row] = 0
    for live in range(1, tiers + 1):
        rules.weight[row, :, live, live:] = WEIGHT_ONE
    check_rules(rules_of(rules, row))


def ladder_book(config: MarginConfig) -> LadderBook:
    """Return the shipped ladders with those above them that the configured folder holds."""
    return book_with(ladder_folder(config))


def ladder_folder(config: MarginConfig) -> Path:
    """Return the folder of fetched and imported ladders."""
    return Path(config.tiers_dir).expanduser() if config.tiers_dir else user_folder()
