"""OKX swaps and futures.

Linear L2, inverse I2: taker fee in the trigger, no deductions, a flat rate per tier, mark price. Source: the margin
ratio of the help centre (account equity at or below maintenance plus liquidation fees), and freqtrade, which uses
exactly L2. No official price formula was found. Tiers come from ``public/position-tiers`` in contracts; here they are
in base units or USD.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import TierMeasure, flat_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

TAKER_FEE_RATE = 0.0005

_LINEAR = {
    # floors in coins; the first tier holds about a million dollars
    "BTC": flat_tiers(
        [(0, 0.004, 100), (20, 0.005, 75), (50, 0.01, 50), (150, 0.015, 33), (300, 0.02, 25)], TierMeasure.QUANTITY
    ),
    "ETH": flat_tiers(
        [(0, 0.004, 100), (400, 0.005, 75), (1000, 0.01, 50), (3000, 0.015, 33), (6000, 0.02, 25)],
        TierMeasure.QUANTITY,
    ),
}
_OTHER_LINEAR = flat_tiers([(0, 0.0065, 50), (250e3, 0.01, 40), (1e6, 0.02, 25), (5e6, 0.05, 10)])
#: floors in USD
_INVERSE = flat_tiers([(0, 0.004, 100), (1e6, 0.005, 75), (5e6, 0.01, 50), (15e6, 0.02, 25)], TierMeasure.QUANTITY)


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of an OKX contract."""
    inverse = instrument.contract_type is ContractType.INVERSE
    tiers = _INVERSE if inverse else _LINEAR.get(instrument.base, _OTHER_LINEAR)
    note = f"okx: no official price formula; taker fee {TAKER_FEE_RATE:.2%} in the trigger, ladder approximate"
    return MarginRule(FORMULAS["I2" if inverse else "L2"], tiers, TAKER_FEE_RATE, notes=(note,))
