"""Paradex perpetuals: maintenance is a fixed part of the initial margin function, which is flat since 2025."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_DOCS = "Paradex docs, cross margin requirement"

VENUE = Venue(
    name="paradex",
    title="Paradex",
    quotes=("USD",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _DOCS)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Paradex docs, liquidations"),
    max_leverage=Fact(50.0, Confidence.DOC, "Paradex docs, BTC-USD-PERP"),
    tiers=Fact("half of max(base, factor x sqrt(value - shift)); markets", Confidence.DOC, _DOCS),
    tiers_public=True,
    modes=Fact("cross by account, isolated, portfolio", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(share_per_step=0.2, text="the least multiple of 20 % of all positions that restores margin"),
        Confidence.DOC,
        "Paradex docs, liquidations",
    ),
    notes=(
        "paradex: maintenance by the market's greatest leverage, though the docs may mean the account's own",
        "paradex: the fee provision of accounts that pay a taker fee is not counted (0 for retail)",
        "paradex: cross-margined accounts modelled as isolated",
    ),
)
