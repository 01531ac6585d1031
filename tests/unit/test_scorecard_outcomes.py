"""What happened in a window: extremes, open interest at both ends, liquidations, and why a window cannot be scored."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.frozen import Outcome
from forcedmove_server.scorecard.outcomes import Outcomes
from forcedmove_server.scorecard.rules import ScoringRules

S = 10**9
M = 60 * S
START = 1_700_006_400 * S  # a multiple of four hours
RULES = ScoringRules(horizons_ns=(5 * M, 15 * M), headline_horizon_ns=5 * M, least_volatility_cells=2)


@pytest.fixture
def outcomes() -> Outcomes:
    """One linear market of 10 USD bins, whose clock has started, at a price of 1000."""
    made = Outcomes(RULES)
    made.add_market(3, 10.0, inverse=False, liquidations_complete=True)
    made.prices([3], [START], [1000.0])
    made.interest([3], [START], [500.0])
    assert list(made.close(START)) == []
    return made


def minute_prices(outcomes: Outcomes, begin_ns: int, prices: list[float]) -> None:
    """One price a minute, the first a minute after ``begin_ns``."""
    times = begin_ns + M * (1 + np.arange(len(prices)))
    outcomes.prices(np.full(len(prices), 3), times, prices)


def due(outcomes: Outcomes, at_ns: int) -> dict[int, Outcome]:
    """What comes due, by horizon in minutes; every list holds the one market."""
    return {RULES.horizons_ns[index] // M: only for index, (only,) in outcomes.close(at_ns)}


def test_extremes_count_from_the_start_and_a_row_at_the_end_is_inside(outcomes: Outcomes) -> None:
    minute_prices(outcomes, START, [1010.0, 1030.0, 1005.0, 1010.0, 1020.0])
    outcomes.interest([3], [START + 5 * M], [450.0])
    found = due(outcomes, START + 5 * M)
    assert list(found) == [5]
    assert (found[5].low_usd, found[5].high_usd, found[5].mark_usd) == (1000.0, 1030.0, 1000.0)
    assert (found[5].open_interest, found[5].open_interest_end) == (500.0, 450.0)
    assert (found[5].at_ns, found[5].horizon_ns, found[5].unscored) == (START, 5 * M, None)


def test_longer_windows_gather_the_cells_of_shorter_ones(outcomes: Outcomes) -> None:
    for cell, prices in enumerate(([900.0] * 5, [1010.0] * 5, [1200.0, *[1000.0] * 4])):
        minute_prices(outcomes, START + cell * 5 * M, prices)
        found = due(outcomes, START + (cell + 1) * 5 * M)
    assert (found[15].low_usd, found[15].high_usd) == (900.0, 1200.0)
    assert (found[5].low_usd, found[5].high_usd) == (1000.0, 1200.0)


def test_liquidations_by_side_and_bin(outcomes: Outcomes) -> None:
    outcomes.liquidations([3, 3, 3], [START + M] * 3, [991.0, 999.0, 1011.0], [2.0, 1.0, 4.0], [0, 0, 1])
    minute_prices(outcomes, START, [1000.0] * 5)
    forced = due(outcomes, START + 5 * M)[5].liquidations
    assert forced is not None
    assert (forced.side.tolist(), forced.bin.tolist()) == ([0, 1], [99, 101])
    assert forced.quantity.tolist() == [3.0, 4.0]
    assert forced.usd.tolist() == [2 * 991.0 + 999.0, 4 * 1011.0]
    assert forced.usd_squared == pytest.approx([(2 * 991.0) ** 2 + 999.0**2, (4 * 1011.0) ** 2])
    assert forced.events.tolist() == [2.0, 1.0]
    # still there for the longer window, gone from the next short one
    for cell in (1, 2):
        minute_prices(outcomes, START + cell * 5 * M, [1000.0] * 5)
        found = due(outcomes, START + (cell + 1) * 5 * M)
    assert found[5].liquidations is not None
    assert len(found[5].liquidations.bin) == 0
    assert found[15].liquidations is not None
    assert found[15].liquidations.quantity.tolist() == [3.0, 4.0]


def test_an_inverse_market_counts_in_usd() -> None:
    outcomes = Outcomes(RULES)
    outcomes.add_market(0, 10.0, inverse=True, liquidations_complete=False)
    outcomes.prices([0], [START], [1000.0])
    list(outcomes.close(START))
    outcomes.liquidations([0], [START + M], [990.0], [700.0], [0])
    outcomes.prices([0] * 5, START + M * np.arange(1, 6), [1000.0] * 5)
    ((_, (only,)),) = outcomes.close(START + 5 * M)
    assert only.liquidations is not None
    assert (only.liquidations.usd.tolist(), only.liquidations_complete) == ([700.0], False)


def test_no_feed_is_not_no_liquidation(outcomes: Outcomes) -> None:
    outcomes.add_market(3, 10.0, inverse=False, liquidations_complete=None)
    minute_prices(outcomes, START, [1000.0] * 5)
    found = due(outcomes, START + 5 * M)[5]
    assert (found.liquidations, found.liquidations_complete) == (None, None)


def test_a_loss_makes_open_windows_incomplete_and_no_later_one(outcomes: Outcomes) -> None:
    minute_prices(outcomes, START, [1000.0] * 5)
    outcomes.lost_liquidations([3])
    assert due(outcomes, START + 5 * M)[5].liquidations_complete is False
    for cell in (1, 2):
        minute_prices(outcomes, START + cell * 5 * M, [1000.0] * 5)
        found = due(outcomes, START + (cell + 1) * 5 * M)
    assert found[5].liquidations_complete is True
    assert found[15].liquidations_complete is False


def test_silence_cannot_be_scored(outcomes: Outcomes) -> None:
    minute_prices(outcomes, START, [1000.0])
    assert due(outcomes, START + 5 * M)[5].unscored is None  # one price per step will do
    assert due(outcomes, START + 10 * M)[5].unscored == "prices missing"
    minute_prices(outcomes, START + 10 * M, [1000.0] * 5)
    found = due(outcomes, START + 15 * M)
    assert found[5].unscored == "prices missing"  # the first price came after more than a step
    assert found[15].unscored == "prices missing"
    minute_prices(outcomes, START + 15 * M, [1000.0] * 5)
    assert due(outcomes, START + 20 * M)[5].unscored is None


def test_stale_open_interest_is_none(outcomes: Outcomes) -> None:
    outcomes.interest([3], [START + 5 * M - 80 * S], [450.0])  # a quarter of 5 minutes are 75 s
    minute_prices(outcomes, START, [1000.0] * 5)
    found = due(outcomes, START + 5 * M)[5]
    assert (found.open_interest, found.open_interest_end) == (500.0, None)


def test_change_of_open_interest_before_is_that_of_the_window_before(outcomes: Outcomes) -> None:
    for cell, interest in enumerate((600.0, 300.0)):
        minute_prices(outcomes, START + cell * 5 * M, [1000.0] * 5)
        outcomes.interest([3], [START + (cell + 1) * 5 * M], [interest])
        found = due(outcomes, START + (cell + 1) * 5 * M)[5]
    assert found.interest_change_before == pytest.approx(math.log(600 / 500))
    assert found.open_interest == 600.0


def test_volatility_is_measured_before_and_needs_history(outcomes: Outcomes) -> None:
    seen = []
    for cell, price in enumerate((1010.0, 1000.0, 1010.0, 1500.0)):
        minute_prices(outcomes, START + cell * 5 * M, [price] * 5)
        seen.append(due(outcomes, START + (cell + 1) * 5 * M)[5].volatility)
    expected = math.log(1.01) / math.sqrt(300)
    assert seen == [
        None,
        None,
        pytest.approx(expected),
        pytest.approx(expected),
    ]  # the jump is not in its own yardstick


def test_jumped_grid_times_drop_windows(outcomes: Outcomes) -> None:
    minute_prices(outcomes, START, [1000.0] * 5)
    assert list(outcomes.close(START + 15 * M)) == []
    minute_prices(outcomes, START + 15 * M, [1000.0] * 5)
    assert list(due(outcomes, START + 20 * M)) == [5]


def test_rows_out_of_place_are_counted_or_refused(outcomes: Outcomes) -> None:
    outcomes.prices([3, 3, 3, 99], [START, START + M, START + M, START + M], [1.0, np.nan, -4.0, 7.0])
    outcomes.prices([3], [START + M], [1e12])
    outcomes.interest([3], [START - M], [5.0])
    assert (outcomes.late, outcomes.unusable) == (2, 4)
    with pytest.raises(InputError, match="close that first"):
        outcomes.prices([3], [START + 6 * M], [1.0])
    with pytest.raises(InputError, match="at_ns"):
        outcomes.close(START + 7 * M)
    with pytest.raises(InputError, match="at_ns"):
        outcomes.close(START)


def test_rows_of_one_call_may_come_in_any_order_of_markets(outcomes: Outcomes) -> None:
    outcomes.add_market(40, 1.0, inverse=False, liquidations_complete=None)  # beyond the room there is
    outcomes.prices([40, 3, 40, 3], START + S * np.array([200, 100, 90, 290]), [50.0, 1001.0, 60.0, 1002.0])
    outcomes.prices([40], [START + 290 * S], [55.0])
    found = {o.market: o for _, several in outcomes.close(START + 5 * M) for o in several}
    assert (found[3].low_usd, found[3].high_usd) == (1000.0, 1002.0)
    assert found[40].unscored == "no price at the start"


def test_rules_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="horizons_ns"):
        ScoringRules(horizons_ns=(7 * M,))
    with pytest.raises(InputError, match="headline"):
        ScoringRules(horizons_ns=(5 * M,))
    with pytest.raises(InputError, match="bits_floor"):
        ScoringRules(bits_floor=0.0)
