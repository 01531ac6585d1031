"""The whole scorecard on a world whose levels are known: the truth must show, a random map must not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forcedmove_server.errors import FileFormatError, InputError
from forcedmove_server.scorecard.frozen import FrozenMap
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import MapScore, Summary, Where
from forcedmove_server.scorecard.tables import MarketName
from tests.unit.scorecard_world import BINS, DAY, FIRST, RULES, START, STEP, WIDTH, run_world

HOUR = 12 * STEP


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return run_world()[0]


@pytest.fixture(scope="module")
def summary(card: Scorecard) -> Summary:
    return card.summary()


def of(summary: Summary, name: str, horizon: int = STEP) -> MapScore:
    return next(score for score in summary.maps if (score.map, score.horizon_ns) == (name, horizon))


def above(estimate: Estimate | None, bound: float) -> bool:
    assert estimate is not None
    assert estimate.low is not None, estimate
    return estimate.low > bound


def around(estimate: Estimate | None, value: float) -> bool:
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= value <= estimate.high


def test_open_interest_leaves_where_the_true_map_has_it(summary: Summary) -> None:
    for horizon in (STEP, HOUR):
        ours, naive = of(summary, "ours", horizon).released, of(summary, "naive", horizon).released
        assert above(ours.rank, 0.1)
        assert above(ours.plain, 0.1)
        assert above(ours.rank_gain, 0.1)
        assert above(ours.plain_gain, 0.1)
        assert above(ours.rank, naive.rank.high or 1.0)
        assert naive.rank_gain is None
    assert around(of(summary, "naive").released.rank, 0.0)
    assert around(of(summary, "naive").released.plain, 0.0)
    assert of(summary, "distance").released.rank.value == 0.0


def test_bits_are_positive_for_the_truth_and_negative_for_sharp_peaks_in_wrong_places(summary: Summary) -> None:
    ours, naive, prior = (of(summary, name, HOUR) for name in ("ours", "naive", "distance"))
    for score in (ours.positions, ours.liquidations, ours.sampled):
        assert score is not None
        assert above(score.bits_over_flat, 0.05)
        assert above(score.bits_over_prior_per_dollar, 0.1)
    assert naive.positions is not None
    assert naive.positions.bits_over_flat.high is not None
    assert naive.positions.bits_over_flat.high < 0
    assert prior.liquidations is not None
    assert prior.liquidations.bits_over_prior == replace(
        prior.liquidations.bits_over_prior, value=0.0, low=0.0, high=0.0
    )
    assert ours.positions is not None
    assert ours.positions.bits_over_flat.blocks == 30


def test_capture_beats_both_nulls_only_for_the_truth(summary: Summary) -> None:
    ours, naive = of(summary, "ours", HOUR).liquidations, of(summary, "naive", HOUR).liquidations
    assert ours is not None
    assert naive is not None
    assert ours.capture.low is not None
    assert ours.capture.distance_matched is not None
    assert ours.capture.low > ours.capture.distance_matched
    assert naive.capture.lift_distance_matched == pytest.approx(1.0, abs=0.3)


def test_all_that_was_promised_came(summary: Summary) -> None:
    ours = of(summary, "ours").intensity
    assert ours is not None
    assert ours.capture_ratio.value == pytest.approx(1.0, rel=0.02)
    assert around(ours.capture_ratio, 1.0)
    assert ours.poisson_bits_per_event is not None
    assert ours.poisson_bits_per_event > 0
    hour = of(summary, "ours", HOUR).intensity
    naive = of(summary, "naive", HOUR).intensity
    assert hour is not None
    assert naive is not None
    assert (hour.wasserstein_bp or 99) < (naive.wasserstein_bp or 0)
    assert (hour.spearman or 0) > (naive.spearman or 0)


def test_reach_is_calibrated_on_a_walk(summary: Summary) -> None:
    for score in summary.reach:
        assert score.reach.skill is not None
        assert score.reach.skill > 0.3
        for bucket in score.reach.reliability:
            if bucket.n > 300:
                assert bucket.observed == pytest.approx(bucket.forecast, abs=0.12)


def test_a_fall_reaches_what_lies_below() -> None:
    card = Scorecard(replace(RULES, least_volatility_cells=1), maps=("ours",), baseline=None)
    card.add_market(0, MarketName("venue", "X", "X"), WIDTH)
    for cell, price in enumerate((20_000.0, 20_100.0, 19_900.0)):
        card.outcomes.prices([0], [START + cell * STEP], [price])
        card.advance(START + cell * STEP)
    below, above_ = (card.summary(Where(side=side)).reach[0].reach for side in (0, 1))
    assert (below.n, above_.n) == (8, 8)
    # the fall of 1 % reached 0.1 to 0.8 %
    assert sum(b.n * b.observed for b in below.reliability) == pytest.approx(4.0)
    assert sum(b.n * b.observed for b in above_.reliability) == 0.0


def test_the_headline_is_short_for_the_summary(card: Scorecard, summary: Summary) -> None:
    short, ours = card.short(), of(summary, "ours")
    assert summary.headline.released == ours.released.rank
    assert summary.headline.gain == ours.released.rank_gain
    assert ours.positions is not None
    assert (summary.headline.bits, summary.headline.bits_from) == (ours.positions.bits_over_flat, "positions")
    assert short.released == summary.headline.released.value
    assert short.bits == pytest.approx(summary.headline.bits.value)
    assert (short.moves, short.bits_n) == (summary.headline.released.n, summary.headline.bits.n)
    assert card.short() is short


def test_parts_add_up(card: Scorecard, summary: Summary) -> None:
    def moves(where: Where) -> int:
        return of(card.summary(where), "ours").released.rank.n

    whole = of(summary, "ours").released.rank.n
    assert moves(Where(side=0)) + moves(Where(side=1)) == whole
    assert moves(Where(symbol="BTC")) + moves(Where(symbol="ETH")) == whole
    assert moves(Where(venue="chain")) + moves(Where(venue="venue")) == whole
    sides = [card.summary(Where(side=side)).headline.bits.n for side in (0, 1)]
    assert min(sides) > 0
    assert sum(sides) == summary.headline.bits.n
    sampled = of(card.summary(Where(venue="venue", symbol="BTC")), "ours")
    assert (sampled.intensity, sampled.liquidations) == (None, None)
    assert sampled.sampled is not None
    nothing = card.summary(Where(symbol="DOGE"))
    assert nothing.headline.bits.value is None
    assert nothing.headline.bits.reason is not None
    rows = card.markets()
    listed = [row for row in rows if row.map == "ours" and row.horizon_ns == STEP]
    assert sum(row.moves for row in listed) == whole
    assert {(row.venue, row.symbol) for row in rows} == {("chain", "BTC"), ("venue", "BTC"), ("venue", "ETH")}
    assert sum(row.positions for row in listed) == summary.headline.bits.n


def numbers(value: Any) -> Any:
    """A summary with its numbers rounded to what another order of adding may change."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(item) for item in value]
    return float(f"{value:.6e}") if isinstance(value, float) else value


