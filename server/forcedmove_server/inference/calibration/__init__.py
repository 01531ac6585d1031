"""Leverage weights learnt online, per market, side and tier, and how sure they are: MODEL sections 3 and 7.

:class:`Calibration` takes in :class:`Window` after :class:`Window`: what a frozen map had at the levels that were then
crossed, and what came of it: liquidation prints, open interest that left, visible positions. Liquidations are divided
by what was touched before they are read as shares of what is open. Markets of a venue share what they learn.

``evidence`` holds running sums per market, ``released`` the regression on open interest per venue, ``venue_fit`` and
``market_fit`` turn both into weights, ``band`` into bands per bin.
"""

from forcedmove_server.inference.calibration.band import (
    Dispersion,
    check_level,
    credible_band,
    gamma_band,
    relative_deviations,
    weight_deviations,
    weight_variance,
)
from forcedmove_server.inference.calibration.calibration import (
    Calibration,
    Capture,
    EvidenceCounts,
    ReleasedCounts,
)
from forcedmove_server.inference.calibration.settings import CalibrationSettings
from forcedmove_server.inference.calibration.tiers import tiers_of_leverage, tiers_of_prices
from forcedmove_server.inference.calibration.window import Prints, Window

__all__ = [
    "Calibration",
    "CalibrationSettings",
    "Capture",
    "Dispersion",
    "EvidenceCounts",
    "Prints",
    "ReleasedCounts",
    "Window",
    "check_level",
    "credible_band",
    "gamma_band",
    "relative_deviations",
    "tiers_of_leverage",
    "tiers_of_prices",
    "weight_deviations",
    "weight_variance",
]
