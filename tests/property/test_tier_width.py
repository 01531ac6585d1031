"""A leverage tier covers its interval: entries in neighbouring bins put it at leverages far apart, never outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.arrays import (
    UNWEIGHTED,
    Cohorts,
    Rules,
    Window,
    check_rules,
    empty_cohorts,
    empty_standing,
)
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import (
    LONG,
    MAX_MULTIPLIER,
    MULTIPLIER_BITS,
    PHASES,
    PRICE_BITS,
    SHORT,
    multipliers,
)
from forcedmove_server.engine.rules import LEVERAGES, empty_rules, phase_leverages, set_rules
from forcedmove_server.margin.multipliers import (
    Multipliers,
    liquidation_multipliers,
    max_leverage,
    offered_tiers,
    tier_intervals,
)
from tests.unit.margin_markets import every_market, market

F64 = NDArray[np.float64]

TYPICAL_USD, PRICE_USD, LOTS = 20_000.0, 97_500.0, 1_000_000
MARKETS = {
    "linear": market("binance", max_leverage=125),
    "inverse": market("bybit", inverse=True, max_leverage=100),
    "few tiers": market("hyperliquid", max_leverage=40),
}
NAMES = st.sampled_from(sorted(MARKETS))
EXAMPLES = settings(max_examples=30)


def tables(name: str, width: float) -> tuple[Rules, Multipliers]:
    """The rules of a market of this test and the constants of its tiers' own leverages."""
    rules = empty_rules(1)
    return rules, set_rules(rules, 0, MARKETS[name], TYPICAL_USD, width, PRICE_USD)


def ratios_at(name: str, leverages: F64) -> F64:
    """Liquidation price over entry at ascending leverages, float64 ``[2, n]``."""
    return liquidation_multipliers(MARKETS[name], leverages, TYPICAL_USD, PRICE_USD).ratio


def interval(name: str, made: Multipliers, tier: int, width: float) -> tuple[float, float]:
    offered = offered_tiers(MARKETS[name], made.rule)
    low, high = tier_intervals(LEVERAGES[:offered], max_leverage(MARKETS[name], made.rule), width)
    return float(low[tier]), float(high[tier])


def neighbours(first_bin: int, within: int, live: int) -> Cohorts:
    """One cohort in each of as many neighbouring entry bins as there are phases, ``live`` tiers alive."""
    cohorts = empty_cohorts(PHASES, 1)
    cohorts.used[0] = PHASES
    cohorts.entry[:] = (first_bin + np.arange(PHASES) << PRICE_BITS) + within
    cohorts.lots[:] = LOTS
    cohorts.live_tiers[:] = live
    return cohorts


