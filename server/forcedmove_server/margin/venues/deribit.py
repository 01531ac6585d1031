"""Deribit perpetuals.

L1 and I1 with a maintenance rate that grows with size, support article 25944738177565: BTC 1 % + 0.005 % per BTC
(initial 2 % + 0.005 %), SOL 2 % + 0.0005 % per SOL. Accounts are cross or portfolio margined, so isolated
tiers are a modelling choice. The inverse page was not read; it is taken to be the linear one. The line is
cut into steps by coin.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import TierMeasure, TierTable, flat_tiers
from forcedmove_server.market.instruments import ContractType, Instrument

#: coin -> (rate at size zero, rate per coin, coins per step)
_LINES = {"BTC": (0.01, 5e-5, 20.0), "ETH": (0.01, 2.5e-6, 400.0), "SOL": (0.02, 5e-6, 1000.0)}
_STEPS = 12


def _line(base: str, measure: TierMeasure) -> TierTable:
    start, slope, step = _LINES.get(base, (0.02, 0.0, 1.0))
    if slope == 0:
        return flat_tiers([(0.0, start, 0.5 / start)], measure)
    # Each step pays the rate of its middle; initial margin is one starting rate above maintenance.
    rates = [start + slope * step * (k + 0.5) for k in range(_STEPS)]
    return flat_tiers([(k * step, rate, round(1 / (rate + start))) for k, rate in enumerate(rates)], measure)


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Deribit perpetual."""
    inverse = instrument.contract_type is ContractType.INVERSE
    tiers = _line(instrument.base, TierMeasure.VALUE if inverse else TierMeasure.QUANTITY)
    note = f"{instrument.key}: cross-margined accounts modelled as isolated; " + (
        "inverse maintenance taken from the linear contract" if inverse else "size-dependent maintenance in steps"
    )
    return MarginRule(FORMULAS["I1" if inverse else "L1"], tiers, notes=(note,))
