"""Binance USD-M and COIN-M; Aster follows the same rules.

Linear L1, inverse I1, no fee, cumulative tiers, mark price. Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93
(USD-M, with the recursion of the amounts) and ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (COIN-M: a 300 BTC position pays 12.5 %
less 11.605 BTC). Ladders: ``leverageBracket`` as of 2024-10; the endpoint is signed, so the table is shipped.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import TierTable, cumulative_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

_SMALL = [(0, 0.004, 125), (50e3, 0.005, 100), (600e3, 0.0065, 75), (3e6, 0.01, 50), (12e6, 0.02, 25)]
_LINEAR: dict[str, TierTable] = {
    "BTC": cumulative_tiers([*_SMALL, (70e6, 0.025, 20), (100e6, 0.05, 10), (230e6, 0.1, 5), (480e6, 0.125, 4)]),
    "ETH": cumulative_tiers([*_SMALL, (50e6, 0.025, 20), (65e6, 0.05, 10), (150e6, 0.1, 5), (320e6, 0.125, 4)]),
    "SOL": cumulative_tiers(
        [(0, 0.005, 100), (20e3, 0.0065, 75), (100e3, 0.01, 50), (800e3, 0.02, 25), (4e6, 0.025, 20), (8e6, 0.05, 10)]
    ),
}
#: DOGE's ladder stands for every other contract
_OTHER_LINEAR = cumulative_tiers(
    [(0, 0.005, 75), (10e3, 0.007, 50), (50e3, 0.01, 40), (750e3, 0.02, 25), (800e3, 0.025, 20), (1.6e6, 0.05, 10)]
)
#: floors in BTC
_INVERSE_BTC = cumulative_tiers(
    [
        (0, 0.004, 125),
        (5, 0.005, 100),
        (10, 0.01, 50),
        (20, 0.025, 20),
        (50, 0.05, 10),
        (100, 0.1, 5),
        (200, 0.125, 4),
        (400, 0.15, 3),
    ]
)
#: the other COIN-M ladders are counted in their coins; the smallest tier stands for all
_OTHER_INVERSE = cumulative_tiers([(0, 0.005, 100)])


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Binance or Aster contract."""
    if instrument.contract_type is ContractType.INVERSE:
        if instrument.base == "BTC":
            return MarginRule(FORMULAS["I1"], _INVERSE_BTC)
        note = f"{instrument.key}: maintenance 0.5 % at every size"
        return MarginRule(FORMULAS["I1"], _OTHER_INVERSE, notes=(note,))
    notes = ("aster: rule and ladder taken from binance",) if instrument.venue == "aster" else ()
    tiers = _LINEAR.get(instrument.base)
    if tiers is None:
        return MarginRule(FORMULAS["L1"], _OTHER_LINEAR, notes=(*notes, f"{instrument.key}: ladder of DOGE stands in"))
    return MarginRule(FORMULAS["L1"], tiers, notes=notes, assumed=bool(notes))
