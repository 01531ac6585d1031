"""The two equations against figures that venues published, and against the trigger condition itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import (
    FORMULAS,
    LONG,
    SHORT,
    bankruptcy_price,
    liquidation_price,
    locked_margin,
)

# (formula, side, entry, quantity, leverage, margin, rate, amount, fee, expected, relative tolerance)
OFFICIAL = {
    "phemex help liq-price-for-USDTM": ("L3", LONG, 0.4, 500, 5, None, 0.01, 0, 0.0006, 0.3232, 2e-4),
    "mexc blog liquidation-in-futures-2": ("L4", LONG, 50_000, 0.1, 25, None, 0.004, 0, 0, 48_200, 1e-12),
    "bybit help 900000181046, legacy, long": ("L4", LONG, 10_000, 1, 50, None, 0.005, 0, 0, 9_850, 1e-12),
    "bybit help 900000181046, legacy, short": ("L4", SHORT, 8_000, 1, 40, None, 0.005, 0, 0, 8_160, 1e-12),
    "kucoin support 4408061803033, legacy": ("L4", SHORT, 28_000, 0.005, 100, None, 0.004, 0, 0, 28_168, 1e-12),
    "kraken 360022835671, inverse": ("I1", LONG, 8_000, 1_000, None, 0.01, 0.01, 0, 0, 7_481, 1e-4),
    "hyperliquid, a real ETH short": (
        "L1", SHORT, 2642.8, 0.019, None, 25.091876, 0.01, 0, 0, 3924.18322043, 1e-9,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL)
def test_published_figures(name: str) -> None:
    formula, side, entry, quantity, leverage, margin, rate, amount, fee, expected, tolerance = OFFICIAL[name]
    price = liquidation_price(
        FORMULAS[formula],
        side=side,
        entry=entry,
        quantity=quantity,
        leverage=leverage,
        margin=margin,
        maintenance_rate=rate,
        maintenance_amount=amount,
        fee_rate=fee,
    )
    assert float(price) == pytest.approx(expected, rel=tolerance)


def test_bankruptcy_is_exact() -> None:
    assert float(bankruptcy_price(FORMULAS["L1"], side=LONG, entry=98_000, leverage=50)) == 96_040.0
    assert float(liquidation_price(FORMULAS["L1"], side=LONG, entry=98_000, leverage=50, quantity=0.37)) == 96_040.0
    kraken = bankruptcy_price(FORMULAS["I1"], side=LONG, entry=8_000, quantity=1_000, margin=0.01)
    assert float(kraken) == pytest.approx(7407.407407, rel=1e-9)


def test_close_fee_reserve_leaves_bankruptcy_where_it_was() -> None:
    """L3 locks exactly the fee that closing at the bankruptcy price costs."""
    for side in (LONG, SHORT):
        with_fee = bankruptcy_price(FORMULAS["L3"], side=side, entry=2_000, leverage=8, close_fee_rate=0.0006)
        without = bankruptcy_price(FORMULAS["L1"], side=side, entry=2_000, leverage=8)
        assert float(with_fee) == pytest.approx(float(without), rel=1e-12)


def test_never_reached() -> None:
    assert float(liquidation_price(FORMULAS["L1"], side=LONG, entry=10, leverage=1, maintenance_rate=0.01)) == 0.0
    assert float(liquidation_price(FORMULAS["I1"], side=SHORT, entry=10, leverage=1)) == np.inf


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entry", float("nan")),
        ("entry", -1.0),
        ("entry", 0.0),
        ("quantity", 0.0),
        ("leverage", 0.5),
        ("leverage", float("inf")),
        ("maintenance_rate", -0.01),
        ("maintenance_amount", -1.0),
        ("fee_rate", float("nan")),
        ("side", 2),
    ],
)
def test_bad_values_are_named(field: str, value: float) -> None:
    good: dict[str, float] = {"side": LONG, "entry": 100.0, "leverage": 10.0, "maintenance_rate": 0.01}
    with pytest.raises(InputError, match=field) as caught:
        liquidation_price(FORMULAS["L1"], **(good | {field: value}))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_bad_element_of_an_array_is_named() -> None:
    with pytest.raises(InputError, match=r"entry = -3\.0"):
        liquidation_price(FORMULAS["L1"], side=LONG, entry=[1.0, 2.0, -3.0], leverage=10)


def test_leverage_and_margin_exclude_each_other() -> None:
    for given_ in ({}, {"leverage": 5.0, "margin": 1.0}):
        with pytest.raises(InputError, match="either leverage or margin"):
            liquidation_price(FORMULAS["L1"], side=LONG, entry=100.0, **given_)


positions = {
    "formula": st.sampled_from(sorted(FORMULAS)),
    "side": st.sampled_from([LONG, SHORT]),
    "entry": st.floats(1e-6, 1e6),
    "quantity": st.floats(1e-3, 1e6),
    "leverage": st.floats(1.5, 125),
    "rate": st.floats(0, 0.2),
    "fee": st.floats(0, 0.002),
    "share": st.floats(0, 0.9),
}


@given(**positions)
def test_equity_equals_requirement_at_the_liquidation_price(
    formula: str, side: int, entry: float, quantity: float, leverage: float, rate: float, fee: float, share: float
) -> None:
    """The price is right when the venue's own trigger holds there with equality."""
    rule = FORMULAS[formula]
    fee = fee if rule.counts_fee else 0.0
    sign = 1 - 2 * side
    value = quantity / entry if rule.inverse else quantity * entry
    amount = share * rate * value
    price = float(
        liquidation_price(
            rule, side=side, entry=entry, quantity=quantity, leverage=leverage, maintenance_rate=rate,
            maintenance_amount=amount, fee_rate=fee,
        )
    )  # fmt: skip
    if price == 0.0 or price == np.inf:
        return
    margin = float(locked_margin(rule, side, entry, quantity, leverage, fee))
    value_there = quantity / price if rule.inverse else quantity * price
    profit = sign * (value - value_there if rule.inverse else value_there - value)
    requirement = rate * (value if rule.maintenance_on_entry else value_there) + fee * value_there - amount
    assert margin + profit == pytest.approx(requirement, abs=1e-9 * (value + value_there))


