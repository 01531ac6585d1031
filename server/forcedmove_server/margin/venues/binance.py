"""Binance USD-M and COIN-M."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue

_FAQ = "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93"
_COIN_FAQ = "Binance FAQ ceccfcfb4e3a45e3b48b0b1bb1a8ae46"

VENUE = Venue(
    name="binance",
    names=("binanceusdm", "binancecoinm", "binance-futures", "binance-delivery"),
    title="Binance USD-M, COIN-M",
    linear=ContractRules(Fact("L1", Confidence.DOC, _FAQ)),
    inverse=ContractRules(Fact("I1", Confidence.DOC, _COIN_FAQ)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Binance FAQ 360033525271"),
    max_leverage=Fact(150.0, Confidence.REC, "leverageBracket, 2026-09"),
    tiers=Fact("slices by value; fapi and dapi leverageBracket, signed", Confidence.DOC, _FAQ),
    tiers_public=False,
    modes=Fact("isolated, cross", Confidence.DOC, _FAQ),
    process=Fact(
        LiquidationProcess(text="one immediate order towards sufficient margin, the rest taken over"),
        Confidence.DOC,
        "Binance FAQ 360033525271",
    ),
)
