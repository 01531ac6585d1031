"""Bitfinex derivatives. Its price formula was not found."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_ASSUMED = "no price formula published; L1 with the published flat rate"

VENUE = Venue(
    name="bitfinex",
    names=("bitfinex-derivatives",),
    title="Bitfinex",
    quotes=("USDT",),
    linear=ContractRules(Fact("L1", Confidence.ASSUMED, _ASSUMED)),
    trigger=Fact(Trigger.MARK, Confidence.MEM, "status deriv carries a mark price"),
    max_leverage=Fact(100.0, Confidence.DOC, "Bitfinex support 360035475374"),
    tiers=Fact("one rate per market; conf pub:info:pair:futures", Confidence.REC, "conf answer of 2021"),
    tiers_public=True,
    modes=Fact("isolated by position", Confidence.DOC, "Bitfinex support 360035475374"),
)
