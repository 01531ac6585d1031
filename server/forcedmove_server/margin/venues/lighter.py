"""Lighter perpetuals: flat fractions per market."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "Lighter docs, liquidations and insurance fund"

VENUE = Venue(
    name="lighter",
    title="Lighter",
    quotes=("USDC",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _DOCS)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _DOCS),
    max_leverage=Fact(50.0, Confidence.REC, "orderBookDetails of ETH"),
    tiers=Fact(
        "one rate per market; orderBookDetails", Confidence.REC, "orderBookDetails of ETH, and contract specifications"
    ),
    tiers_public=True,
    modes=Fact("cross by account, isolated", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(
            penalty_rate=0.01,
            text="orders at the zero price until maintenance holds; below close-out all is taken over",
        ),
        Confidence.DOC,
        _DOCS,
    ),
    notes=("lighter: cross-margined accounts modelled as isolated",),
)
