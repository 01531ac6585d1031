"""Crypto.com perpetuals. Initial margin grows with the square root of size; maintenance is half of it."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_MARGIN = "Crypto.com help 4894436: margin balance below maintenance at the mark"

VENUE = Venue(
    name="cryptocom",
    names=("crypto-com",),
    title="Crypto.com",
    quotes=("USD", "USDT"),
    linear=ContractRules(Fact("L1", Confidence.DERIVED, _MARGIN)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _MARGIN),
    max_leverage=Fact(100.0, Confidence.DOC, "account limit; BTC 50x"),
    tiers=Fact(
        "half of max(1/leverage, unit rate x sqrt(size)); get-risk-parameters",
        Confidence.DERIVED,
        "fits the two-legged example of help 4894440",
    ),
    tiers_public=False,
    modes=Fact("cross by account with haircuts", Confidence.DOC, "Crypto.com help 5311584"),
    process=Fact(
        LiquidationProcess(text="in parts until margin suffices, small positions at once"), Confidence.DOC, _MARGIN
    ),
    notes=("cryptocom: cross-margined accounts modelled as isolated; collateral haircuts not counted",),
)
