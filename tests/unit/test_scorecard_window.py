"""One window of one market, scored by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forcedmove_server.scorecard.distance import DistancePrior, flattened
from forcedmove_server.scorecard.frozen import FrozenMap, KnownPositions, Liquidations, Outcome
from forcedmove_server.scorecard.measures.bits import log_gain
from forcedmove_server.scorecard.measures.capture import floored_mass
from forcedmove_server.scorecard.placement import common_column, map_column
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.scoring import Frozen, Scores, score_window

S = 10**9
HOUR = 3600 * S
DAY = 24 * HOUR
AT = 19_700 * DAY + 5 * HOUR
RULES = ScoringRules()
#: bins 1800 to 2199 of 10 USD, the mark in bin 2000
LEVELS = np.random.default_rng(0).lognormal(0, 1, (2, 400))
MAPS = {
    "ours": FrozenMap("ours", 7, AT, 20_000.0, 10.0, 1800, LEVELS, 500.0),
    "naive": FrozenMap("naive", 7, AT, 20_000.0, 10.0, 1800, LEVELS[::-1].copy(), 500.0),
}
PRIOR = DistancePrior(np.array([0.0, 0.1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
#: longs of bins 1998 and 1990: two events of 3 units, one of 1
FORCED = Liquidations(
    np.array([0, 0]),
    np.array([1998, 1990]),
    np.array([6.0, 1.0]),
    np.array([6 * 19_985.0, 19_905.0]),
    np.array([2 * (3 * 19_985.0) ** 2, 19_905.0**2]),
    np.array([2.0, 1.0]),
)
#: down to bin 1981: 20 touched bins
FALL = Outcome(
    7, AT, HOUR, 20_000.0, 19_815.0, 20_005.0, 400.0, 360.0, FORCED, True, 0.006 / 60, 0.02
)  # fmt: skip
KNOWN = KnownPositions(
    np.array([0, 0, 1, 0, 0]),
    np.array([19_985.0, 19_905.0, 20_004.0, 19_700.0, np.nan]),
    np.array([100.0, 300.0, 50.0, 10.0, 10.0]),
    np.array([5, 9, 5, 5, 5]),
)


def scored(outcome: Outcome, known: KnownPositions | None = None, inverse: bool = False) -> Scores:
    scores = Scores(3)
    score_window(scores, Frozen.of(MAPS, ("ours", "naive"), known), outcome, 3, PRIOR, inverse, RULES)
    return scores


def test_a_fall_is_a_move_on_the_longs_over_reported_open_interest() -> None:
    (move,) = scored(FALL).move_rows()
    # open interest counted, not the map's own 500
    expected = [LEVELS[side, 181:201].sum() / 400 for side in (0, 1)]
    assert move["crossed"][:2] == pytest.approx(expected, rel=1e-6)
    # the prior's 400 units are even over 10 % of log distance
    assert move["crossed"][2] == pytest.approx(np.log(20_000 / 19_810) / 0.1)
    assert (move["side"], move["market"], move["at_ns"]) == (0, 3, AT)
    assert move["released"] == pytest.approx(0.1)
    assert move["size"] == pytest.approx(np.log(20_000 / 19_815))
    assert move["volatility"] == pytest.approx(0.006)
    assert move["interest_change_before"] == 0.02


def test_a_rise_is_a_move_on_the_shorts() -> None:
    (move,) = scored(replace(FALL, low_usd=19_995.0, high_usd=20_195.0)).move_rows()
    assert move["side"] == 1
    assert move["crossed"][0] == pytest.approx(LEVELS[1, 200:220].sum() / 400, rel=1e-6)


def test_what_is_too_small_for_its_own_volatility_is_no_move() -> None:
    least = np.log(20_000 / 19_815) / RULES.move_threshold / 60
    assert len(scored(replace(FALL, volatility=least * 1.001)).moves) == 0
    assert len(scored(replace(FALL, volatility=least * 0.999)).moves) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"open_interest_end": None}, "open interest missing or stale"),
        ({"volatility": None}, "no history of price or open interest yet"),
        ({"interest_change_before": None}, "no history of price or open interest yet"),
        ({"low_usd": 17_000.0}, "move left the map's window"),
        ({"unscored": "prices missing"}, "prices missing"),
    ],
)
def test_why_a_window_is_no_move(change: dict[str, object], reason: str) -> None:
    scores = scored(replace(FALL, **change))  # type: ignore[arg-type]
    assert scores.moves == []
    assert scores.unscored[reason] == 1


def test_liquidations_are_placed_on_touched_bins_by_hand() -> None:
    keys, rows = scored(FALL).liquidations()
    assert keys.tolist() == [[AT // DAY, 3, 0, 1]]  # no short side: the rise touched one bin only
    profile, prior = MAPS["ours"].profile(0)[:20], PRIOR.profile(MAPS["ours"].axis, 0, 400.0)[:20]
    usd = np.zeros(20)
    usd[2], usd[10] = FORCED.usd
    events = np.zeros(20)
    events[2], events[10] = 2, 1
    flat = log_gain(profile, flattened(MAPS["ours"]).profile(0)[:20], RULES.bits_floor)
    over_prior = log_gain(profile, prior, RULES.bits_floor)
    top = np.argsort(profile)[-2:]  # two of twenty
    mass = profile * 20_000.0
    floored = floored_mass(mass, prior * 20_000.0, RULES.bits_floor)
    for name, expected in {
        "flat_bits": flat @ events,
        "flat_bits_usd": flat @ usd,
        "prior_bits": over_prior @ events,
        "prior_bits_usd": over_prior @ usd,
        "captured_usd": usd[top].sum(),
        "promised_usd": mass.sum(),
        "mass_usd": floored.sum(),
        "log_mass": np.log2(floored) @ events,
    }.items():
        assert map_column(rows, 0, name)[0] == pytest.approx(expected, rel=1e-5, abs=1e-5), name
    for name, expected in {
        "events": 3.0,
        "usd": usd.sum(),
        "usd_squared": FORCED.usd_squared.sum(),
        "decile_usd": usd.sum(),
        "uniform_usd": usd.sum() * 0.1,
        "windows": 1.0,
        "profile_usd": usd.sum(),
    }.items():
        assert common_column(rows, name)[0] == pytest.approx(expected), name


def test_few_bins_have_no_decile_but_bits() -> None:
    _, rows = scored(replace(FALL, low_usd=19_985.0)).liquidations()
    assert common_column(rows, "events").tolist() == [2.0]  # the other was not touched
    assert common_column(rows, "decile_usd").tolist() == [0.0]
    assert map_column(rows, 0, "flat_bits")[0] != 0


def test_a_quiet_window_still_promised_something() -> None:
    nothing = Liquidations(*(np.empty(0, np.int64),) * 2, *(np.empty(0),) * 4)
    keys, rows = scored(replace(FALL, liquidations=nothing, liquidations_complete=False)).liquidations()
    assert keys[:, 3].tolist() == [0]
    assert common_column(rows, "events").tolist() == [0.0]
    assert map_column(rows, 0, "promised_usd")[0] > 0


def test_without_a_feed_nothing_is_said_of_liquidations() -> None:
    scores = scored(replace(FALL, liquidations=None, liquidations_complete=None))
    assert len(scores.liquidations()[0]) == 0
    assert len(scores.moves) == 1


def test_an_inverse_market_promises_usd_as_they_are() -> None:
    _, rows = scored(FALL, inverse=True).liquidations()
    assert map_column(rows, 0, "promised_usd")[0] == pytest.approx(MAPS["ours"].profile(0)[:20].sum(), rel=1e-6)


def test_known_positions_by_account() -> None:
    keys, rows = scored(FALL, KNOWN).positions()
    # the short's bin is the only one touched, 19 700 was not reached, NaN is never liquidated
    assert keys.tolist() == [[AT // DAY, 3, 0, 5], [AT // DAY, 3, 0, 9]]
    assert common_column(rows, "usd").tolist() == [100.0, 300.0]
    flat = log_gain(MAPS["ours"].profile(0)[:20], flattened(MAPS["ours"]).profile(0)[:20], RULES.bits_floor)
    assert map_column(rows, 0, "flat_bits") == pytest.approx(flat[[2, 10]], abs=1e-5)
    assert common_column(rows, "windows").tolist() == [0.0, 0.0]
