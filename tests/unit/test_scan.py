"""Scans: the same chains as one by one, tips without a search, measures by hand, filters, ranking, limits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from forcedmove_kernels.backend import Backend, select_backend
from forcedmove_server.config import ScanConfig
from forcedmove_server.engine.cascade.forecast import path_forecast, point_forecast, runs_beyond
from forcedmove_server.engine.chains import lower_edge
from forcedmove_server.engine.depth import depth_after_shock
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.scan.books import ScanBook, beside, book_of, outward
from forcedmove_server.engine.scan.depths import depths_after_shocks
from forcedmove_server.engine.scan.follow import SPREADS, CancelledScan, SymbolScan, scan_symbol
from forcedmove_server.engine.scan.question import Measure, ScanQuestion, check, estimate
from forcedmove_server.engine.scan.ranking import is_kept, ranked, value_of
from forcedmove_server.engine.scan.tips import chain_ends, depth_between, tipping_shock
from forcedmove_server.errors import InputError, LimitError
from tests.unit.cascade_states import LAW, WIDTH, state_of

CPU: Backend = select_backend("cpu", 1)[0]
MARK, FIRST_BIN, CELLS = 10_012.5, 140, 122  # the mark is a quarter into its bin of 50
BOOK_ONLY = dataclasses.replace(LAW, volume_day_usd=0.0, withdrawal_fraction=math.inf)


def random_state(seed: int) -> SymbolState:
    rng = np.random.default_rng(seed)
    profile = rng.integers(0, 3_000_000_00, (2, CELLS)) * (rng.random((2, CELLS)) < 0.3)
    visible = rng.integers(0, 400_000, (2, CELLS)) * (rng.random((2, CELLS)) < 0.7).astype(float)
    visible[0, 75:] = visible[1, :50] = 0
    visible[0, : rng.integers(0, 60)] = visible[1, rng.integers(62, CELLS) :] = 0
    law = dataclasses.replace(LAW, volume_day_usd=float(rng.choice([0.0, 3e8, 3e9])), sigma_day=0.05)
    return state_of(profile.astype(np.uint64), visible, MARK, FIRST_BIN, law)


def empty_state(fires: dict[tuple[int, float], float], rests: dict[tuple[int, float], float]) -> SymbolState:
    """USD by side (0 long or bid, 1 short or ask) and price, and nothing beyond."""
    profile, visible = np.zeros((2, CELLS), np.uint64), np.zeros((2, CELLS))
    for (side, price), usd in fires.items():
        profile[side, int(price // WIDTH) - FIRST_BIN + 1] = round(usd * 100)
    for (side, price), usd in rests.items():
        visible[side, int(price // WIDTH) - FIRST_BIN + 1] = usd
    return state_of(profile, visible, MARK, FIRST_BIN, BOOK_ONLY)


def scanned(state: SymbolState, *shocks: float, **question: object) -> SymbolScan:
    return scan_symbol(CPU, book_of(state), ScanQuestion(shocks, **question))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("seed", range(12))
def test_depth_of_many_shocks_is_that_of_each_to_the_cent(seed: int, side: int) -> None:
    state = random_state(seed)
    way = outward(book_of(state), side)
    moves = np.array([1e-4, 0.0013, 0.01, 0.08, 0.2, 0.28])
    shocks = MARK * (1 + way.sign * moves)
    depth = depths_after_shocks(way, shocks)
    mark = state.cell(MARK)
    for row, shock in zip(depth, shocks.tolist(), strict=True):
        whole = depth_after_shock(state.visible, MARK, shock, side, FIRST_BIN, WIDTH, state.law)
        np.testing.assert_array_equal(row, whole[mark::-1] if side == 0 else whole[mark:])
        assert row.any() or not (state.visible.usd[side].any() or state.law.volume_day_usd)


@pytest.mark.parametrize("width", [0.00005, 0.1, 0.25, 50.0, 2000.0])
def test_prices_are_the_edges_that_chains_are_told_in(width: float) -> None:
    book = dataclasses.replace(book_of(random_state(0)), bin_width=width, first_bin=1_234, mark_usd=width * 1_290.4)
    for side in (0, 1):
        way = outward(book, side)
        mark = book.cell(book.mark_usd)
        expected = [lower_edge(mark + way.sign * k, 1_234, width) for k in range(len(way.fires))]
        assert way.prices().tolist() == expected
        assert [way.position(price * (1 + 1e-9)) for price in expected[1:-1]] == list(range(1, len(expected) - 1))


@pytest.mark.parametrize("seed", range(12))
def test_every_shock_has_the_chain_that_simulate_finds(seed: int) -> None:
    state = random_state(seed)
    shocks = (-0.2, -0.03, 0.011, -1e-4, 1e-4, 0.29, -0.0999)
    found = scanned(state, *shocks)
    for k, shock in enumerate(shocks):
        chain = point_forecast(CPU, state, MARK * (1 + shock)).chain
        assert found.terminal_usd[k] == chain.terminal_price_usd
        assert found.fired_usd[k] == chain.total_usd
        assert found.levels[k] == len(chain.levels)
        assert found.amplification[k] == chain.amplification
        assert found.beyond_window[k] == chain.beyond_window


def test_a_shock_beyond_the_window_is_a_bound() -> None:
    state = random_state(1)
    found = scanned(state, -0.9, 3.0)
    assert found.beyond_window.tolist() == [True, True]
    assert found.fired_usd.tolist() == [state.profile[0, :62].sum() / 100, state.profile[1, 61:].sum() / 100]


@pytest.mark.parametrize("side", [0, 1])
def test_tips_are_those_of_the_whole_sweep(side: int) -> None:
    tipped = 0
    for seed in range(60):
        way = outward(book_of(random_state(seed)), side)
        prices = way.prices()
        shocks = np.arange(side, len(prices) - 1)
        shocks = shocks[np.abs(prices[shocks] / MARK - 1) <= 0.2 + WIDTH / MARK]
        within = way.position(MARK * (1 + way.sign * 0.2))
        shocks = shocks[shocks <= within]
        ends = chain_ends(CPU, way, shocks, prices[shocks])
        tips = runs_beyond(np.abs(MARK - prices[shocks]), np.abs(MARK - prices[ends]), ends - shocks)
        expected = prices[shocks[tips][0]] / MARK - 1 if tips.any() else None
        assert tipping_shock(CPU, way) == expected, seed
        tipped += expected is not None
    assert 10 < tipped < 60


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_depth_between_positions_is_the_sum_of_what_chains_meet(seed: int, side: int) -> None:
    way = outward(book_of(random_state(seed)), side)
    prices, last = way.prices(), len(way.fires) - 1
    first = np.arange(side, last)
    depth = np.cumsum(depths_after_shocks(way, prices[first]).astype(np.float64), 1)
    for cells in (0, 1, 7, 30):
        end = np.minimum(first + cells, last)
        rows = np.arange(len(first))
        exact = depth[rows, end] - np.where(first > 0, depth[rows, np.maximum(first - 1, 0)], 0)
        np.testing.assert_allclose(depth_between(way, first, end), exact, rtol=1e-9, atol=cells + 1)


def test_paths_depend_on_seed_and_symbol_alone() -> None:
    state = random_state(3)
    shocks = (-0.05, 0.05)
    one = scanned(state, *shocks, paths=300, seed=4)
    again = scanned(state, *shocks, paths=300, seed=4)
    other = scanned(state, *shocks, paths=300, seed=5)
    renamed = dataclasses.replace(book_of(state), symbol="ETH")
    elsewhere = scan_symbol(CPU, renamed, ScanQuestion(shocks, paths=300, seed=4))
    oracle = scan_symbol(select_backend("reference")[0], book_of(state), ScanQuestion(shocks, paths=300, seed=4))
    assert one.paths is not None
    for same in (again, oracle):
        assert same.paths is not None
        np.testing.assert_array_equal(one.paths.fired_usd, same.paths.fired_usd)
        np.testing.assert_array_equal(one.paths.terminal_usd, same.paths.terminal_usd)
        assert one.expected_loss_usd == same.expected_loss_usd
    for different in (other, elsewhere):
        assert different.paths is not None
        assert not np.array_equal(one.paths.fired_usd, different.paths.fired_usd)


def test_path_quantiles_are_those_of_the_forecast() -> None:
    """The same law from other draws: quantiles of many paths agree."""
    state = random_state(3)
    found = scanned(state, -0.05, 0.05, paths=8_000)
    assert found.paths is not None
    for k, shock in enumerate((-0.05, 0.05)):
        point = point_forecast(CPU, state, MARK * (1 + shock))
        expected = path_forecast(CPU, state, point, 8_000, 1, SPREADS).quantiles
        for place, quantile in enumerate(expected):
            assert found.paths.terminal_usd[place, k] == pytest.approx(quantile.terminal_usd, abs=2 * WIDTH)
            assert found.paths.fired_usd[place, k] == pytest.approx(quantile.total_usd, rel=0.05)


def test_measures_by_hand() -> None:
    """Shocks of a few bins: down into $3M, with $1M bids in each of the next bins."""
    rests = {(0, 9_900.0 - 50 * k): 1e6 for k in range(8)} | {(1, 10_100.0): 1e9}
    state = empty_state({(0, 9_900.0): 3e6, (1, 10_100.0): 5e6}, rests)
    found = scanned(state, -0.005, 0.0125, horizon_s=3_600.0)  # to 9 962, where nothing fires, and to 10 137
    assert found.fired_usd.tolist() == [0.0, 5e6]
    assert found.notional_usd == 5e6
    # two bins from the mark's: that bin and two more hold 1e9
    assert found.fragility.tolist() == [0.0, 5e6 / 1e9]
    assert found.amplification.tolist() == [1.0, 1.0]
    assert found.expected_loss_usd == 0.0
    down = scanned(state, -0.0112375, -0.02, horizon_s=3_600.0)  # to 9 900, to 9 812.25: a bin of its own
    assert down.fired_usd.tolist() == [3e6, 3e6]
    # three bins hold it, the shock's own included
    assert down.terminal_usd.tolist() == [9_800.0, 9_700.0]
    assert down.fragility.tolist() == [3e6 / 3e6, 3e6 / 5e6]
    sigma = LAW.sigma_day * math.sqrt(3_600 / 86_400)
    touched = [math.erfc(-math.log1p(move) / sigma / math.sqrt(2)) for move in (-0.0112375, -0.02)]
    assert down.touch.tolist() == pytest.approx(touched)
    slides = [(MARK * (1 - 0.0112375) - 9_800) / MARK, (MARK * 0.98 - 9_700) / MARK]
    loss = 3e6 * ((touched[0] - touched[1]) * slides[0] + touched[1] * slides[1])
    assert down.expected_loss_usd == pytest.approx(loss)


def test_no_depth_at_all_is_infinitely_fragile_and_no_notional_not_at_all() -> None:
    state = empty_state({(0, 9_900.0): 3e6}, {})
    found = scanned(state, -0.02, 0.02)
    assert found.fragility.tolist() == [math.inf, 0.0]
    assert found.amplification[1] == 1.0
    assert found.beyond_window.tolist() == [True, False]


def ranking_of(measure: Measure, top: int = 0, **question: float) -> list[str]:
    """Three symbols: thin tips soonest, heavy has most behind a wall, calm has nothing."""
    wall = {(0, 9_850.0 - 50 * k): 4e6 for k in range(40)}
    thin = empty_state({(0, 9_950.0): 1e6}, {(0, 9_500.0): 1e9})
    heavy = empty_state({(0, 9_850.0): 50e6}, wall)
    calm = empty_state({}, wall)
    asked = ScanQuestion((-0.01, -0.02), measure=measure, top=top, horizon_s=86_400.0, **question)  # type: ignore[arg-type]
    values = []
    for name, state in (("calm", calm), ("heavy", heavy), ("thin", thin)):
        found = scan_symbol(CPU, dataclasses.replace(book_of(state), symbol=name), asked)
        if is_kept(found, asked):
            values.append((name, value_of(found, measure)))
    return [name for name, _ in ranked(values, asked)]


def test_ranking_of_a_hand_made_market() -> None:
    assert ranking_of(Measure.TIPPING_DISTANCE) == ["thin", "heavy", "calm"]
    assert ranking_of(Measure.AMPLIFICATION) == ["thin", "heavy", "calm"]
    assert ranking_of(Measure.FRAGILITY) == ["thin", "heavy", "calm"]
    assert ranking_of(Measure.EXPECTED_LOSS) == ["heavy", "thin", "calm"]
    assert ranking_of(Measure.EXPECTED_LOSS, top=1) == ["heavy"]
    assert ranking_of(Measure.FRAGILITY, min_notional_usd=2e6) == ["heavy"]
    assert ranking_of(Measure.FRAGILITY, max_distance=0.01) == ["thin"]


def test_equals_are_ranked_by_name() -> None:
    asked = ScanQuestion((-0.01,), measure=Measure.TIPPING_DISTANCE)
    values = [("b", 0.02), ("d", None), ("c", None), ("a", 0.02), ("e", 0.01)]
    assert [name for name, _ in ranked(values, asked)] == ["e", "a", "b", "c", "d"]


def test_what_is_too_much_is_refused_with_the_numbers() -> None:
    limits = ScanConfig(max_shocks=3, max_chains=1_000, max_paths=50_000, max_paths_per_chain=200)
    fits = ScanQuestion((-0.01, 0.01), paths=20)
    check(fits, estimate(fits, 500, 2_050, 1), limits, 60.0)
    for question, symbols, told in (
        (
            ScanQuestion((-0.01,) * 4),
            1,
            r"1 symbols, 4 shocks and 0 paths of each are 4 shocks; .* takes 3 \(scan.max_s",
        ),
        (ScanQuestion((-0.01, 0.01)), 501, r"1,002 chains; this server takes 1,000 \(scan.max_chains\)"),
        (ScanQuestion((-0.01, 0.01), paths=201), 1, r"201 paths of each shock; .* 200 \(scan.max_paths_per_chain\)"),
        (ScanQuestion((-0.01, 0.01), paths=101), 250, r"50,500 paths; this server takes 50,000 \(scan.max_paths\)"),
    ):
        with pytest.raises(LimitError, match=told):
            check(question, estimate(question, symbols, 2_050, 1), limits, 60.0)
    with pytest.raises(LimitError, match=r"1,000 chains and 20,000 paths take about .* deadline is in 0.0 s"):
        check(fits, estimate(fits, 500, 2_050, 1), limits, 0.001)


def test_an_estimate_grows_with_what_is_asked_and_shrinks_with_threads() -> None:
    small, large = ScanQuestion((-0.01,)), ScanQuestion((-0.01,) * 64, paths=200)
    one, many = estimate(small, 10, 2_050, 1), estimate(large, 500, 2_050, 1)
    assert (many.chains, many.paths) == (32_000, 6_400_000)
    assert one.seconds < many.seconds / 100
    assert estimate(large, 500, 2_050, 4).seconds == pytest.approx(many.seconds / 4)
    assert estimate(large, 500, 2_050, 1, pace=2.0).seconds == pytest.approx(many.seconds * 2)


@pytest.mark.parametrize("shocks", [(), (0.0,), (-1.0,), (6.0,), (math.nan,), (-0.01, math.inf)])
def test_shocks_that_cannot_be(shocks: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="shock_fractions"):
        ScanQuestion(shocks)


def test_a_cancelled_scan_stops_before_its_next_call_of_the_kernels() -> None:
    asked = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            asked.append(name)
            return getattr(CPU, name)

    answers = iter([False, True])
    book: ScanBook = book_of(random_state(3))
    with pytest.raises(CancelledScan):
        scan_symbol(Counting(), book, ScanQuestion((-0.02, 0.02)), lambda: next(answers))  # type: ignore[arg-type]
    assert asked == ["cascade_chains"]


def test_work_beside_the_engine_takes_no_launch_of_several_threads() -> None:
    chosen = beside(select_backend("cpu", 2)[0])
    assert getattr(chosen, "threads") == 1  # noqa: B009  of the processor's backend alone
    oracle = select_backend("reference")[0]
    assert beside(oracle) is oracle


@pytest.mark.parametrize("shock", [1e-300, -1e-17, 5e-10, 0.0])
def test_a_shock_that_cannot_be_told_from_the_mark_is_refused(shock: float) -> None:
    with pytest.raises(InputError, match="shock_fractions"):
        ScanQuestion((-0.02, shock))


def test_a_shock_out_of_the_window_is_no_sign_of_fragility() -> None:
    found = scanned(empty_state({(0, MARK - 3 * WIDTH): 1e6}, {(0, MARK - 5 * WIDTH): 1e6}), -0.9, -0.0001)
    assert found.beyond_window[0]
    assert found.fragility[0] == 0
