"""Bitget linear and coin-margined.

Linear L1+fee, support article 12560603808759 (2025-09-18) with the newer "pre-calculated offset" as maintenance amount;
coin-margined I2. Taker 0.06 %, mark price. The first tier of BTCUSDT (150 000 USDT, 125x, 0.4 %) is the documented one.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import cumulative_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

TAKER_FEE_RATE = 0.0006

_MAJOR = cumulative_tiers([(0, 0.004, 125), (150e3, 0.005, 100), (1e6, 0.01, 50), (5e6, 0.02, 25), (20e6, 0.03, 16)])
_OTHER = cumulative_tiers([(0, 0.0065, 75), (50e3, 0.01, 50), (500e3, 0.02, 25), (2e6, 0.05, 10)])
_INVERSE = cumulative_tiers([(0, 0.005, 100)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Bitget contract."""
    note = "bitget: taker fee 0.06 % in the trigger; ladder above the first tier approximate"
    if instrument.contract_type is ContractType.INVERSE:
        return MarginRule(FORMULAS["I2"], _INVERSE, TAKER_FEE_RATE, notes=(note,))
    tiers = _MAJOR if instrument.base in ("BTC", "ETH") else _OTHER
    return MarginRule(FORMULAS["L1+fee"], tiers, TAKER_FEE_RATE, notes=(note,))
