"""Backpack perpetuals: maintenance grows with the square root of the position's value at the mark."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "Backpack support: account margin fraction below its maintenance; price form derived"

VENUE = Venue(
    name="backpack",
    title="Backpack",
    quotes=("USDC",),
    linear=ContractRules(Fact("L1", Confidence.DERIVED, _DOCS)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Backpack support, liquidation"),
    max_leverage=Fact(75.0, Confidence.REC, "imfFunction of BTC_USDC_PERP, 2026-08"),
    tiers=Fact("max(base, factor x sqrt(value)); markets mmfFunction", Confidence.DERIVED, "two recorded positions"),
    tiers_public=True,
    modes=Fact("cross by subaccount", Confidence.DOC, "Backpack support, margin"),
    process=Fact(
        LiquidationProcess(share_per_step=0.1, text="orders of a tenth until margin suffices, then backstop providers"),
        Confidence.MEM,
        "an unofficial study",
    ),
    notes=("backpack: cross-margined accounts modelled as isolated",),
)
