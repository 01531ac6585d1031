"""Aster perpetuals: the rules of Binance, which its interface follows."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "Aster docs, perpetual liquidation protocols: margin below value x rate - amount"

VENUE = Venue(
    name="aster",
    title="Aster",
    linear=ContractRules(Fact("L1", Confidence.DERIVED, _DOCS)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _DOCS),
    max_leverage=Fact(125.0, Confidence.DOC, "Aster API, leverage 1 to 125"),
    tiers=Fact("slices by value; leverageBracket, signed", Confidence.DOC, _DOCS),
    tiers_public=False,
    modes=Fact("isolated, cross", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(text="in stages, the rest taken over at the bankruptcy price; shares not published"),
        Confidence.DOC,
        _DOCS,
    ),
)
