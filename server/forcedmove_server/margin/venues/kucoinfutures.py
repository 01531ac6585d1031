"""KuCoin Futures. As printed the formula takes the margin off a short's value too: a signed value must be meant."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_TEXT = "KuCoin support 26694703491737 (2025-05-22)"
_FEE = Fact(0.0006, Confidence.MEM, "liquidation fee rate is not printed; the contract taker fee")

VENUE = Venue(
    name="kucoinfutures",
    names=("kucoin", "kucoin-futures"),
    title="KuCoin Futures",
    linear=ContractRules(Fact("L2", Confidence.DOC, _TEXT), _FEE),
    inverse=ContractRules(Fact("I2", Confidence.DOC, _TEXT), _FEE),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _TEXT),
    max_leverage=Fact(125.0, Confidence.REC, "contracts/active, 2026"),
    tiers=Fact(
        "jumps by value (inverse: contracts); contracts/risk-limit", Confidence.DOC, "KuCoin support 26685810193433"
    ),
    tiers_public=True,
    modes=Fact("isolated, cross without tiers", Confidence.DOC, "KuCoin support 35233217061785"),
    cross_note="cross accounts have no tiers but a rate that grows with size; the isolated ladder stands in",
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="down by one level; cross above 600 000 USDT in parts"),
        Confidence.DOC,
        "KuCoin blog what-is-risk-limit-level (2022), support 35233217061785",
    ),
)
