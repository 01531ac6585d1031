"""Maintenance ladders, the rules of the venues and the multipliers made from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import FORMULAS, LONG, SHORT
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.multipliers import (
    CROSS_WIDTH_SHARE,
    LEVERAGE_TIERS,
    liquidation_multipliers,
    max_leverage,
    offered_tiers,
)
from forcedmove_server.margin.process import LiquidationProcess, first_step
from forcedmove_server.margin.provenance import Origin
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.tiers import (
    LeverageLadders,
    MaintenanceTier,
    TierMeasure,
    TierTable,
    cumulative_tiers,
    flat_tiers,
)
from forcedmove_server.margin.venues import VENUES
from tests.unit.margin_markets import every_market, market

MARKETS = [*every_market(), market("elsewhere"), market("elsewhere", inverse=True)]


def test_all_22_are_described() -> None:
    assert len(VENUES) == 22
    assert len({venue.name for venue in VENUES}) == 22
    for venue in VENUES:
        facts = [venue.trigger, venue.max_leverage, venue.tiers, venue.modes, venue.process]
        facts += [fact for c in (venue.linear, venue.inverse) if c for fact in (c.formula, c.fee) if fact]
        assert all(fact.source for fact in facts), venue.name
        for contract in (venue.linear, venue.inverse):
            assert contract is None or contract.variant.counts_fee == (contract.fee is not None), venue.name


def test_published_maintenance_figures() -> None:
    """Amounts and requirements that venues print."""
    # Binance FAQ, recursion of the amounts: 250 000 * (1 % - 0.5 %) + 50 = 1 300.
    faq = cumulative_tiers([(0, 0.004, 125), (50_000, 0.005, 100), (250_000, 0.01, 50)])
    assert faq.amounts[2] == pytest.approx(1_300)
    # Binance COIN-M FAQ: 0.4 BTC in the first tier pay 0.0016 BTC.
    coin_margined = rule_for(market("binance", inverse=True, max_leverage=125))
    assert float(coin_margined.requirement(40_000, 100_000)) == pytest.approx(0.0016)
    # Gate, announcement of the gradient margin: 1.2 million pay 4 900 with the ladder of 2025-07.
    gate = cumulative_tiers([(0, 0.004, 125), (1e6, 0.0045, 111), (1.5e6, 0.005, 100)])
    assert float(MarginRule(FORMULAS["L1"], gate).requirement(12, 100_000)) == pytest.approx(4_900)
    # Bitget: 330 000 pay 200 000 * 0.46 % + 130 000 * 0.56 % = 1 648, the fee of 0.06 % included.
    bitget = rule_for(market("bitget"))
    assert float(bitget.requirement(3, 110_000)) + 0.0006 * 330_000 == pytest.approx(1_648)
    # Phemex: 2 million * 0.5 % + 1 million * 0.75 %.
    assert float(rule_for(market("phemex")).requirement(30, 100_000)) == pytest.approx(17_500)
    # Deribit: 25 BTC at 100 000 pay 28 125; 25 SOL at 200 pay 100.625.
    assert float(rule_for(market("deribit")).requirement(25, 100_000)) == pytest.approx(28_125)
    assert float(rule_for(market("deribit", "SOL")).requirement(25, 200)) == pytest.approx(100.625)


def test_hyperliquid_maintenance_follows_the_maximum_leverage() -> None:
    def rates(base: str, leverage: float) -> list[float]:
        maintenance = rule_for(market("hyperliquid", base, max_leverage=leverage)).maintenance
        assert isinstance(maintenance, TierTable)
        return maintenance.rates.tolist()

    assert rates("BTC", 40) == [1 / 80, 1 / 40]
    # A coin without a documented second tier has one; a listed coin that is described as listed has its own.
    assert rates("WIF", 10) == [1 / 20]
    assert rule_for(market("hyperliquid", "WIF", max_leverage=10)).provenance.origin is Origin.INSTRUMENT
    bnb = rule_for(market("hyperliquid", "BNB", max_leverage=10)).maintenance
    assert isinstance(bnb, TierTable)
    assert bnb.floors.tolist() == [0, 3e6]
    # A description that says otherwise is newer than the table.
    assert rates("BTC", 50) == [1 / 100, 1 / 40]
    # A description whose leverage was never filled in says nothing: the table of the coin counts.
    assert rates("BTC", 100) == [1 / 80, 1 / 40]


@pytest.mark.parametrize(
    ("tiers", "field"),
    [
        ([], "floor"),
        ([MaintenanceTier(10, 0.01, 0, 50)], "floor"),
        ([MaintenanceTier(0, 1.5, 0, 50)], "rate"),
        ([MaintenanceTier(0, 0.0, 0, 50)], "rate"),
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


def test_slices_that_count_quantity_lower_the_rate_at_every_price() -> None:
    """Kraken PI_: 2 million contracts pay 1 % of 500 000, 2 % of the next 500 000 and 3 % of the rest."""
    rule = rule_for(market("krakenfutures", inverse=True))
    for price in (20_000.0, 90_000.0):
        expected = (500_000 * 0.01 + 500_000 * 0.02 + 1_000_000 * 0.03) / price
        assert float(rule.requirement(2_000_000, price)) == pytest.approx(expected, rel=1e-12)


def test_rate_by_leverage() -> None:
    """HTX: the factor of the position's leverage and size, divided by the leverage."""
    ladders = LeverageLadders({125: [(0, 0.65), (9, 0.8)], 10: [(0, 0.125)]})
    rate, amount = ladders.terms([1.0, 10.0, 10.0, 1.0], [125.0, 125.0, 10.0, 20.0])
    assert rate.tolist() == pytest.approx([0.65 / 125, 0.8 / 125, 0.0125, 0.65 / 20])
    assert not amount.any()
    assert ladders.max_leverage == 125
    for bad in ({}, {0.5: [(0, 0.1)]}, {10: [(5, 0.1)]}, {10: [(0, 0.2), (5, 0.1)]}, {10: [(0, 11.0)]}):
        with pytest.raises(InputError, match="ladders"):
            LeverageLadders(bad)


