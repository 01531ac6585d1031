"""Bybit linear and inverse. The fee to close stands in initial and in maintenance margin and cancels."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_INVERSE = 'Bybit help "Liquidation Price Calculation under Isolated Mode", 2026-05-27'
_LINEAR = "Bybit help, UTA trading rules as quoted 2026-08-06; its example of 36 380.25 is reproduced"
_TAKER = 0.00055

VENUE = Venue(
    name="bybit",
    title="Bybit",
    linear=ContractRules(Fact("L1", Confidence.CODE, _LINEAR)),
    inverse=ContractRules(Fact("I1", Confidence.DOC, _INVERSE)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Bybit help 000001381"),
    max_leverage=Fact(100.0, Confidence.REC, "v5/market/risk-limit, 2026-08-05"),
    tiers=Fact("slices by value; v5/market/risk-limit", Confidence.DOC, "Bybit margin parameters page"),
    tiers_public=True,
    modes=Fact("isolated, cross by account", Confidence.DOC, "Bybit UTA trading rules"),
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="reduced to a lower tier by one fill-or-kill order, then taken over"),
        Confidence.DOC,
        "Bybit help 000001876",
    ),
    extra_margin_fee=Fact(_TAKER, Confidence.DOC, _INVERSE),
)