def test_a_summary_is_json(summary: Summary) -> None:
    assert json.loads(json.dumps(asdict(summary), allow_nan=False))["headline"]["map"] == "ours"


def test_neither_seeds_nor_numbers_nor_units_decide() -> None:
    short = replace(RULES, resamples=50)
    base = run_world(days=1.5, rules=short)[0].summary()
    again = run_world(days=1.5, rules=short)[0].summary()
    assert base == again
    renumbered = run_world(days=1.5, rules=short, markets=(70, 5, 33))[0].summary()
    assert numbers(asdict(renumbered)) == numbers(asdict(base))
    scaled = run_world(days=1.5, rules=short, scale=1024.0)[0].summary()
    for mine, theirs in zip(base.maps, scaled.maps, strict=True):
        assert numbers(asdict(mine.released)) == numbers(asdict(theirs.released))
        assert mine.liquidations is not None
        assert theirs.liquidations is not None
        assert numbers(asdict(mine.liquidations.capture)) == numbers(asdict(theirs.liquidations.capture))
        assert theirs.liquidations.usd == pytest.approx(1024 * mine.liquidations.usd)


def test_saved_and_restored_it_says_the_same_and_goes_on(card: Scorecard, summary: Summary, tmp_path: Path) -> None:
    path = tmp_path / "card.npz"
    card.save(path)
    other = Scorecard(replace(RULES, resamples=RULES.resamples), maps=("ours", "naive"))
    other.add_market(
        8, MarketName("venue", "M2", "ETH"), WIDTH, liquidations_complete=True
    )  # before, with another index
    other.restore(path)
    other.add_market(4, MarketName("chain", "M0", "BTC"), WIDTH)  # and after
    assert other.summary() == summary
    assert [p.name for p in tmp_path.iterdir()] == ["card.npz"]
    for ours, theirs in ((8, 2), (4, 0)):
        assert other.outcomes.volatility()[ours] == card.outcomes.volatility()[theirs]