@given(
    side=st.sampled_from([LONG, SHORT]),
    notional=st.floats(1e3, 5e8),
    leverage=st.floats(1.5, 100),
    instrument=st.sampled_from(MARKETS),
)
def test_the_tier_is_the_one_at_the_liquidation_price(side: int, notional: float, leverage: float, instrument) -> None:
    """The Binance FAQ's condition: the requirement there, by the tier that holds the value there, is the equity."""
    rule = rule_for(instrument)
    if not rule.maintenance.moves_with_price or rule.formula.maintenance_on_entry or leverage > rule.leverage_limit:
        return
    entry = 97_500.0
    inverse = rule.formula.inverse
    quantity = notional if inverse else notional / entry
    price = float(rule.liquidation_price(side, entry, quantity, leverage))
    beyond = price >= entry if side == LONG else price <= entry
    if price == 0.0 or price == np.inf or beyond:
        return
    value, there = float(rule.value(quantity, entry)), float(rule.value(quantity, price))
    direction = (1 - 2 * side) * (-1 if inverse else 1)
    initial = value / leverage
    if rule.formula.reserves_close_fee:
        initial += rule.fee_rate * (value - direction * initial)
    requirement = float(rule.requirement(quantity, price, leverage)) + rule.fee_rate * there
    assert initial + direction * (there - value) == pytest.approx(requirement, abs=1e-9 * (value + there))


PRICES = {"BTC": 97_500.0, "ETH": 3_400.0, "SOL": 190.0}


@pytest.mark.parametrize("instrument", MARKETS, ids=lambda i: f"{i.key} {i.contract_type}")
def test_multipliers_of_every_venue(instrument) -> None:
    """Long ratios rise and stay below the entry; short ratios fall and stay above it: nothing is dead at birth."""
    made = liquidation_multipliers(instrument, LEVERAGE_TIERS, 50_000.0, PRICES.get(instrument.base, 1.0))
    assert made.ratio.shape == made.error.shape == made.cross_width.shape == (2, len(LEVERAGE_TIERS))
    assert np.all(np.isfinite(made.ratio))
    assert np.all(np.diff(made.ratio[LONG]) >= 0)
    assert np.all(np.diff(made.ratio[SHORT]) <= 0)
    assert np.all((made.ratio[LONG] > 0) & (made.ratio[LONG] < 1))
    assert np.all(made.ratio[SHORT] > 1)
    offered = offered_tiers(instrument, made.rule)
    assert LEVERAGE_TIERS[offered - 1] <= max_leverage(instrument, made.rule)
    strictly = np.diff(made.ratio[:, :offered])
    assert np.all(strictly[LONG] > 0)
    assert np.all(strictly[SHORT] < 0)
    assert np.all(made.ratio[:, offered:] == made.ratio[:, offered - 1 : offered])


