"""What is left of an impact after a while, on tapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.engine.cascade.response import (
    LAGS,
    STEP_S,
    Grid,
    bursts,
    fit_recovery,
    on_grid,
    propagator,
)
from forcedmove_server.market.events import TRADE, Records

HOUR_STEPS = 3600 // STEP_S


def tape(stays: float, recovery_s: float, persistence: float = 0.0, hours: int = 200) -> Grid:
    """Flow whose square root moves the price, a part for good; steps follow each other with ``persistence``."""
    rng = np.random.default_rng(5)
    steps = hours * HOUR_STEPS
    root = rng.standard_normal(steps)
    for k in range(1, steps):
        root[k] += persistence * root[k - 1]
    keep, transient, price = np.exp(-STEP_S / recovery_s), 0.0, np.zeros(steps)
    for k, push in enumerate(root.tolist()):
        transient = transient * keep + (1 - stays) * push
        price[k] = transient
    price += stays * np.cumsum(root) + 0.3 * np.cumsum(rng.standard_normal(steps))
    return Grid(np.sign(root) * root**2 * 1e6, price * 1e-4, np.arange(steps) // HOUR_STEPS)


@pytest.mark.parametrize(("stays", "recovery_s"), [(0.6, 60.0), (0.3, 200.0), (0.9, 60.0)])
def test_what_stays_and_how_fast_the_rest_goes_are_found(stays: float, recovery_s: float) -> None:
    found, time_s = fit_recovery(propagator(tape(stays, recovery_s)).kept())
    assert found == pytest.approx(stays, abs=0.06)
    if stays < 0.9:
        assert time_s == pytest.approx(recovery_s, rel=0.35)


def test_flow_that_goes_on_hides_in_the_response_what_the_propagator_shows() -> None:
    grid = tape(0.5, 60.0, persistence=0.8)
    response = bursts(grid, (60, 300)).response()
    assert (response > 1.0).all()
    kept = propagator(grid).kept()
    assert kept[LAGS.index(30)] == pytest.approx(0.5, abs=0.07)


def test_nothing_recovers_where_all_of_it_stays() -> None:
    grid = tape(1.0, 60.0)
    np.testing.assert_allclose(propagator(grid).kept(), 1.0, atol=0.1)
    found = bursts(grid, (10, 300))
    assert found.response()[0] == pytest.approx(1.0, abs=0.05)
    weights = np.zeros(len(found.at_once))
    weights[0] = 1.0
    np.testing.assert_allclose(found.response(weights), found.later[0] / found.at_once[0])


def trades(rows: list[tuple[float, float, float, int]]) -> Records:
    made = np.zeros(len(rows), TRADE)
    time, price, quantity, aggressor = (np.array(column) for column in zip(*rows, strict=True))
    made["time_ns"] = (time * 1e9).astype(np.int64)
    made["price"], made["quantity"], made["aggressor"] = price, quantity, aggressor
    return made


def test_a_price_is_the_mean_of_both_sides_and_ends_when_nobody_trades() -> None:
    rows = [(1.0, 100.0, 2.0, 1), (2.0, 98.0, 1.0, -1), (15.0, 102.0, 1.0, 1), (405.0, 90.0, 1.0, -1)]
    for order in (rows, rows[::-1]):
        grid = on_grid(trades(order))
        assert len(grid.flow_usd) == 41
        np.testing.assert_allclose(grid.flow_usd[[0, 1, 2, 40]], [102.0, 102.0, 0.0, -90.0])
        np.testing.assert_allclose(grid.log_price[:2], np.log([100.0 * 98.0, 102.0 * 98.0]) / 2)
        assert np.isfinite(grid.log_price[12])
        assert np.isnan(grid.log_price[14])
        assert np.isnan(grid.log_price[40]), "one side alone is no price"


def test_bursts_whose_price_is_not_known_later_are_left_out() -> None:
    grid = tape(0.5, 60.0, hours=20)
    whole = bursts(grid, (600,))
    grid.log_price[: 10 * HOUR_STEPS] = np.nan
    half = bursts(grid, (600,))
    assert 0 < len(half.at_once) < len(whole.at_once)
    assert half.hour.min() >= 10