@EXAMPLES
@given(
    name=NAMES,
    first_bin=st.integers(900, 5000),
    within=st.integers(0, (1 << PRICE_BITS) - 1),
    width=st.sampled_from([1.0, 0.5, 0.1]),
    pick=st.integers(0, 12),
)
def test_neighbouring_entries_share_out_the_interval_of_a_tier(
    backend: Backend, name: str, first_bin: int, within: int, width: float, pick: int
) -> None:
    """Of eight neighbours each has the level of another eighth of the interval, and next ones are far apart in it."""
    rules, made = tables(name, width)
    tier = pick % int(rules.tiers[0])
    cohorts, window = neighbours(first_bin, within, tier + 1), Window(np.zeros(1, np.uint32), 64)
    standing = empty_standing(cohorts, 64)
    backend.rebuild(cohorts, rules, window, UNWEIGHTED, standing, np.arange(2, dtype=np.int32))
    low, high = interval(name, made, tier, width)
    edges = ratios_at(name, np.minimum(low * (high / low) ** (np.arange(PHASES + 1) / PHASES), high))
    for side, rising in ((LONG, 1), (SHORT, -1)):
        level = rising * (standing.trigger[side] / cohorts.entry)  # of the highest live tier; rises with leverage
        order = np.argsort(level)
        rounding = 1 / cohorts.entry[order] + 2.0**-MULTIPLIER_BITS
        assert np.all(rising * edges[side, :-1] - rounding <= level[order])
        assert np.all(level[order] <= rising * edges[side, 1:] + rounding)
        place = np.argsort(order)
        assert np.all(np.abs(np.diff(place)) >= PHASES // 4)


@EXAMPLES
@given(name=NAMES, first_bin=st.integers(900, 5000), within=st.integers(0, (1 << PRICE_BITS) - 1))
def test_cells_of_a_tier_lie_in_its_interval_and_hold_every_lot(
    backend: Backend, name: str, first_bin: int, within: int
) -> None:
    rules, made = tables(name, 1.0)
    offered = int(rules.tiers[0])
    cohorts = neighbours(first_bin, within, offered)
    window = Window(np.zeros(1, np.uint32), 6 * first_bin)
    grid = backend.leverage_grid(cohorts, rules, window, UNWEIGHTED, np.zeros(1, np.int32))[0]
    assert grid[:, offered:].sum() == 0
    assert grid.sum((1, 2)).tolist() == [PHASES * LOTS] * 2
    entry = cohorts.entry[[0, -1]] / (1 << PRICE_BITS)
    for tier in range(offered):
        ends = np.minimum(ratios_at(name, np.array(interval(name, made, tier, 1.0))), MAX_MULTIPLIER)
        for side in (0, 1):
            bins = np.flatnonzero(grid[side, tier]) - 1
            assert bins[0] >= int(ends[side].min() * entry[0]) - 1
            assert bins[-1] <= int(ends[side].max() * entry[1]) + 1
            if tier == 0:
                assert len(bins) == PHASES, "of the widest tier every phase has a bin of its own"


@pytest.mark.parametrize("instrument", every_market(), ids=lambda i: f"{i.key} {i.contract_type}")
def test_without_width_every_phase_has_the_tiers_own_leverage(instrument) -> None:  # type: ignore[no-untyped-def]
    rules = empty_rules(1)
    made = set_rules(rules, 0, instrument, TYPICAL_USD, 0.0, PRICE_USD)
    exact = liquidation_multipliers(instrument, LEVERAGES, TYPICAL_USD, PRICE_USD)
    own = multipliers(exact.ratio)
    for phase in range(PHASES):
        np.testing.assert_array_equal(rules.multiplier[0, :, phase], own)
    np.testing.assert_array_equal(made.ratio, np.minimum(exact.ratio, MAX_MULTIPLIER))
    np.testing.assert_array_equal(made.error, exact.error + np.abs(own / 2.0**MULTIPLIER_BITS - made.ratio))


@pytest.mark.parametrize("instrument", every_market(), ids=lambda i: f"{i.key} {i.contract_type}")
def test_no_level_is_beyond_the_greatest_leverage_and_errors_hold_for_all(instrument) -> None:  # type: ignore[no-untyped-def]
    """Intervals meet, and what is told of a tier's error covers its phases; its ratio is that of its own leverage."""
    rules = empty_rules(1)
    made = set_rules(rules, 0, instrument, TYPICAL_USD, 1.0, PRICE_USD)
    offered, highest = int(rules.tiers[0]), max_leverage(instrument, made.rule)
    low, high = tier_intervals(LEVERAGES[:offered], highest, 1.0)
    np.testing.assert_allclose(low[1:], high[:-1], rtol=1e-14)
    leverages = phase_leverages(LEVERAGES[:offered], highest, 1.0)
    assert np.all((low <= leverages) & (leverages <= high) & (leverages <= highest))
    assert np.all(np.diff(leverages, axis=1) > 0)
    exact = liquidation_multipliers(instrument, LEVERAGES, TYPICAL_USD, PRICE_USD)
    np.testing.assert_array_equal(made.ratio, np.minimum(exact.ratio, MAX_MULTIPLIER))
    for phase in range(PHASES):
        spread = liquidation_multipliers(instrument, leverages[phase], TYPICAL_USD, PRICE_USD)
        table = rules.multiplier[0, :, phase, :offered] / 2.0**MULTIPLIER_BITS
        within = np.abs(table - np.minimum(spread.ratio, MAX_MULTIPLIER)) + spread.error
        assert np.all(within <= made.error[:, :offered] + 1e-12)
        assert np.all(rules.multiplier[0, :, phase, offered:] == rules.multiplier[0, :, phase, offered - 1 : offered])


@pytest.mark.parametrize("highest", [1.0, 1.1, 1.25, 1.9, 2.0, 3.0])
def test_markets_of_little_leverage_keep_within_it(highest: float) -> None:
    offered = max(1, int(np.count_nonzero(highest >= LEVERAGES)))
    for width in (0.0, 0.5, 1.0):
        leverages = phase_leverages(LEVERAGES[:offered], highest, width)
        assert np.all((leverages >= min(highest, 1.25)) & (leverages <= highest))


def test_every_phase_is_checked() -> None:
    """One phase out of order, or too few phases, is an error that names the field."""
    rules, _ = tables("linear", 1.0)
    for side, way in ((0, "fall"), (1, "rise")):
        wrong = rules.multiplier.copy()
        wrong[0, side, PHASES - 1, :2] = wrong[0, side, PHASES - 1, 1::-1]
        with pytest.raises(ValueError, match=f"multiplier: must not {way}"):
            check_rules(rules._replace(multiplier=wrong))
    with pytest.raises(ValueError, match="do not fit"):
        check_rules(rules._replace(multiplier=rules.multiplier[:, :, 1:]))
