"""What a venue closes when a position is liquidated: all of it, or step by step.

The trigger price says when a liquidation begins. How much then comes to market at once differs: a share of the position
with a pause between the steps, or as much as brings it into a lower tier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from forcedmove_server.errors import InputError
from forcedmove_server.margin.tiers import TierTable

if TYPE_CHECKING:
    from forcedmove_server.margin.equations import F64
    from forcedmove_server.margin.margin_rule import MarginRule


@dataclass(frozen=True, slots=True)
class LiquidationProcess:
    """How a position is closed once triggered.

    ``share_per_step`` of the position is closed first when its value is above ``partial_above_usd``; smaller ones go at
    once. ``tiers_per_step`` above 0 instead closes what lies above the floor of that many tiers below, from tier
    ``first_partial_tier`` (1 is the lowest) upwards. ``cooldown_s`` passes before the next step. ``penalty_rate`` is
    what the venue takes of the closed value at most.

    Raises InputError for a share outside (0, 1] or negative numbers.
    """

    share_per_step: float = 1.0
    partial_above_usd: float = 0.0
    tiers_per_step: int = 0
    first_partial_tier: int = 2
    cooldown_s: float = 0.0
    penalty_rate: float = 0.0
    text: str = "closed at once"

    def __post_init__(self) -> None:
        if not 0 < self.share_per_step <= 1:
            raise InputError("share_per_step", self.share_per_step, "must lie in (0, 1]")
        for name in ("partial_above_usd", "tiers_per_step", "cooldown_s", "penalty_rate"):
            if not getattr(self, name) >= 0:
                raise InputError(name, getattr(self, name), "must not be negative")

    @property
    def partial(self) -> bool:
        """Whether some positions are closed in steps."""
        return self.share_per_step < 1 or self.tiers_per_step > 0


AT_ONCE = LiquidationProcess()


def first_step(rule: MarginRule, quantity: ArrayLike, price: ArrayLike) -> F64:
    """Share of positions that the first step closes when liquidated at ``price``: float64 in (0, 1], broadcast.

    ``quantity`` is in base units (linear) or USD (inverse), ``price`` in USD.
    """
    process = rule.process
    quantities, prices = np.broadcast_arrays(np.asarray(quantity, np.float64), np.asarray(price, np.float64))
    if process.tiers_per_step and isinstance(rule.maintenance, TierTable):
        sizes = rule.size(quantities, prices)
        tier = rule.maintenance.index(sizes)
        # What is left is the ceiling of the tier that the step leads down to.
        target = np.maximum(tier - process.tiers_per_step, 0)
        kept = rule.maintenance.floors[np.minimum(target + 1, len(rule.maintenance.floors) - 1)] / sizes
        shares = np.where(tier + 1 >= process.first_partial_tier, 1.0 - np.minimum(kept, 1.0), 1.0)
        return np.where(shares > 0, shares, 1.0)
    usd = quantities if rule.formula.inverse else quantities * prices
    return np.where(usd > process.partial_above_usd, process.share_per_step, 1.0)
