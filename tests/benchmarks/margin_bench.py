"""Liquidation prices of a million positions, each with its maintenance tier found at its own liquidation price.

Two baselines, on fewer positions and taken per position: the scalar face of the same rule, and plain Python as trading
bots have it: a formula per position, repeated with the tier that holds the value at the last answer until it stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.margin.position import liquidation_of
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.margin.tiers import TierTable
from tests.unit.margin_markets import market

F64 = NDArray[np.float64]

POSITIONS = 1_000_000
SCALAR_POSITIONS = 3_000
PYTHON_POSITIONS = 30_000
RUNS = 9
#: one market per way of finding the maintenance
MARKETS = {
    "12 slices at the liquidation price": market("binance"),
    "99 jumps by quantity": market("okx"),
    "root of value, Newton": market("backpack"),
    "line in coin value, Newton": market("deribit", inverse=True),
    "rate by leverage": market("htx"),
    "one rate": market("dydx"),
}


def run(results: list[dict[str, Any]]) -> None:
    """Add the rows of this benchmark."""
    rng = np.random.default_rng(5)
    side = rng.integers(0, 2, POSITIONS)
    entry = rng.uniform(40_000, 120_000, POSITIONS)
    quantity = np.exp(rng.normal(0, 2, POSITIONS))
    leverage = rng.uniform(1.5, 20, POSITIONS)
    for kind, instrument in MARKETS.items():
        rule, venue = rule_for(instrument), instrument.venue
        wanted = quantity * entry if rule.formula.inverse else quantity
        fitting = np.minimum(wanted, rule.largest_quantity(leverage, entry) * (1 - 1e-9))
        seconds = _median(lambda r=rule, q=fitting: r.liquidation_price(side, entry, q, leverage))
        prices = rule.liquidation_price(side, entry, fitting, leverage)
        params = {"positions": POSITIONS, "venue": venue, "maintenance": kind}
        begin = time.perf_counter()
        for row in range(SCALAR_POSITIONS):
            found = liquidation_of(
                rule, side=int(side[row]), entry=float(entry[row]), quantity=float(fitting[row]),
                leverage=float(leverage[row]),
            )  # fmt: skip
            assert found.liquidation_price == prices[row]
        scalar = (time.perf_counter() - begin) / SCALAR_POSITIONS
        results.append(_row("liquidation prices, vectorised", params, seconds, scalar, "scalar face"))
        if venue == "binance":
            assert isinstance(rule.maintenance, TierTable)
            brackets = [(t.floor, t.rate, t.amount) for t in rule.maintenance.tiers]
            begin = time.perf_counter()
            rows = zip(side.tolist(), entry.tolist(), fitting.tolist(), leverage.tolist(), strict=True)
            plain = [_plain_price(brackets, *next(rows)) for _ in range(PYTHON_POSITIONS)]
            python = (time.perf_counter() - begin) / PYTHON_POSITIONS
            np.testing.assert_allclose(plain, prices[:PYTHON_POSITIONS], rtol=1e-12)
            results.append(_row("liquidation prices, vectorised", params, seconds, python, "plain Python per position"))


def _plain_price(
    brackets: list[tuple[float, float, float]], side: int, entry: float, quantity: float, leverage: float
) -> float:
    """One linear position, tier by iteration."""
    sign = 1 - 2 * side
    margin = entry * quantity / leverage
    price = entry
    for _ in range(len(brackets)):
        value = quantity * price
        _, rate, amount = next(bracket for bracket in reversed(brackets) if value > bracket[0])
        following = max((entry - sign * (margin + amount) / quantity) / (1 - sign * rate), 0.0)
        if math.isclose(following, price, rel_tol=1e-15):
            break
        price = following
    return price


def _median(work: Callable[[], F64]) -> float:
    work()
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def _row(name: str, params: dict[str, Any], seconds: float, per_position: float, baseline: str) -> dict[str, Any]:
    return {
        "name": name,
        "params": params,
        "median": seconds * 1e3,
        "unit": "ms",
        "baseline": baseline,
        "ratio": per_position * POSITIONS / seconds,
    }
