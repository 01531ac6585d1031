"""Liquidation price over entry, per leverage tier: the constants that kernels multiply entries with.

For one market, side and leverage the liquidation price is ``entry * constant`` once the maintenance tier is chosen from
a typical position size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from forcedmove_server.margin.equations import F64, LONG, SHORT, checked
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import ContractType, Instrument

#: default leverage tiers of a map, ascending; a market offers the first ``offered_tiers`` of them
LEVERAGE_TIERS: tuple[float, ...] = (2, 3, 5, 8, 10, 15, 20, 25, 33, 50, 75, 100, 125)


def max_leverage(instrument: Instrument) -> float:
    """Greatest leverage of a market: the lower of what the instrument and its venue's ladder say."""
    return min(instrument.max_leverage, rule_for(instrument).tiers.max_leverage)


def offered_tiers(instrument: Instrument, leverages: ArrayLike = LEVERAGE_TIERS) -> int:
    """Return how many of the ascending ``leverages`` the market offers, at least 1."""
    return max(1, int(np.count_nonzero(np.asarray(leverages, np.float64) <= max_leverage(instrument))))


def liquidation_ratios(
    instrument: Instrument, leverages: ArrayLike, typical_notional_usd: float, price_usd: float
) -> F64:
    """Liquidation price / entry as float64 ``[2, T]``: row 0 long, row 1 short, columns as ``leverages`` (ascending).

    ``typical_notional_usd`` is the value of the position whose maintenance tier stands for all; ``price_usd`` turns it
    into coins where a ladder counts coins. A venue does not let a position of typical size take its highest leverages:
    there the size is the largest that may.
    Leverages the market does not offer repeat the last offered column. Rows never fall (long) and never rise (short)
    with leverage, which is enforced: a ladder with a jump could otherwise break it by a fraction of a basis point.

    Raises InputError for leverages below 1 or not ascending, and for a notional or price that is not positive.
    """
    tiers = np.atleast_1d(checked("leverages", leverages, 1.0))
    checked("leverages (step)", np.diff(tiers), 0.0, open_low=True)
    notional = float(checked("typical_notional_usd", typical_notional_usd, 0.0, open_low=True))
    price = float(checked("price_usd", price_usd, 0.0, open_low=True))
    rule = rule_for(instrument)
    offered = np.minimum(tiers, max_leverage(instrument))
    offered = np.where(tiers <= offered, tiers, offered[: offered_tiers(instrument, tiers)].max())
    quantity = notional if instrument.contract_type is ContractType.INVERSE else notional / price
    largest = rule.quantity_of_size(rule.tiers.largest_size(offered), price) * (
        1 - 1e-9
    )  # rounding must not cross a floor
    sides = np.array([LONG, SHORT])[:, None]
    ratios = rule.liquidation_price(sides, price, np.minimum(quantity, largest), offered) / price
    ratios[LONG] = np.maximum.accumulate(ratios[LONG])
    ratios[SHORT] = np.minimum.accumulate(ratios[SHORT])
    return ratios
