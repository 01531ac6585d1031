"""Deribit perpetuals. Maintenance grows with size in coins along a line; on inverse contracts with value in coin."""

from __future__ import annotations

from forcedmove_server.margin.facts import Confidence, Fact
from forcedmove_server.margin.margin_rule import Maintenance
from forcedmove_server.margin.process import LiquidationProcess
from forcedmove_server.margin.tiers import flat_tiers
from forcedmove_server.margin.trigger import Trigger
from forcedmove_server.margin.venue import ContractRules, Venue
from forcedmove_server.market.instruments import Instrument

_LINEAR = "Deribit support 25944738177565"
_INVERSE = "Deribit support 25944826427293 (2022-01-11)"
_GREATEST = 50.0


def from_instrument(instrument: Instrument) -> Maintenance | None:
    """Half of the initial margin at the market's maximum leverage, without the growth with size, which is not printed.

    The markets whose line is printed have it in the shipped table. None where the leverage was never filled in.
    """
    if instrument.base in ("BTC", "ETH", "SOL") or instrument.max_leverage > _GREATEST:
        return None
    return flat_tiers([(0.0, 0.5 / instrument.max_leverage, instrument.max_leverage)])


VENUE = Venue(
    name="deribit",
    title="Deribit",
    quotes=("USDC",),
    linear=ContractRules(Fact("L1", Confidence.DOC, _LINEAR)),
    inverse=ContractRules(Fact("I1", Confidence.DOC, _INVERSE)),
    trigger=Fact(Trigger.MARK, Confidence.DOC, "Deribit support 25944769313309"),
    max_leverage=Fact(50.0, Confidence.DOC, _INVERSE),
    tiers=Fact("a line in size; in the documentation only", Confidence.DERIVED, _LINEAR),
    tiers_public=False,
    modes=Fact("cross, portfolio; isolated since 2026", Confidence.DOC, "Deribit API, set_leverage"),
    process=Fact(
        LiquidationProcess(share_per_step=0.125, cooldown_s=1, text="in rounds of a second until margin suffices"),
        Confidence.MEM,
        "rounds by Deribit support 25944769313309; the share of 12.5 % from its users",
    ),
    notes=("deribit: cross-margined accounts modelled as isolated",),
    from_instrument=from_instrument,
)
