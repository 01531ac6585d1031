"""Phemex USDT-margined and inverse. The closing fee at the bankruptcy price is locked with the margin."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_LINEAR = "phemex.com/help-center/liq-price-for-USDTM; its 0.3232 is reproduced"
_INVERSE = "phemex.com/help-center/liquidation-price: maintenance on the opening value"
_PROTOCOL = "phemex.com, futures liquidation protocol"

VENUE = Venue(
    name="phemex",
    title="Phemex",
    linear=ContractRules(Fact("L3", Confidence.DOC, _LINEAR), Fact(0.0006, Confidence.DOC, _LINEAR)),
    inverse=ContractRules(Fact("I3", Confidence.DOC, _INVERSE)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _PROTOCOL),
    max_leverage=Fact(100.0, Confidence.REC, "cfg/v2/products"),
    tiers=Fact(
        "slices by value (inverse: jumps); cfg/v2/products", Confidence.DOC, "phemex.com/help-center/risk-limit"
    ),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, _LINEAR),
    process=Fact(LiquidationProcess(text="taken over at the bankruptcy price"), Confidence.DOC, _PROTOCOL),
)
