"""The margin rule of a market: its venue's own, or one assumed and marked as such."""

from __future__ import annotations

from forcedmove_server.errors import InstrumentError
from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import flat_tiers
from forcedmove_server.margin.venues import VENUE_RULES
from forcedmove_server.market.instruments import ContractType, Instrument

__all__ = ["MarginRule", "assumed_rule", "rule_for"]


def rule_for(instrument: Instrument) -> MarginRule:
    """Return the rule of a market; a venue that is not described gets :func:`assumed_rule`, never silently.

    Raises InstrumentError for an inverse contract on a venue that has none.
    """
    describe = VENUE_RULES.get(instrument.venue)
    rule = assumed_rule(instrument) if describe is None else describe(instrument)
    if rule.formula.inverse != (instrument.contract_type is ContractType.INVERSE):
        raise InstrumentError(
            "contract_type", str(instrument.contract_type), f"{instrument.venue} lists no such contract", instrument.key
        )
    return rule


def assumed_rule(instrument: Instrument) -> MarginRule:
    """Return L1 or I1 with a flat maintenance of half the smallest initial margin, marked as assumed.

    Half of ``1 / max_leverage`` is what Hyperliquid, Kraken and Bitfinex charge their smallest positions.
    """
    inverse = instrument.contract_type is ContractType.INVERSE
    formula = FORMULAS["I1" if inverse else "L1"]
    rate = min(0.5 / instrument.max_leverage, 0.4)
    return MarginRule(
        formula,
        flat_tiers([(0.0, rate, instrument.max_leverage)]),
        notes=(f"{instrument.venue}: rule not described, assumed {formula.name} with maintenance {rate:.3%}",),
        assumed=True,
    )
