"""Maintenance ladders, the rules of the venues and the multipliers made from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.errors import InputError, InstrumentError
from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.multipliers import LEVERAGE_TIERS, liquidation_ratios, max_leverage, offered_tiers
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.tiers import (
    MaintenanceTier,
    TierMeasure,
    TierTable,
    cumulative_tiers,
    flat_tiers,
)
from forcedmove_server.margin.venues import VENUE_RULES
from forcedmove_server.market.instruments import ContractType, Instrument

_INVERSE_ID = {
    "bybit": "{}USD",
    "okx": "{}-USD-SWAP",
    "deribit": "{}-PERPETUAL",
    "krakenfutures": "PI_{}USD",
}


def market(venue: str, base: str = "BTC", inverse: bool = False, max_leverage: float = 100.0) -> Instrument:
    native = _INVERSE_ID.get(venue, "{}USD_PERP").format(base) if inverse else f"{base}_LINEAR"
    contract = ContractType.INVERSE if inverse else ContractType.LINEAR
    return Instrument(venue, native, base, "USD" if inverse else "USDT", contract, max_leverage=max_leverage)


MARKETS = [
    market(venue, base, inverse)
    for venue in sorted(VENUE_RULES)
    for base in ("BTC", "ETH", "SOL", "WIF")
    for inverse in (False, True)
    if not (inverse and venue == "hyperliquid")
] + [market("elsewhere"), market("elsewhere", inverse=True)]


def test_published_maintenance_figures() -> None:
    """Amounts and requirements that venues print."""
    binance = rule_for(market("binance", max_leverage=125)).tiers
    assert binance.amounts[:6].tolist() == pytest.approx([0, 50, 950, 11_450, 131_450, 481_450])
    # The FAQ's recursion example: 250 000 * (1 % - 0.5 %) + 50 = 1 300.
    faq = cumulative_tiers([(0, 0.004, 125), (50_000, 0.005, 100), (250_000, 0.01, 50)])
    assert faq.amounts[2] == pytest.approx(1_300)
    coin_margined = rule_for(market("binance", inverse=True, max_leverage=125)).tiers
    assert coin_margined.requirement(0.4, 0.4) == pytest.approx(0.0016)
    assert coin_margined.rates[coin_margined.index(300)] == 0.125
    assert coin_margined.amounts[coin_margined.index(300)] == pytest.approx(11.605)
    assert rule_for(market("gate")).tiers.requirement(1.2e6, 1.2e6) == pytest.approx(4_900)
    # Deribit's support page: 1 % plus 0.005 % per BTC.
    deribit = rule_for(market("deribit")).tiers
    assert deribit.rates[0] == pytest.approx(0.01, rel=0.06)
    assert deribit.rates[deribit.index(100)] == pytest.approx(0.01 + 100 * 5e-5, rel=0.06)


def test_hyperliquid_maintenance_follows_the_maximum_leverage() -> None:
    assert rule_for(market("hyperliquid", max_leverage=40)).tiers.rates.tolist() == [1 / 80, 1 / 40]
    assert rule_for(market("hyperliquid", "WIF", max_leverage=10)).tiers.rates.tolist() == [1 / 20, 1 / 10]
    never_filled_in = rule_for(market("hyperliquid", max_leverage=100))
    assert never_filled_in.tiers.max_leverage == 50
    assert never_filled_in.notes


@pytest.mark.parametrize(
    ("tiers", "field"),
    [
        ([], "floor"),
        ([MaintenanceTier(10, 0.01, 0, 50)], "floor"),
        ([MaintenanceTier(0, 1.5, 0, 50)], "rate"),
        ([MaintenanceTier(0, float("nan"), 0, 50)], "rate"),
        ([MaintenanceTier(0, 0.01, 0, 0.5)], "max_leverage"),
        ([MaintenanceTier(0, 0.01, 0, 50), MaintenanceTier(0, 0.02, 0, 25)], "floor"),
        ([MaintenanceTier(0, 0.02, 0, 50), MaintenanceTier(10, 0.01, 0, 25)], "rate"),
        ([MaintenanceTier(0, 0.01, 0, 20), MaintenanceTier(10, 0.02, 0, 25)], "max_leverage"),
        ([MaintenanceTier(0, 0.01, 0, 50), MaintenanceTier(10, 0.02, 0.2, 25)], "amount"),
    ],
)
def test_bad_ladders_are_refused(tiers: list[MaintenanceTier], field: str) -> None:
    with pytest.raises(InputError, match=field):
        TierTable(tiers)


def test_amounts_need_floors_by_value() -> None:
    tiers = [MaintenanceTier(0, 0.01, 0, 50), MaintenanceTier(10, 0.02, 0.1, 25)]
    assert TierTable(tiers).cumulative
    with pytest.raises(InputError, match="measure"):
        TierTable(tiers, TierMeasure.QUANTITY)


@given(
    side=st.sampled_from([LONG, SHORT]),
    notional=st.floats(1e3, 5e8),
    leverage=st.floats(1.5, 100),
    name=st.sampled_from(["binance", "bybit", "bitget", "gate", "phemex"]),
    inverse=st.booleans(),
)
def test_the_tier_is_the_one_at_the_liquidation_price(
    side: int, notional: float, leverage: float, name: str, inverse: bool
) -> None:
    """The Binance FAQ's condition: the requirement there, by the tier that holds the value there, is the equity."""
    rule = rule_for(market(name, inverse=inverse))
    if rule.formula.maintenance_on_entry or leverage > rule.tiers.max_leverage:
        return
    entry = 97_500.0
    quantity = notional if inverse else notional / entry
    price = float(rule.liquidation_price(side, entry, quantity, leverage))
    if price == 0.0 or price == np.inf:
        return
    value, there = float(rule.value(quantity, entry)), float(rule.value(quantity, price))
    initial = value / leverage
    if rule.formula.reserves_close_fee:
        initial += rule.fee_rate * (value - (1 - 2 * side) * initial)
    profit = (1 - 2 * side) * (value - there if inverse else there - value)
    requirement = float(rule.tiers.requirement(there, there)) + rule.fee_rate * there
    assert initial + profit == pytest.approx(requirement, abs=1e-9 * (value + there))


