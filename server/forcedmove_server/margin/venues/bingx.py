"""BingX perpetuals. Mark and last price must both reach the level."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_RATIO = "BingX support 11263299509391: (maintenance + closing fee) / (margin + profit) at 100 %"
_TAKER = Fact(0.0005, Confidence.CODE, "ccxt 4.5.90, takerFeeRate")

VENUE = Venue(
    name="bingx",
    title="BingX",
    linear=ContractRules(Fact("L1+fee", Confidence.DOC, _RATIO), _TAKER),
    inverse=ContractRules(Fact("I2", Confidence.DERIVED, _RATIO), _TAKER),
    trigger=Fact(Trigger.MARK_AND_LAST, Confidence.DOC, "BingX support 21286055666969"),
    max_leverage=Fact(150.0, Confidence.REC, "margin page of BTC-USDT, 2025-12"),
    tiers=Fact("slices by value; maintMarginRatio, signed", Confidence.DOC, "BingX announcement of 2024-12"),
    tiers_public=False,
    modes=Fact("isolated, cross", Confidence.DOC, _RATIO),
    process=Fact(
        LiquidationProcess(text="reduced or closed at once; the share is not published"),
        Confidence.DOC,
        "BingX support 11263299509391",
    ),
)
