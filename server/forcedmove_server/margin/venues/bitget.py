"""Bitget USDT-, USDC- and coin-margined."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_LINEAR = "Bitget support 12560603808759 (2025-09-18) with the offset of 12560603841952 (2025-11)"
_INVERSE = "Bitget support 12560603808759, older text"
_TAKER = Fact(0.0006, Confidence.DOC, "Bitget support 12560603841952: 0.06 % stands in the maintenance margin")

VENUE = Venue(
    name="bitget",
    names=("bitget-futures",),
    title="Bitget",
    linear=ContractRules(Fact("L1+fee", Confidence.DOC, _LINEAR), _TAKER),
    inverse=ContractRules(Fact("I2", Confidence.DERIVED, _INVERSE), _TAKER),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Bitget liquidation summary"),
    max_leverage=Fact(150.0, Confidence.DOC, "Bitget support 12560603838668 (2025-09-26)"),
    tiers=Fact(
        "slices by value for positions opened since 2025-11-10; v2 query-position-lever",
        Confidence.DOC,
        "Bitget support 12560603841843",
    ),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, "Bitget liquidation summary"),
    process=Fact(
        LiquidationProcess(text="isolated: closed at once; cross: down by two tiers at a time"),
        Confidence.DOC,
        "Bitget liquidation summary",
    ),
)
