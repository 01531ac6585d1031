"""Kraken Futures: multi-collateral linear (PF_) and inverse (PI_, FI_).

L1 and I1, no fee, no deductions, mark price. Source: support.kraken.com 360022835671 "Equity Protection Process", whose
example (1000 contracts at 8000, 0.01 BTC: 7481) needs maintenance on the current value. Levels: ``instruments``
endpoint, PF_ by USD value, PI_ by contracts of 1 USD; the first two are read, the third continues them.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import TierMeasure, flat_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

_LINEAR = flat_tiers([(0, 0.01, 50), (2e6, 0.02, 25), (10e6, 0.04, 12)])
_INVERSE = flat_tiers([(0, 0.01, 50), (500e3, 0.02, 25), (5e6, 0.04, 12)], TierMeasure.QUANTITY)


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Kraken Futures contract."""
    if instrument.contract_type is ContractType.INVERSE:
        return MarginRule(FORMULAS["I1"], _INVERSE)
    return MarginRule(FORMULAS["L1"], _LINEAR, notes=("krakenfutures: the ladder of PF_ETHUSD stands for all PF_",))
