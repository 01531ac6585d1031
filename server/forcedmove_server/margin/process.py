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
from forcedmove_server.margin.tiers import LeverageLadders, TierTable

if TYPE_CHECKING:
    from forcedmove_server.margin.equations import F64
    from forcedmove_server.margin.margin_rule import MarginRule


@dataclass(frozen=True, slots=True)
class LiquidationProcess:
    """How a position is closed once triggered.

    ``share_per_step`` of the position, but at least ``least_usd``, is closed first when its value is above
    ``partial_above_usd``; smaller ones go at once. ``tiers_per_step`` above 0 instead closes what lies above the
    ceiling of that many tiers below, from tier ``first_partial_tier`` (1 is the lowest) upwards. ``cooldown_s`` passes
    before the next step. ``penalty_rate`` is what the venue takes of the closed value at most.

    Raises InputError for a share outside (0, 1] or negative numbers.
    """

    share_per_step: float = 1.0
    partial_above_usd: float = 0.0
    least_usd: float = 0.0
    tiers_per_step: int = 0
    first_partial_tier: int = 2
    cooldown_s: float = 0.0
    penalty_rate: float = 0.0
    text: str = "closed at once"

    def __post_init__(self) -> None:
        if not 0 < self.share_per_step <= 1:
            raise InputError("share_per_step", self.share_per_step, "must lie in (0, 1]")
        for name in ("partial_above_usd", "least_usd", "tiers_per_step", "cooldown_s", "penalty_rate"):
            if not getattr(self, name) >= 0:
                raise InputError(name, getattr(self, name), "must not be negative")

    @property
    def partial(self) -> bool:
        """Whether some positions are closed in steps."""
        return self.share_per_step < 1 or self.tiers_per_step > 0


AT_ONCE = LiquidationProcess()


def first_step(rule: MarginRule, quantity: ArrayLike, price: ArrayLike, leverage: ArrayLike = 1.0) -> F64:
    """Share of positions that the first step closes when liquidated at ``price``: float64 in (0, 1], broadcast.

    ``quantity`` is in base units (linear) or USD (inverse), ``price`` in USD; ``leverage`` chooses among ladders by
    leverage.
    """
    process = rule.process
    quantities, prices = np.broadcast_arrays(np.asarray(quantity, np.float64), np.asarray(price, np.float64))
    if process.tiers_per_step and isinstance(rule.maintenance, TierTable | LeverageLadders):
        sizes = rule.size(quantities, prices)
        tier, kept = rule.maintenance.reduced(sizes, leverage, process.tiers_per_step)
        partial = (tier + 1 >= process.first_partial_tier) & (kept < sizes)
        return np.where(partial, 1.0 - kept / sizes, 1.0)
    usd = quantities if rule.formula.inverse else quantities * prices
    share = np.clip(process.least_usd / usd, process.share_per_step, 1.0)
    return np.where(usd > process.partial_above_usd, share, 1.0)
