"""Accounts known by their fills: equity needs no entry prices, and liquidation is where equity meets maintenance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.traded_account import TradedAccount
from forcedmove_server.market.instruments import Instrument

RULES = {
    coin: rule_for(Instrument("hyperliquid", coin, coin, "USDC", max_leverage=50.0)) for coin in ("BTC", "ETH", "SOL")
}


def test_equity_is_what_was_paid_in_and_gained() -> None:
    account = TradedAccount()
    account.transfer(1_000.0)
    account.fill("ETH", 2.0, 1_500.0)
    account.fill("ETH", -1.0, 1_600.0)
    account.fill("BTC", -0.1, 20_000.0)
    marks = {"ETH": 1_550.0, "BTC": 21_000.0}
    assert account.equity(marks) == pytest.approx(1_000 + 100 + 50 - 100)
    assert account.notional(marks) == pytest.approx(1_550 + 2_100)
    account.fill("ETH", -1.0, 1_550.0)
    assert set(account.quantity) == {"BTC"}


def test_rounding_of_fills_leaves_no_position() -> None:
    account = TradedAccount()
    for _ in range(3):
        account.fill("ETH", 0.1, 1_500.0)
    account.fill("ETH", -0.3, 1_500.0)
    assert account.quantity == {}


@pytest.mark.parametrize("seed", range(5))
def test_at_the_liquidation_price_equity_is_the_requirement(seed: int) -> None:
    rng, account = np.random.default_rng(seed), TradedAccount()
    marks = {"BTC": 20_000.0, "ETH": 1_500.0, "SOL": 20.0}
    for coin, mark in marks.items():
        account.fill(coin, float(rng.choice([-1, 1]) * rng.uniform(500, 3_000) / mark), mark)
    account.transfer(float(account.notional(marks) * rng.uniform(0.05, 0.3)))
    for coin in marks:
        price = account.liquidation_price(coin, marks, RULES)
        if not 0 < price < math.inf:
            continue
        there = {**marks, coin: price}
        assert account.equity(there) == pytest.approx(account.requirement(there, RULES), rel=1e-9)
        assert (price < marks[coin]) == (account.quantity[coin] > 0)


def test_a_position_that_is_covered_is_never_liquidated() -> None:
    account = TradedAccount()
    account.transfer(10_000.0)
    account.fill("ETH", 1.0, 1_500.0)
    assert account.liquidation_price("ETH", {"ETH": 1_500.0}, RULES) == 0.0
    with pytest.raises(KeyError):
        account.liquidation_price("BTC", {"ETH": 1_500.0}, RULES)
