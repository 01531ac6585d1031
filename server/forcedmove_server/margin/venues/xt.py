"""XT futures: maintenance on the entry value. XT rounds a long's price up and a short's down to its tick."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_HELP = "XT support 7219807415705, forced liquidation"

VENUE = Venue(
    name="xt",
    title="XT",
    linear=ContractRules(Fact("L4", Confidence.DOC, _HELP)),
    inverse=ContractRules(Fact("I4", Confidence.DERIVED, _HELP)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _HELP),
    max_leverage=Fact(125.0, Confidence.REC, "leverage/bracket/list of btc_usdt"),
    tiers=Fact("jumps by value; leverage/bracket/list", Confidence.DOC, "XT risk limit page"),
    tiers_public=True,
    modes=Fact("isolated, cross topped up from the balance", Confidence.DOC, "XT support 7218719025945"),
    process=Fact(
        LiquidationProcess(tiers_per_step=1, text="step by step to lower tiers; shares not published"),
        Confidence.DOC,
        "XT support 7226288585241",
    ),
)
