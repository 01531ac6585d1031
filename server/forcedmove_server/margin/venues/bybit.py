"""Bybit linear and inverse.

Inverse I1: help centre, "Liquidation Price under Isolated Mode" (2026-05-27): the close fee stands in both initial and
maintenance margin and cancels. Linear L1 is derived by the same rule; its text was not seen. Cumulative tiers
(``mmDeduction`` of ``v5/market/risk-limit``), mark price, settled at the bankruptcy price. BTCUSD's first tier (150
BTC, 0.5 %, 100x) is the documented sample; the remaining floors follow the same step.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import cumulative_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

_LINEAR = {
    "BTC": cumulative_tiers([(0, 0.005, 100), (2e6, 0.01, 50), (10e6, 0.015, 33), (20e6, 0.02, 25), (40e6, 0.03, 16)]),
    "ETH": cumulative_tiers([(0, 0.005, 100), (1e6, 0.01, 50), (5e6, 0.015, 33), (10e6, 0.02, 25), (20e6, 0.03, 16)]),
}
_OTHER_LINEAR = cumulative_tiers([(0, 0.01, 50), (1e6, 0.02, 25), (2e6, 0.03, 16), (5e6, 0.05, 10)])
#: floors in BTC
_INVERSE_BTC = cumulative_tiers([(0, 0.005, 100), (150, 0.01, 50), (300, 0.015, 33), (450, 0.02, 25)])
_OTHER_INVERSE = cumulative_tiers([(0, 0.01, 50)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Bybit contract."""
    if instrument.contract_type is ContractType.INVERSE:
        tiers = _INVERSE_BTC if instrument.base == "BTC" else _OTHER_INVERSE
        return MarginRule(FORMULAS["I1"], tiers, notes=("bybit inverse: floors above the first tier approximate",))
    return MarginRule(
        FORMULAS["L1"],
        _LINEAR.get(instrument.base, _OTHER_LINEAR),
        notes=("bybit linear: L1 derived from the inverse text; ladder approximate",),
    )