@pytest.mark.parametrize("venue", ["binance", "okx", "krakenfutures", "backpack", "hyperliquid"])
def test_the_error_bounds_the_exact_price_of_other_sizes(venue: str) -> None:
    """Sizes from a tenth to ten times the typical one, other than those the bound was computed with."""
    instrument, typical, entry = market(venue), 50_000.0, 97_500.0
    made = liquidation_multipliers(instrument, LEVERAGE_TIERS, typical, entry)
    rng = np.random.default_rng(3)
    for tier, leverage in enumerate(LEVERAGE_TIERS[: offered_tiers(instrument, made.rule)]):
        sizes = typical / entry * np.exp(rng.uniform(np.log(0.1), np.log(10), 200))
        sizes = sizes[sizes <= made.rule.largest_quantity(leverage, entry)]
        for side in (LONG, SHORT):
            exact = made.rule.liquidation_price(side, entry, sizes, leverage) / entry
            # The bound is the maximum over a grid of sizes; between two of them a smooth ladder adds a little.
            assert np.all(np.abs(exact - made.ratio[side, tier]) <= made.error[side, tier] * 1.02 + 1e-5)
    assert made.worst_error_bp == made.error.max() * 1e4
    assert np.allclose(made.cross_width, CROSS_WIDTH_SHARE * np.abs(1 - made.ratio))


def test_a_flat_venue_has_no_error() -> None:
    assert liquidation_multipliers(market("dydx"), LEVERAGE_TIERS, 50_000.0, 97_500.0).worst_error_bp < 1e-9


def test_ratios_against_the_formula() -> None:
    """Hyperliquid at 40x, isolated: (1 - 1/20) / (1 - 1/80)."""
    made = liquidation_multipliers(market("hyperliquid", max_leverage=40), [20.0], 50_000.0, 97_500.0)
    assert made.ratio[:, 0].tolist() == pytest.approx([(1 - 0.05) / (1 - 1 / 80), (1 + 0.05) / (1 + 1 / 80)])


def test_ratios_refuse_what_cannot_be() -> None:
    instrument = market("binance")
    for leverages in ([0.5, 2], [5, 3], [float("nan")]):
        with pytest.raises(InputError, match="leverages"):
            liquidation_multipliers(instrument, leverages, 50_000.0, 97_500.0)
    with pytest.raises(InputError, match="typical_notional_usd"):
        liquidation_multipliers(instrument, LEVERAGE_TIERS, -1, 97_500.0)
    with pytest.raises(InputError, match="price_usd"):
        liquidation_multipliers(instrument, LEVERAGE_TIERS, 50_000.0, float("nan"))


def test_leverage_above_the_maximum_is_refused() -> None:
    with pytest.raises(InputError, match=r"leverage = 151.*at most 150"):
        rule_for(market("binance")).liquidation_price(LONG, 100.0, 1.0, 151)


def test_an_inverse_contract_where_none_is_known() -> None:
    """One odd market must not end a server: it is assumed, and says so."""
    rule = rule_for(market("hyperliquid", inverse=True, max_leverage=20))
    assert (rule.formula.name, rule.assumed) == ("I1", True)
    assert "inverse contracts not described" in rule.notes[0]


def test_a_market_without_leverage_gives_numbers_all_the_same() -> None:
    """At 1x a short of an inverse contract is never liquidated: far away, and no NaN in what is reported."""
    made = liquidation_multipliers(
        market("binance", inverse=True, max_leverage=1.0), LEVERAGE_TIERS, 50_000.0, 97_500.0
    )
    assert np.all(np.isinf(made.ratio[SHORT]))
    assert np.all(np.isfinite(made.error))
    assert np.all(np.isfinite(made.cross_width))


