"""Gate USDT-margined and BTC-settled."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_LINEAR = "Gate blog 101350 (2026-04-09), with the deduction of the gradient margin since 2025-07-29"
_TAKER = Fact(0.00075, Confidence.REC, "futures/usdt/contracts taker_fee_rate, 2026-09-20")

VENUE = Venue(
    name="gate",
    names=("gateio", "gate-io-futures"),
    title="Gate",
    linear=ContractRules(Fact("L1+fee", Confidence.DOC, _LINEAR), _TAKER),
    inverse=ContractRules(Fact("I2", Confidence.CODE, "Gate support reply, as used by freqtrade"), _TAKER),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Gate help 22159"),
    max_leverage=Fact(200.0, Confidence.REC, "futures/usdt/contracts, 2026-09-20"),
    tiers=Fact("slices by value; futures/{settle}/risk_limit_tiers", Confidence.DOC, "Gate, introduction to margin"),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, "Gate help 22159"),
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="down by one tier at a time, checked after each"),
        Confidence.DOC,
        "Gate help 22159",
    ),
)
