"""Liquidation price over entry, per leverage tier: the constants that kernels multiply entries with.

For one market, side and leverage the liquidation price is ``entry * constant`` once the maintenance tier is chosen from
a typical position size. What that simplification costs is computed here too, and reported with the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcedmove_server.margin.equations import F64, LONG, SHORT, checked
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import ContractType, Instrument

#: default leverage tiers of a map, ascending; a market offers the first ``offered_tiers`` of them
LEVERAGE_TIERS: tuple[float, ...] = (2, 3, 5, 8, 10, 15, 20, 25, 33, 50, 75, 100, 125)

#: leverage down to which the lowest tier reaches: below it a long survives a fall to a fifth
LOWEST_LEVERAGE = 1.25

#: sizes that the error bound covers, in typical positions: from a tenth to ten times one
TYPICAL_SIZES = np.geomspace(0.1, 10.0, 21)

#: how far the liquidation price of an unchanged cross position moves within a day, as a share of its distance from the
#: mark: 90 % of 2 421 pairs of daily snapshots of 499 Hyperliquid accounts of February 2026 stay within it (68 %: 0.02,
#: 95 %: 0.166). Most of it is what the account's other positions gain and lose, and margin that is added or withdrawn.
CROSS_WIDTH_SHARE = 0.105
#: a price this many times the entry is as good as never
_FAR = 16.0


@dataclass(frozen=True, slots=True)
class Multipliers:
    """Constants of one market; float64 ``[2, T]``, row 0 long, row 1 short, columns as the map's leverage tiers.

    ``rule`` is what they come from. ``ratio`` is liquidation price / entry. ``error`` bounds
    ``|exact / entry - ratio|`` over :data:`TYPICAL_SIZES` of the typical position. ``cross_width`` is the half-width
    within which the level of a cross-margined position stays for a day with 90 % probability, as a share of the entry.
    """

    rule: MarginRule
    ratio: F64
    error: F64
    cross_width: F64

    @property
    def worst_error_bp(self) -> float:
        """Greatest error of any tier and side, in basis points of the entry."""
        return float(self.error.max() * 1e4)


def max_leverage(instrument: Instrument, rule: MarginRule) -> float:
    """Greatest leverage of a market: the lower of what the instrument and its venue's ladder say."""
    return min(instrument.max_leverage, rule.leverage_limit)


def offered_tiers(instrument: Instrument, rule: MarginRule, leverages: ArrayLike = LEVERAGE_TIERS) -> int:
    """Return how many of the ascending ``leverages`` the market offers, at least 1."""
    return max(1, int(np.count_nonzero(np.asarray(leverages, np.float64) <= max_leverage(instrument, rule))))


def tier_intervals(leverages: ArrayLike, highest: float, width: float) -> tuple[F64, F64]:
    """Return the leverages, from and to, over which the levels of a market's tiers are spread: two float64 ``[T]``.

    ``leverages`` are the ascending tiers that the market offers, ``highest`` is its greatest leverage. A tier stands
    for the leverages between the geometric means with its neighbours, the lowest from :data:`LOWEST_LEVERAGE` on, the
    highest up to ``highest``. ``width`` in 0..1 is how much of that is covered, in logarithms and around the tier's own
    leverage: 0 leaves that alone.
    """
    own = np.minimum(np.asarray(leverages, np.float64), highest)
    between = np.sqrt(own[:-1] * own[1:])
    low = np.concatenate(([min(LOWEST_LEVERAGE, own[0])], between))
    high = np.concatenate((between, [highest]))
    return own * (low / own) ** width, np.minimum(own * (high / own) ** width, highest)


def liquidation_multipliers(
    instrument: Instrument,
    leverages: ArrayLike,
    typical_notional_usd: float,
    price_usd: float,
    book: LadderBook | None = None,
) -> Multipliers:
    """Compute a market's constants for ascending ``leverages``.

    ``typical_notional_usd`` is the value of the position whose maintenance tier stands for all; ``price_usd`` turns it
    into coins where a ladder counts coins. A venue does not let a position of typical size take its highest leverages:
    there the size is the largest that may. Leverages the market does not offer repeat the last offered column. Rows
    never fall (long) and never rise (short) with leverage, which is enforced: a ladder with a jump could otherwise
    break it by a fraction of a basis point, which then counts as error.

    Raises InputError for leverages below 1 or not ascending, and for a notional or price that is not positive.
    """
    tiers = np.atleast_1d(checked("leverages", leverages, 1.0))
    checked("leverages (step)", np.diff(tiers), 0.0, open_low=True)
    notional = float(checked("typical_notional_usd", typical_notional_usd, 0.0, open_low=True))
    price = float(checked("price_usd", price_usd, 0.0, open_low=True))
    rule = rule_for(instrument, book)
    offered = np.minimum(tiers, max_leverage(instrument, rule))
    offered = np.where(tiers <= offered, tiers, offered[: offered_tiers(instrument, rule, tiers)].max())
    quantity = notional if instrument.contract_type is ContractType.INVERSE else notional / price
    largest = rule.largest_quantity(offered, price) * (1 - 1e-9)  # rounding must not cross a floor
    sides = np.array([LONG, SHORT])[:, None]
    ratio = rule.liquidation_price(sides, price, np.minimum(quantity, largest), offered) / price
    ratio[LONG] = np.maximum.accumulate(ratio[LONG])
    ratio[SHORT] = np.minimum.accumulate(ratio[SHORT])
    sizes = np.minimum(quantity * TYPICAL_SIZES[:, None, None], largest)
    exact = rule.liquidation_price(sides, price, sizes, offered) / price
    # A short whose margin covers every loss has an infinite price, which no map reaches: it counts as far away.
    error: F64 = np.abs(np.minimum(exact, _FAR) - np.minimum(ratio, _FAR)).max(0)
    return Multipliers(rule, ratio, error, CROSS_WIDTH_SHARE * np.abs(1.0 - np.minimum(ratio, _FAR)))