def test_what_is_not_a_scorecard_or_of_other_rules_is_refused(card: Scorecard, tmp_path: Path) -> None:
    path = tmp_path / "card.npz"
    card.save(path)
    with pytest.raises(FileFormatError, match="move_threshold"):
        Scorecard(replace(RULES, move_threshold=3.0), maps=("ours", "naive")).restore(path)
    with pytest.raises(FileFormatError, match="maps"):
        Scorecard(RULES).restore(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FileFormatError, match="not a scorecard"):
        Scorecard(RULES, maps=("ours", "naive")).restore(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(FileFormatError, match="not a scorecard"):
        Scorecard(RULES, maps=("ours", "naive")).restore(path)


def test_reasons_are_counted(summary: Summary) -> None:
    reasons = {item.reason: item.count for item in summary.unscored}
    assert reasons["no history of price or open interest yet"] > 0
    assert "no map at the start" not in reasons


def one_market() -> Scorecard:
    card = Scorecard(RULES, maps=("ours",), baseline=None)
    card.add_market(0, MarketName("venue", "X", "X"), WIDTH, liquidations_complete=True)
    card.outcomes.prices([0], [START], [20_000.0])
    card.advance(START)
    return card


def a_map(**changes: Any) -> FrozenMap:
    return replace(FrozenMap("ours", 0, START, 20_000.0, WIDTH, FIRST, np.ones((2, BINS)), 1.0), **changes)


@pytest.mark.parametrize(
    ("changes", "field"), [({"at_ns": START + 1}, "at_ns"), ({"name": "theirs"}, "name"), ({"market": 5}, "market")]
)
def test_maps_that_were_not_asked_for_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field):
        one_market().freeze([a_map(**changes)])


def test_all_maps_of_a_market_are_needed_on_one_axis() -> None:
    card = Scorecard(RULES, maps=("ours", "naive"))
    card.add_market(0, MarketName("venue", "X", "X"), WIDTH)
    card.advance(START)
    with pytest.raises(InputError, match="lack 'naive'"):
        card.freeze([a_map()])
    with pytest.raises(InputError, match="another axis"):
        card.freeze([a_map(), a_map(name="naive", mark_usd=20_100.0)])
    with pytest.raises(InputError, match="baseline"):
        Scorecard(RULES, maps=("ours",))
    with pytest.raises(InputError, match="maps"):
        Scorecard(RULES, maps=("ours", "distance"), baseline=None)


def test_a_jumped_clock_scores_nothing_and_says_so() -> None:
    card = one_market()
    card.freeze([a_map()])
    card.outcomes.prices([0], [START + STEP], [20_000.0])
    assert card.advance(START + 3 * STEP) == 0
    reasons = {item.reason: item.count for item in card.summary().unscored}
    assert reasons == {"the clock jumped": 2}