PRICES = {"BTC": 97_500.0, "ETH": 3_400.0, "SOL": 190.0}


@pytest.mark.parametrize("instrument", MARKETS, ids=lambda i: i.key + i.base)
def test_ratios_of_every_venue(instrument: Instrument) -> None:
    """Long ratios rise and stay below the entry; short ratios fall and stay above it: nothing is dead at birth."""
    ratios = liquidation_ratios(instrument, LEVERAGE_TIERS, 50_000.0, PRICES.get(instrument.base, 1.0))
    assert ratios.shape == (2, len(LEVERAGE_TIERS))
    assert np.all(np.isfinite(ratios))
    assert np.all(np.diff(ratios[LONG]) >= 0)
    assert np.all(np.diff(ratios[SHORT]) <= 0)
    assert np.all((ratios[LONG] > 0) & (ratios[LONG] < 1))
    assert np.all(ratios[SHORT] > 1)
    offered = offered_tiers(instrument)
    assert LEVERAGE_TIERS[offered - 1] <= max_leverage(instrument)
    strictly = np.diff(ratios[:, :offered])
    assert np.all(strictly[LONG] > 0)
    assert np.all(strictly[SHORT] < 0)
    assert np.all(ratios[:, offered:] == ratios[:, offered - 1 : offered])


def test_ratios_against_the_formula() -> None:
    """Hyperliquid at 40x, isolated: (1 - 1/20) / (1 - 1/80)."""
    ratios = liquidation_ratios(market("hyperliquid", max_leverage=40), [20.0], 50_000.0, 97_500.0)
    assert ratios[:, 0].tolist() == pytest.approx([(1 - 0.05) / (1 - 1 / 80), (1 + 0.05) / (1 + 1 / 80)])


def test_ratios_refuse_what_cannot_be() -> None:
    instrument = market("binance")
    for leverages in ([0.5, 2], [5, 3], [float("nan")]):
        with pytest.raises(InputError, match="leverages"):
            liquidation_ratios(instrument, leverages, 50_000.0, 97_500.0)
    with pytest.raises(InputError, match="typical_notional_usd"):
        liquidation_ratios(instrument, LEVERAGE_TIERS, -1, 97_500.0)
    with pytest.raises(InputError, match="price_usd"):
        liquidation_ratios(instrument, LEVERAGE_TIERS, 50_000.0, float("nan"))


def test_leverage_above_the_maximum_is_refused() -> None:
    with pytest.raises(InputError, match="leverage = 126"):
        rule_for(market("binance")).liquidation_price(LONG, 100.0, 1.0, 126)


def test_an_inverse_contract_where_there_is_none() -> None:
    with pytest.raises(InstrumentError, match="contract_type"):
        rule_for(market("hyperliquid", inverse=True))


def test_an_unknown_venue_is_never_silent() -> None:
    rule = rule_for(market("elsewhere", max_leverage=50))
    assert rule.assumed
    assert "elsewhere" in rule.notes[0]
    assert rule.tiers.rates.tolist() == [0.01]
    assert rule_for(market("aster")).assumed


def test_a_fee_the_formula_does_not_count_is_refused() -> None:
    from forcedmove_server.margin.equations import FORMULAS
    from forcedmove_server.margin.margin_rule import MarginRule

    with pytest.raises(InputError, match="fee_rate"):
        MarginRule(FORMULAS["L1"], flat_tiers([(0, 0.01, 50)]), fee_rate=0.0005)
