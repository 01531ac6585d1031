"""What no order, scale or cut of the input may change in a score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from forcedmove_server.scorecard.day_sums import DaySums
from forcedmove_server.scorecard.distance import DistancePrior, band_of, flattened
from forcedmove_server.scorecard.frozen import FrozenMap
from forcedmove_server.scorecard.measures.bits import log_gain
from forcedmove_server.scorecard.measures.capture import decile_members
from forcedmove_server.scorecard.measures.released import move_dtype, released
from forcedmove_server.scorecard.outcomes import Outcomes
from forcedmove_server.scorecard.resampling import Resampling, wilson
from forcedmove_server.scorecard.rules import ScoringRules

F64 = NDArray[np.float64]
S = 10**9
STEP = 300 * S
START = 19_700 * 86_400 * S
RULES = ScoringRules(horizons_ns=(STEP, 3 * STEP), headline_horizon_ns=STEP)

masses = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, (2, n), elements=st.integers(0, 9).map(float)))


@given(masses, st.integers(-20, 20), st.floats(1e-6, 0.9))
def test_bits_know_shares_not_amounts_and_no_map_gains_on_itself(pair: F64, power: int, floor: float) -> None:
    profile, null = pair
    gain = log_gain(profile, null, floor)
    assert log_gain(profile * 2.0**power, null * 4.0**power, floor) == pytest.approx(gain, abs=1e-12)
    assert (log_gain(null, null, floor) == 0).all()
    # the expected gain under the null itself is never positive: no free lunch
    spread = floor / len(null)
    share = null / null.sum() if null.any() else np.full(len(null), 1 / len(null))
    assert ((1 - floor) * share + spread) @ gain <= 1e-12


@given(masses, st.integers(0, 2**32 - 1))
def test_the_decile_and_its_matched_null_hold_as_many_bins_in_every_band(pair: F64, seed: int) -> None:
    band = np.sort(np.random.default_rng(seed).integers(0, 5, pair.shape[1]))
    member, matched = decile_members(pair, band)
    for row, null in zip(member, matched, strict=True):
        assert np.bincount(band, row) == pytest.approx(np.bincount(band, null))


@given(st.floats(0, 1), st.floats(0.1, 1e6))
def test_wilson_contains_the_share_and_tightens(share: float, n: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert wilson(share, 2 * n)[1] - wilson(share, 2 * n)[0] <= high - low + 1e-12


@given(arrays(np.float64, (2, 40), elements=st.floats(0, 100)), st.floats(1.0, 399.0), st.integers(-9, 9))
def test_flattening_conserves_and_scales(levels: F64, mark: float, power: int) -> None:
    made = FrozenMap("ours", 0, 0, mark, 10.0, 0, levels, 1.0)
    flat = flattened(made)
    for side in (0, 1):
        band = band_of(made.axis, side)
        assert np.bincount(band, flat.profile(side)) == pytest.approx(np.bincount(band, made.profile(side)), abs=1e-9)
    scaled = flattened(FrozenMap("ours", 0, 0, mark, 10.0, 0, levels * 2.0**power, 1.0))
    assert scaled.levels == pytest.approx(flat.levels * 2.0**power)
    prior = DistancePrior.of_venue("bybit", 50.0).map(made)
    assert prior.levels.min() >= 0
    assert (prior.levels.sum(axis=1) <= 1 + 1e-9).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10.0))
def test_released_does_not_depend_on_order_names_or_units(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    n = 240
    moves = np.zeros(n, move_dtype(3))
    moves["at_ns"] = rng.permutation(n) * (86_400 * S // 24)
    moves["market"], moves["side"] = rng.integers(0, 4, n), rng.integers(0, 2, n)
    moves["size"], moves["volatility"] = rng.exponential(0.01, n) + 1e-3, rng.lognormal(-5, 0.2, n)
    moves["crossed"] = rng.exponential(0.1, (n, 3))
    moves["released"] = moves["crossed"][:, 0] + rng.normal(0, 0.1, n)
    names, resampling = ("a", "b", "distance"), Resampling(resamples=60)
    base = released(moves, names, "b", resampling)
    other = moves[rng.permutation(n)]
    other["market"] = np.array([17, 3, 99, 4])[other["market"]]
    other["crossed"] *= scale
    # the size's own unit is free too, as far as its flexible form goes
    again = released(other, names, "b", resampling)
    for name in names[:2]:
        for form in ("rank", "plain"):
            mine, theirs = getattr(base[name], form), getattr(again[name], form)
            assert (theirs.value, theirs.low, theirs.high) == pytest.approx((mine.value, mine.low, mine.high), abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_outcomes_do_not_depend_on_how_events_are_batched(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    market = rng.integers(0, 3, n)
    time = np.sort(rng.integers(1, STEP + 1, n)) + START
    price, quantity, side = rng.uniform(90, 110, n), rng.exponential(1, n), rng.integers(0, 2, n)
    found = []
    for cuts in (1, parts):
        outcomes = Outcomes(RULES)
        for k in range(3):
            outcomes.add_market(k, 1.0, inverse=k == 1, liquidations_complete=True)
        outcomes.prices(np.arange(3), np.full(3, START), np.full(3, 100.0))
        assert list(outcomes.close(START)) == []
        for part in np.array_split(np.arange(n), cuts):
            mixed = part if cuts == 1 else part[np.argsort(market[part], kind="stable")]
            outcomes.prices(market[mixed], time[mixed], price[mixed])
            outcomes.liquidations(market[mixed], time[mixed], price[mixed], quantity[mixed], side[mixed])
            outcomes.interest(market[mixed], time[mixed], quantity[mixed])
        ((_, due),) = outcomes.close(START + STEP)
        found.append(due)
    for one, two in zip(*found, strict=True):
        assert (one.low_usd, one.high_usd, one.open_interest_end) == (two.low_usd, two.high_usd, two.open_interest_end)
        assert one.unscored == two.unscored
        assert one.liquidations is not None
        assert two.liquidations is not None
        assert one.liquidations.bin.tolist() == two.liquidations.bin.tolist()
        assert one.liquidations.usd == pytest.approx(two.liquidations.usd)
        chosen = market == one.market
        assert one.liquidations.quantity.sum() == pytest.approx(quantity[chosen].sum())
        assert one.low_usd == min(100.0, price[chosen].min())


rows = st.lists(st.tuples(*[st.integers(0, 3)] * 4, st.integers(1, 9)), max_size=30)


@given(rows, st.randoms(use_true_random=False))
def test_day_sums_are_sums_whatever_the_order(entries: list[tuple[int, ...]], random: object) -> None:
    table, expected = DaySums(1, 99, 999), dict[tuple[int, ...], float]()
    for *key, value in entries:
        expected[tuple(key)] = expected.get(tuple(key), 0.0) + value
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for entry in shuffled:
        table.add(np.array([entry[:4]], np.int64), np.array([[float(entry[4])]]))
    keys, sums = table.rows()
    assert {tuple(key): value for key, (value,) in zip(keys.tolist(), sums.tolist(), strict=True)} == expected