def test_scoring_in_parts_gives_the_same_and_leaves_nothing() -> None:
    found = []
    for at_most in (None, 1):
        card = Scorecard(RULES, maps=("ours",), baseline=None)
        for market in range(4):
            card.add_market(market, MarketName("venue", f"X{market}", "X"), WIDTH, liquidations_complete=True)
            card.outcomes.prices([market], [START], [20_000.0])
        assert card.advance(START, at_most) == 0
        card.freeze([a_map(market=market) for market in range(4)])
        for market in range(4):
            card.outcomes.prices([market], [START + STEP], [19_900.0 + market])
            card.outcomes.liquidations([market], [START + 1], [19_950.0], [1.0 + market], [0])
        left = card.advance(START + STEP, at_most)
        if at_most:
            assert left == 3
            assert [card.catch_up(at_most) for _ in range(3)] == [2, 1, 0]
        assert (left == 0) == (at_most is None)
        card.freeze([a_map(at_ns=START + STEP, mark_usd=19_900.0)])
        found.append(card.summary())
    assert found[0] == found[1]
    assert of(found[0], "ours").intensity is not None


def test_a_detached_copy_stays_as_it_was() -> None:
    card, worlds = run_world(days=0.3)
    before = card.summary()
    taken = card.detached()
    now = START + int(0.3 * 288) * STEP
    card.advance(now)
    assert card.summary() != before
    assert taken.summary() == before
    assert len(worlds) == 3


def test_a_liquidation_where_the_price_never_was_is_counted_apart() -> None:
    card = one_market()
    card.freeze([a_map()])
    card.outcomes.prices([0] * 2, [START + STEP // 2, START + STEP], [19_900.0, 20_000.0])
    card.outcomes.liquidations([0, 0], [START + 1] * 2, [19_950.0, 19_000.0], [2.0, 1.0], [0, 0])
    card.advance(START + STEP)
    found = card.summary()
    forced = of(found, "ours").liquidations
    assert forced is not None
    assert forced.usd == 2 * 19_950.0
    assert {item.reason: item.count for item in found.unscored}[
        "liquidations at prices that the trigger price did not touch"
    ] == 1
    intensity = of(found, "ours").intensity
    assert intensity is not None
    # 11 touched bins of 1 unit; what one unit is worth is taken at the mark
    assert intensity.capture_ratio.value == pytest.approx(2 * 19_950 / (11 * 20_000))
    assert intensity.windows == 1


def test_invariants_bands_and_cascades_are_shown() -> None:
    card = one_market()
    assert card.check_interest(START, [0], [[99.0, 100.0]], [100.0]) == pytest.approx(0.01)
    assert card.check_interest(START + 1, [0], [[100.0, 100.0]], [100.0]) == 0.0
    card.check_flows(0.002)
    card.check_flows(0.001)
    sides = np.arange(8) // 4
    card.check_bands(START, np.zeros(8, int), sides, np.zeros(8), np.ones(8), [0.5, 2, 0.5, 0.5, 1, 0, 3, 0.5])
    card.alarm(CascadeAlarm("X", 0, START + 1, START + DAY, 19_000.0, 5e6, 2))
    card.cascade(CascadeSeen("X", 0, START + 11 * 10**9 + 1, 19_000.0, 5e6, 2))
    card.advance(START + DAY)
    found = card.summary()
    assert (found.invariants.worst_interest_error, found.invariants.worst_market) == (pytest.approx(0.01), "venue:X")
    assert (found.invariants.worst_at_ns, found.invariants.checks) == (START, 2)
    assert found.invariants.worst_flow_error == 0.002
    assert (found.coverage.bins, found.coverage.share, found.coverage.above) == (8, 0.75, 0.25)
    assert found.coverage.share_of_truth == pytest.approx(3.0 / 8.0)
    assert card.summary(Where(side=1)).coverage.bins == 4
    assert found.cascades is not None
    assert (found.cascades.hits, found.cascades.lead_time_s, found.cascades.false_alarms_per_day) == (1, 11.0, 0.0)
    assert card.summary(Where(venue="venue")).cascades is None
