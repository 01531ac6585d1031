"""Hyperliquid perpetuals.

L1 with maintenance half of the initial margin at maximum leverage: ``rate = 1 / (2 * max leverage)`` of each tier, less
a deduction that makes it continuous; no fee. Source: hyperliquid docs, "Liquidations" and "Margin tiers"; 29 real
positions reproduce, all but one to 1e-7. Large positions have a lower maximum leverage.
"""

from __future__ import annotations

from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.tiers import cumulative_tiers
from forcedmove_server.market.instruments import Instrument

#: coin -> (USD value above which the second tier begins, its maximum leverage)
_SECOND_TIER = {"BTC": (150e6, 20.0), "ETH": (100e6, 15.0), "SOL": (70e6, 10.0), "XRP": (40e6, 10.0)}
#: no market of the venue ever offered more; a description that claims more was never filled in
_GREATEST = 50.0


def rule(instrument: Instrument) -> MarginRule:
    """Return the rule of a Hyperliquid market, from the instrument's own maximum leverage."""
    leverage = min(instrument.max_leverage, _GREATEST)
    rows = [(0.0, 0.5 / leverage, leverage)]
    floor, second = _SECOND_TIER.get(instrument.base, (20e6, 5.0))
    if second < leverage:
        rows.append((floor, 0.5 / second, second))
    notes = (f"{instrument.key}: maximum leverage taken as {leverage:g}",) if leverage < instrument.max_leverage else ()
    return MarginRule(FORMULAS["L1"], cumulative_tiers(rows), notes=notes)
