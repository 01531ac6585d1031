"""Where cohorts of isolated positions are liquidated: entry and leverage are known, sizes of single ones are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forcedmove_server.errors import InputError
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.position import Status, status_of


def cohort_levels(
    rule: MarginRule,
    sides: Sequence[int],
    entries: Sequence[float],
    leverages: Sequence[float],
    typical_usd: float,
    fields: Sequence[str],
) -> list[float | None]:
    """Return the liquidation price in USD of an isolated position of each cohort; None where there is none.

    The position is worth ``typical_usd`` at entry, or as much as its leverage allows. Prices are those of
    :func:`~forcedmove_server.margin.position.liquidation_of`, many at once. Raises InputError naming the leverage of
    the one of ``fields`` that cannot be: outside 1 and the market's maximum, or with a margin below its maintenance.
    """
    for field, leverage in zip(fields, leverages, strict=True):
        if not 1.0 <= leverage <= rule.leverage_limit:
            raise InputError(f"{field}.leverage", leverage, f"must be from 1 to {rule.leverage_limit:g}")
    entry, leverage_of = np.array(entries, np.float64), np.array(leverages, np.float64)
    typical = typical_usd if rule.formula.inverse else typical_usd / entry
    largest = rule.largest_quantity(leverage_of, entry) * (1 - 1e-9)  # rounding must not cross a floor
    prices = rule.liquidation_price(np.array(sides), entry, np.minimum(typical, largest), leverage_of)
    levels: list[float | None] = []
    for k, price in enumerate(np.broadcast_to(prices, entry.shape).tolist()):
        status = status_of(sides[k], entries[k], price)
        if status is Status.AT_ONCE:
            reason = "its margin is not above the maintenance margin at entry"
            raise InputError(f"{fields[k]}.leverage", leverages[k], reason)
        levels.append(None if status is Status.NEVER else price)
    return levels
