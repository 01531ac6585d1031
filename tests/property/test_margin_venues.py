"""What must hold for every venue's rule, at every size, leverage and price: all 22, linear and inverse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.position import Account, Liquidation, OtherPosition, Override, Status, liquidation_of
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.tiers import StatedMaintenance, TierTable
from tests.unit.margin_markets import every_market

RULES = {f"{i.venue} {i.base} {i.contract_type}": rule_for(i) for i in every_market(("BTC", "SOL"))}
NAMES = sorted(RULES)
#: each property runs for every venue, so that half the usual number is still thousands of positions
EXAMPLES = settings(max_examples=50)

sides = st.sampled_from([LONG, SHORT])
entries = st.floats(0.01, 2e5)
notionals = st.floats(10.0, 5e8)
shares = st.floats(0.0, 1.0)


def towards_loss(side: int) -> int:
    return -1 if side == LONG else 1


def quantity_of(rule: MarginRule, notional: float, entry: float) -> float:
    return notional if rule.formula.inverse else notional / entry


def leverage_of(rule: MarginRule, quantity: float, entry: float, share: float) -> float:
    """A leverage that the venue allows for the size: from 1 (share 0) to its greatest (share 1)."""
    ladder = np.geomspace(1.0, rule.leverage_limit, 200)
    allowed = ladder[rule.largest_quantity(ladder, entry) >= quantity]
    assume(len(allowed) > 0)
    return float(1.0 + (allowed.max() - 1.0) * share)


def solved(rule: MarginRule, **position: float) -> Liquidation:
    """The scalar answer; positions that the venue would not let exist are no examples."""
    try:
        return liquidation_of(rule, **position)  # type: ignore[arg-type]
    except InputError as error:
        assume("maintenance margin" not in str(error))
        raise


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, notional=notionals, share=shares)
def test_the_margin_equation_balances(name: str, side: int, entry: float, notional: float, share: float) -> None:
    """At the liquidation price equity is the requirement, by the ladder itself and not by the solved formula."""
    rule = RULES[name]
    quantity = quantity_of(rule, notional, entry)
    leverage = leverage_of(rule, quantity, entry, share)
    found = solved(rule, side=side, entry=entry, quantity=quantity, leverage=leverage)
    if found.liquidation_price is None:
        return
    price, formula = found.liquidation_price, rule.formula
    value, there = float(rule.value(quantity, entry)), float(rule.value(quantity, price))
    direction = (1 if side == LONG else -1) * (-1 if formula.inverse else 1)
    margin = value / leverage
    if formula.reserves_close_fee:  # the fee of closing at the bankruptcy price, where the margin is gone
        margin += rule.fee_rate * (value - direction * value / leverage)
    at_entry = formula.maintenance_on_entry or not rule.maintenance.moves_with_price
    rate, amount = rule.maintenance.terms(rule.size(quantity, entry if at_entry else price), leverage)
    base = value if formula.maintenance_on_entry else there
    requirement = float(rate) * base - float(amount) + rule.fee_rate * there
    assert margin + direction * (there - value) == pytest.approx(requirement, abs=1e-9 * (value + there))


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, notional=notionals, share=shares)
def test_a_price_lies_on_the_losing_side(name: str, side: int, entry: float, notional: float, share: float) -> None:
    """Below the entry for a long, above it for a short, and bankruptcy beyond; else the status says why not."""
    rule = RULES[name]
    quantity = quantity_of(rule, notional, entry)
    leverage = leverage_of(rule, quantity, entry, share)
    found = solved(rule, side=side, entry=entry, quantity=quantity, leverage=leverage)
    if found.status is Status.NEVER:
        assert found.liquidation_price is None
        assert leverage < 1.1  # only a margin of about the whole value covers every loss
        return
    assert found.status is Status.LIQUIDATABLE
    assert found.liquidation_price is not None
    way = towards_loss(side)
    assert way * (found.liquidation_price - entry) > 0
    if found.bankruptcy_price is not None:
        assert way * (found.bankruptcy_price - found.liquidation_price) >= -1e-9 * entry


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, notional=notionals)
def test_monotone_in_leverage_and_margin(name: str, side: int, entry: float, notional: float) -> None:
    """More leverage brings the level nearer, more margin takes it away; never the other way round."""
    rule = RULES[name]
    quantity = quantity_of(rule, notional, entry)
    top = leverage_of(rule, quantity, entry, 1.0)
    way = towards_loss(side)
    by_leverage = way * rule.liquidation_price(side, entry, quantity, np.linspace(1.0, top, 60))
    assert np.all(np.diff(by_leverage[np.isfinite(by_leverage)]) <= 1e-9 * entry)
    value = float(rule.value(quantity, entry))
    by_margin = way * rule.liquidation_price(side, entry, quantity, margin=value * np.linspace(0.001, 1.5, 60))
    assert np.all(np.diff(by_margin[np.isfinite(by_margin)]) >= -1e-9 * entry)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, leverage=st.floats(1.5, 40), low=st.floats(0, 0.02), more=st.floats(0, 0.02))
def test_monotone_in_maintenance(name: str, side: int, entry: float, leverage: float, low: float, more: float) -> None:
    rule = RULES[name]
    quantity, way = quantity_of(rule, 1_000.0, entry), towards_loss(side)
    prices = [
        float(replace(rule, maintenance=StatedMaintenance(rate)).liquidation_price(side, entry, quantity, leverage))
        for rate in (low, low + more)
    ]
    if all(np.isfinite(prices)):
        assert way * prices[1] <= way * prices[0] + 1e-9 * entry


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, leverage=st.floats(1.5, 125), notional=notionals)
def test_without_maintenance_and_fee_the_margin_is_lost(
    name: str, side: int, entry: float, leverage: float, notional: float
) -> None:
    """E (1 -/+ 1/L) on linear contracts; on inverse ones the reciprocal."""
    rule = RULES[name]
    assume(leverage <= rule.max_leverage)
    quantity = quantity_of(rule, notional, entry)
    found = liquidation_of(
        rule, side=side, entry=entry, quantity=quantity, leverage=leverage, override=Override(0.0, 0.0, 0.0)
    )
    sign = 1 if side == LONG else -1
    expected = entry / (1 + sign / leverage) if rule.formula.inverse else entry * (1 - sign / leverage)
    assert found.liquidation_price == pytest.approx(expected, rel=1e-12)
    assert found.bankruptcy_price == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, share=shares, tier=st.integers(1, 200))
def test_continuous_across_tiers_where_the_venue_deducts(
    name: str, side: int, entry: float, share: float, tier: int
) -> None:
    """A position just below a floor and one just above differ by nothing, or by the jump that flat ladders have."""
    rule = RULES[name]
    table = rule.maintenance
    if not isinstance(table, TierTable) or len(table.tiers) == 1:
        return
    floor = table.tiers[tier % (len(table.tiers) - 1) + 1]
    below, above = (float(rule.quantity_of_size(floor.floor * (1 + step), entry)) for step in (-1e-9, 1e-9))
    leverage = 1.0 + (min(floor.max_leverage, rule.leverage_limit) - 1.0) * share
    prices = [float(rule.liquidation_price(side, entry, quantity, leverage)) for quantity in (below, above)]
    if not all(np.isfinite(prices)) or min(prices) <= 0:
        return
    if table.cumulative:
        assert prices[0] == pytest.approx(prices[1], rel=1e-6)
        return
    jump = floor.rate - table.rates[table.index(floor.floor)]
    way = towards_loss(side)
    moved = way * (prices[0] - prices[1]) / entry
    assert moved >= -1e-6
    # No further than a change of the rate alone can move it: on inverse contracts, the more the higher the price.
    assert moved <= 4.0 * jump * max(1.0, max(prices) / entry) ** 2 + 1e-6


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(side=sides, entry=entries, sizes=st.lists(st.floats(10.0, 2e6), min_size=2, max_size=12), share=shares)
def test_arrays_and_single_positions_agree(
    name: str, side: int, entry: float, sizes: list[float], share: float
) -> None:
    """The vectorised face gives the price of the scalar one, to the bit."""
    rule = RULES[name]
    quantities = [quantity_of(rule, size, entry) for size in sizes]
    leverages = [leverage_of(rule, quantity, entry, share) for quantity in quantities]
    together = rule.liquidation_price(side, entry, np.array(quantities), np.array(leverages))
    for quantity, leverage, price in zip(quantities, leverages, together.tolist(), strict=True):
        found = solved(rule, side=side, entry=entry, quantity=quantity, leverage=leverage)
        never = 0.0 if side == LONG else np.inf
        assert (never if found.liquidation_price is None else found.liquidation_price) == price


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(
    side=sides,
    entry=entries,
    notional=notionals,
    wealth=st.floats(-3.0, 3.0),
    other=st.floats(-2.0, 2.0).filter(lambda share: abs(share) > 0.01),
    moved=st.floats(0.5, 1.5),
)
def test_a_cross_position_loses_what_its_account_has(
    name: str, side: int, entry: float, notional: float, wealth: float, other: float, moved: float
) -> None:
    """Equity of account and position is the requirement of both at the price; and no account is too poor to be seen."""
    rule = RULES[name]
    quantity = quantity_of(rule, notional, entry)
    value = float(rule.value(quantity, entry))
    assume(value > 1e-9)
    leg = OtherPosition(
        quantity_of(rule, other * notional, 100.0), 100.0, 100.0 * moved, 0.01, 0.0, rule.formula.inverse
    )
    account = Account(value * wealth, [leg])
    found = liquidation_of(rule, side=side, entry=entry, quantity=quantity, account=account)
    needed = float(rule.requirement(quantity, entry, min(found.leverage, rule.leverage_limit)))
    if account.available <= 0:
        assert found.status is Status.AT_ONCE
    if found.status is Status.AT_ONCE:
        assert found.liquidation_price == entry
        assert account.available <= (needed + rule.fee_rate * value) * (1 + 1e-6) + 1e-9 * value
    elif found.status is Status.LIQUIDATABLE:
        assert found.liquidation_price is not None
        there = float(rule.value(quantity, found.liquidation_price))
        direction = (1 if side == LONG else -1) * (-1 if rule.formula.inverse else 1)
        base = value if rule.formula.maintenance_on_entry else there
        requirement = found.maintenance_rate * base - found.maintenance_amount + rule.fee_rate * there
        assert account.available + direction * (there - value) == pytest.approx(requirement, abs=1e-9 * (value + there))
        if found.bankruptcy_price is not None:
            assert towards_loss(side) * (found.bankruptcy_price - found.liquidation_price) >= -1e-9 * entry
    else:
        assert account.available > 0.5 * value
