"""HTX linear and coin-margined swaps. The rate is an adjustment factor divided by the leverage that was chosen."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_RATIO = "HTX support 900001325083: equity / margin - factor at 0, solved for the price"

VENUE = Venue(
    name="htx",
    names=("huobi", "huobi-dm-linear-swap", "huobi-dm-swap"),
    title="HTX",
    linear=ContractRules(Fact("L1", Confidence.DERIVED, _RATIO)),
    inverse=ContractRules(Fact("I1", Confidence.DERIVED, _RATIO)),
    trigger=Fact(Trigger.MARK_OR_LAST, Confidence.ASSUMED, "no text says which"),
    max_leverage=Fact(200.0, Confidence.DOC, "HTX notice of 200x; v5/market/risk/limit sample, 2025-02"),
    tiers=Fact("factors by leverage, jumps by contracts; swap_adjustfactor", Confidence.DOC, "HTX API"),
    tiers_public=True,
    modes=Fact("isolated, cross; multi-asset mode has a ladder of its own", Confidence.DOC, "HTX API"),
    cross_note="cross accounts have factors of their own; the isolated ones stand in",
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="reduced to the limit of a lower tier, which may skip some"),
        Confidence.DOC,
        "HTX support 900001325083",
    ),
)
