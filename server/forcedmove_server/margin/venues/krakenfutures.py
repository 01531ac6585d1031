"""Kraken Futures: multi-collateral linear (PF_) and inverse (PI_, FI_)."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_EPP = "Kraken support 360022835671, Equity Protection Process; its 7481 needs maintenance on the current value"

VENUE = Venue(
    name="krakenfutures",
    names=("kraken", "cryptofacilities"),
    title="Kraken Futures",
    quotes=("USD",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _EPP)),
    inverse=ContractRules(Fact("I1", Confidence.DOC, _EPP)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _EPP),
    max_leverage=Fact(100.0, Confidence.MEM, "50x documented, 100x in newer instrument lists"),
    tiers=Fact(
        "slices by value (PF_) or contracts (PI_); instruments marginLevels",
        Confidence.DOC,
        "Kraken support 15579128794772",
    ),
    tiers_public=True,
    modes=Fact("cross by account, isolated", Confidence.DOC, _EPP),
    process=Fact(
        LiquidationProcess(text="inverse: closed at once; linear: in parts since 2026-03-26, shares not published"),
        Confidence.DOC,
        _EPP,
    ),
)
