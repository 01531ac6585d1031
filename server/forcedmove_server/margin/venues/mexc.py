"""MEXC futures.

L4+fee: maintenance on entry value; the newer text liquidates when margin and profit no longer cover maintenance *and*
the liquidation fee. Source: blog.mexc.fm "liquidation-in-futures-2" (0.1 BTC at 50 000, 25x, 0.4 %: 48 200 before fee).
Ladder: ``contract/detail`` raises the rate by a fixed step of contracts; the first tier is read, the rest continues it.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import flat_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

LIQUIDATION_FEE_RATE = 0.0002

_LADDER = flat_tiers([(0, 0.004, 125), (1e6, 0.008, 62), (2e6, 0.012, 41), (4e6, 0.02, 25), (10e6, 0.04, 12)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a MEXC contract."""
    note = "mexc: liquidation fee taken as 0.02 %; ladder above the first tier approximate"
    if instrument.contract_type is ContractType.INVERSE:
        return MarginRule(FORMULAS["I4"], flat_tiers([(0, 0.004, 125)]), notes=(note,))
    return MarginRule(FORMULAS["L4+fee"], _LADDER, LIQUIDATION_FEE_RATE, notes=(note,))
