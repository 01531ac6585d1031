"""Hyperliquid perpetuals. Maintenance is half of the initial margin at the maximum leverage of the position's tier."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.margin_rule import Maintenance
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.tiers import cumulative_tiers
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue
from forcedmove_server.market.instruments import Instrument

_DOCS = "Hyperliquid docs, Liquidations; 29 real positions are reproduced"
_GREATEST = 50.0
#: coin -> (USD value above which the second tier begins, its maximum leverage)
_SECOND_TIER = {"BTC": (150e6, 20.0), "ETH": (100e6, 15.0), "SOL": (70e6, 10.0), "XRP": (40e6, 10.0)}


def from_instrument(instrument: Instrument) -> Maintenance | None:
    """Ladder of a market by its own maximum leverage; None where that was never filled in.

    Coins whose second tier is not documented have one tier, as the venue's plain margin tables do. No market ever
    offered more than 50x: a description that claims more says nothing.
    """
    if instrument.max_leverage > _GREATEST:
        return None
    leverage = instrument.max_leverage
    rows = [(0.0, 0.5 / leverage, leverage)]
    if instrument.base in _SECOND_TIER:
        floor, second = _SECOND_TIER[instrument.base]
        rows += [(floor, 0.5 / second, second)] if second < leverage else []
    return cumulative_tiers(rows)


VENUE = Venue(
    name="hyperliquid",
    title="Hyperliquid",
    quotes=("USDC",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _DOCS)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, _DOCS),
    max_leverage=Fact(_GREATEST, Confidence.REC, "margin table 50; BTC 40x, ETH 25x in 2026"),
    tiers=Fact("slices by value; info meta marginTables", Confidence.DOC, "Hyperliquid docs, Margin tiers"),
    tiers_public=True,
    modes=Fact("isolated, cross", Confidence.DOC, _DOCS),
    process=Fact(
        LiquidationProcess(
            share_per_step=0.2,
            partial_above_usd=100_000,
            cooldown_s=30,
            text="above 100 000 USD a fifth first, all of it 30 s later; below 2/3 of maintenance the vault takes over",
        ),
        Confidence.DOC,
        _DOCS,
    ),
    from_instrument=from_instrument,
)
