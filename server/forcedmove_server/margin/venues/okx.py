"""OKX swaps and futures. No official price formula was found: this is its margin ratio, solved for the price."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_RATIO = "freqtrade, and the margin ratio of OKX help: equity / (value (m + taker)) at 100 %"
_TAKER = Fact(0.0005, Confidence.CODE, "ccxt 4.5.90, swap taker")

VENUE = Venue(
    name="okx",
    names=("okex-swap", "okex-futures"),
    title="OKX",
    linear=ContractRules(Fact("L2", Confidence.CODE, _RATIO), _TAKER),
    inverse=ContractRules(Fact("I2", Confidence.CODE, _RATIO), _TAKER),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "OKX help, margin ratio"),
    max_leverage=Fact(100.0, Confidence.REC, "public/instruments, 2026-08"),
    tiers=Fact("jumps by contracts; public/position-tiers", Confidence.REC, "position-tiers answers of 2026-09"),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, "OKX API, tdMode"),
    process=Fact(
        LiquidationProcess(tiers_per_step=2, first_partial_tier=3, text="from tier 3, down by two tiers at a time"),
        Confidence.CODE,
        "copies of OKX help on partial liquidation",
    ),
)
