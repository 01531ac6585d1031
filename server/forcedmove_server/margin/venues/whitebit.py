"""WhiteBIT perpetuals. Neither a price formula nor the rates above 10x are published."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "WhiteBIT API docs, concepts/liquidation"

VENUE = Venue(
    name="whitebit",
    title="WhiteBIT",
    linear=ContractRules(Fact("L1", Confidence.ASSUMED, "no price formula published")),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _DOCS),
    max_leverage=Fact(100.0, Confidence.DOC, _DOCS),
    tiers=Fact("slices by value; web page of collateral brackets", Confidence.DERIVED, "WhiteBIT, collateral brackets"),
    tiers_public=False,
    modes=Fact("cross by account, isolated", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(share_per_step=0.25, text="a part first, for example 20 to 30 %, then the rest"),
        Confidence.DOC,
        _DOCS,
    ),
    notes=(
        "whitebit: the API docs print a maintenance of 3 % up to 10x, the web page 0.5 to 2.5 % by size, which is used",
        "whitebit: leverage belongs to the account; cross-margined accounts modelled as isolated",
    ),
)
