"""dYdX v4: flat fractions per market, oracle price."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "dYdX docs, concepts/trading/liquidations; its 3174.60 and 3380.95 are reproduced"

VENUE = Venue(
    name="dydx",
    names=("dydx-v4",),
    title="dYdX v4",
    quotes=("USDC",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _DOCS)),
    trigger=Fact(Trigger.ORACLE, Confidence.DOC, _DOCS),
    max_leverage=Fact(50.0, Confidence.REC, "perpetualMarkets, 2025-12"),
    tiers=Fact("one rate per market; indexer perpetualMarkets", Confidence.DOC, _DOCS),
    tiers_public=True,
    modes=Fact("cross by subaccount, isolated markets", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(
            share_per_step=0.1,
            least_usd=1_000,
            cooldown_s=1,
            penalty_rate=0.015,
            text="a tenth of the position, at least 1 000 USDC, each block of about a second",
        ),
        Confidence.CODE,
        "v4-chain genesis parameters; governance may have changed them",
    ),
    notes=("dydx: cross-margined accounts modelled as isolated",),
)
