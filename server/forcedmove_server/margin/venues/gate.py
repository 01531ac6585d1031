"""Gate USDT-margined and BTC-settled.

Linear L1+fee since the gradient maintenance margin of 2025-07-29: 1.2 M USDT of BTC_USDT pay 4 900 (announced), which
the ladder below reproduces. BTC-settled I2, flat. Source of the price form: Gate support, as used by freqtrade;
taker 0.06 %, mark price. BTC_USDT's tiers: ``risk_limit_table`` of 2025-07.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import cumulative_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

TAKER_FEE_RATE = 0.0006

_BTC = cumulative_tiers(
    [(0, 0.004, 125), (1e6, 0.0045, 111), (1.5e6, 0.005, 100), (2e6, 0.007, 75), (3e6, 0.0075, 66), (5e6, 0.01, 50)]
)
_OTHER = cumulative_tiers([(0, 0.005, 100), (100e3, 0.0075, 66), (500e3, 0.01, 50), (2e6, 0.02, 25), (5e6, 0.05, 10)])
_INVERSE = cumulative_tiers([(0, 0.005, 100)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Gate contract."""
    if instrument.contract_type is ContractType.INVERSE:
        note = "gate BTC-settled: maintenance 0.5 % at every size"
        return MarginRule(FORMULAS["I2"], _INVERSE, TAKER_FEE_RATE, notes=(note,))
    if instrument.base == "BTC":
        return MarginRule(FORMULAS["L1+fee"], _BTC, TAKER_FEE_RATE)
    note = f"{instrument.key}: ladder approximate"
    return MarginRule(FORMULAS["L1+fee"], _OTHER, TAKER_FEE_RATE, notes=(note,))