def test_an_unknown_venue_or_market_is_never_silent() -> None:
    rule = rule_for(market("elsewhere", max_leverage=50))
    assert rule.assumed
    assert "elsewhere" in rule.notes[0]
    assert rule.maintenance.terms(1.0, 2.0)[0] == 0.01
    unlisted = rule_for(market("okx", "NOSUCHCOIN"))
    assert unlisted.provenance.origin is Origin.STAND_IN
    assert unlisted.assumed
    assert any("not officially confirmed" in note for note in unlisted.notes)
    assert rule_for(market("aster")).assumed


def test_a_fee_the_formula_does_not_count_is_refused() -> None:
    with pytest.raises(InputError, match="fee_rate"):
        MarginRule(FORMULAS["L1"], flat_tiers([(0, 0.01, 50)]), fee_rate=0.0005)


def test_chunks_do_not_change_a_price() -> None:
    """Long arrays are solved in chunks; each price is that of its position alone."""
    rng = np.random.default_rng(11)
    rule, rows = rule_for(market("binance")), 20_000
    side, entry = rng.integers(0, 2, rows), rng.uniform(1e3, 1e5, rows)
    quantity, leverage = np.exp(rng.uniform(-7, 8, rows)), rng.uniform(1, 20, rows)
    together = rule.liquidation_price(side, entry, quantity, leverage)
    for row in range(0, rows, 997):
        alone = rule.liquidation_price(side[row], entry[row], quantity[row], leverage[row])
        assert float(alone) == together[row]
    assert np.array_equal(
        rule.liquidation_price(LONG, entry, 1.0, 10.0)[:5], rule.liquidation_price(LONG, entry[:5], 1.0, 10.0)
    )


def test_what_the_first_step_closes() -> None:
    """Hyperliquid: a fifth above 100 000 USD; OKX from tier 3 down by two tiers; others at once."""
    hyperliquid = rule_for(market("hyperliquid", max_leverage=40))
    assert first_step(hyperliquid, [0.5, 2.0], 100_000.0).tolist() == [1.0, 0.2]
    # OKX BTC-USDT-SWAP: 300 BTC are in tier 4 (200 to 400 BTC); tier 2 ends at 50 BTC.
    okx = rule_for(market("okx"))
    assert first_step(okx, [5.0, 40.0, 300.0], 100_000.0).tolist() == pytest.approx([1.0, 1.0, 250 / 300])
    assert first_step(rule_for(market("phemex")), 100.0, 100_000.0) == 1.0
    # dYdX: a tenth, but at least 1 000 USDC. HTX: 500 BTC at 125x go down to the 90 BTC of the second tier.
    dydx = rule_for(market("dydx"))
    assert first_step(dydx, [0.005, 0.05, 5.0], 100_000.0).tolist() == pytest.approx([1.0, 0.2, 0.1])
    htx = rule_for(market("htx"))
    assert first_step(htx, [500.0, 5.0, 500.0], 100_000.0, [125.0, 125.0, 10.0]).tolist() == pytest.approx(
        [410 / 500, 1.0, 1.0]
    )
    # On a venue that goes down by one tier, the lowest is closed at once.
    bybit = rule_for(market("bybit"))
    assert first_step(bybit, [1.0, 25.0], 100_000.0).tolist() == pytest.approx([1.0, 1 - 2.0 / 2.5])
    with pytest.raises(InputError, match="share_per_step"):
        LiquidationProcess(share_per_step=0.0)
    with pytest.raises(InputError, match="cooldown_s"):
        LiquidationProcess(cooldown_s=-1)


def test_a_ladder_by_quantity_takes_coins() -> None:
    table = flat_tiers([(0, 0.004, 100), (10, 0.005, 50)], TierMeasure.QUANTITY)
    rule = MarginRule(FORMULAS["L1"], table)
    assert rule.liquidation_price(LONG, 100.0, [10.0, 10.1], 10.0).tolist() == pytest.approx(
        [90 / (1 - 0.004), 90 / (1 - 0.005)]
    )