@given(**positions)
def test_higher_leverage_is_liquidated_first(
    formula: str, side: int, entry: float, quantity: float, leverage: float, rate: float, fee: float, share: float
) -> None:
    rule = FORMULAS[formula]
    prices = liquidation_price(
        rule, side=side, entry=entry, quantity=quantity, leverage=np.linspace(leverage, leverage + 50, 20),
        maintenance_rate=rate, fee_rate=fee if rule.counts_fee else 0.0,
    )  # fmt: skip
    towards_entry = prices if side == LONG else -prices
    finite = towards_entry[np.isfinite(towards_entry)]
    assert np.all(np.diff(finite) >= 0)


@given(entry=st.floats(1e-6, 1e6), leverage=st.floats(1, 200))
def test_without_maintenance_and_fee_a_linear_position_loses_its_margin(entry: float, leverage: float) -> None:
    long = float(liquidation_price(FORMULAS["L1"], side=LONG, entry=entry, leverage=leverage))
    short = float(liquidation_price(FORMULAS["L1"], side=SHORT, entry=entry, leverage=leverage))
    assert long == pytest.approx(entry * (1 - 1 / leverage), rel=1e-12, abs=1e-9 * entry)
    assert short == pytest.approx(entry * (1 + 1 / leverage), rel=1e-12)


def test_scalars_and_arrays_agree() -> None:
    entries = np.array([10.0, 20.0, 30.0])
    together = liquidation_price(FORMULAS["I2"], side=SHORT, entry=entries, leverage=7, fee_rate=0.0005)
    alone = [
        float(liquidation_price(FORMULAS["I2"], side=SHORT, entry=e, leverage=7, fee_rate=0.0005)) for e in entries
    ]
    assert together.tolist() == alone
