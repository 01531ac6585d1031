"""MEXC futures. Maintenance on the entry value, as its only numeric example has it; the newer text adds a fee."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_LINEAR = "MEXC blog liquidation-in-futures-2 (48 200 before fee); support 360044646391 adds the liquidation fee"
_FEE = Fact(0.0004, Confidence.REC, "contract/detail liquidationFeeRate of BTC_USDT, 2026; others from 0.0002")

VENUE = Venue(
    name="mexc",
    title="MEXC",
    linear=ContractRules(Fact("L4+fee", Confidence.DOC, _LINEAR), _FEE),
    inverse=ContractRules(Fact("I4+fee", Confidence.DERIVED, _LINEAR), _FEE),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "MEXC support 360044646391 (fair price)"),
    max_leverage=Fact(500.0, Confidence.REC, "contract/detail, 2026"),
    tiers=Fact("jumps by contracts; contract/detail riskLimitCustom", Confidence.DOC, "MEXC API, contract info"),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, "MEXC support 360044646391"),
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="down by one tier at a time, taken over at the bankruptcy price"),
        Confidence.DOC,
        "MEXC support 360044646391",
    ),
)
