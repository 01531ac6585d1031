"""Phemex USDT-margined and inverse.

L3: maintenance and taker fee in the trigger, and a close fee at the bankruptcy price locked with the margin. Source:
phemex.com/help-center/liq-price-for-USDTM (500 at 0.4, 5x, 1 %: 0.3232). Inverse I3: maintenance on the opening value.
Closed at the bankruptcy price; ladders by ``cfg/v2/products``, here the usual 0.5 % first tier.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import cumulative_tiers, flat_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

TAKER_FEE_RATE = 0.0006

_MAJOR = cumulative_tiers([(0, 0.005, 100), (1e6, 0.01, 50), (5e6, 0.02, 25)])
_OTHER = cumulative_tiers([(0, 0.01, 50), (500e3, 0.02, 25)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Phemex contract."""
    note = "phemex: ladder approximate"
    if instrument.contract_type is ContractType.INVERSE:
        return MarginRule(FORMULAS["I3"], flat_tiers([(0, 0.005, 100)]), notes=(note,))
    tiers = _MAJOR if instrument.base in ("BTC", "ETH") else _OTHER
    return MarginRule(FORMULAS["L3"], tiers, TAKER_FEE_RATE, notes=(note,))
