"""Freezing, saving, the order of markets, delisting, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.errors import FileFormatError, InputError, UnknownNameError
from forcedmove_server.inference.calibration import (
    Calibration,
    CalibrationSettings,
    Prints,
    Window,
    tiers_of_leverage,
    tiers_of_prices,
)
from tests.unit.calibration_world import DAY, F64, I64, PRIOR, TIERS, TRUTH, WINDOW_NS, World, both_sides

T = len(TIERS)
BOTH = np.stack([PRIOR, PRIOR])
VENUES = {"a": True, "b": False, "c": None}
MARKETS = [("a", "BTC"), ("b", "ETH"), ("a", "XRP"), ("c", "BTC"), ("b", "SOL")]
K = len(MARKETS)


def registered(order: Sequence[int] = range(K)) -> tuple[Calibration, I64]:
    """Five markets of three venues, registered in this order; rows in the order of ``MARKETS``."""
    calibration = Calibration(TIERS)
    rows = np.zeros(K, np.int64)
    for index in order:
        venue, symbol = MARKETS[index]
        rows[index] = calibration.new_market(f"{venue}:{symbol}", venue, BOTH, VENUES[venue])
    return calibration, rows


def recorded(windows: int, seed: int = 1) -> list[Window]:
    """Windows of five markets, told by their place in ``MARKETS``; those of venues without a feed have no prints."""
    world = World(seed, both_sides(TRUTH, K), np.full(K, 6.0), volatility=0.01)
    found = []
    for _ in range(windows):
        window = world.window(both_sides(PRIOR, K), np.arange(K))[0]
        keep = window.prints.market != 3
        likelihood = window.prints.likelihood
        assert likelihood is not None
        prints = Prints(
            *(values[keep] for values in (window.prints.market, window.prints.side)),
            window.prints.quantity[keep],
            likelihood[keep],
        )
        found.append(replace(window, prints=prints))
    return found


def permuted(window: Window, order: I64, rows: I64) -> Window:
    """The same window with its markets in another order; ``rows`` are the markets' rows."""
    assert window.released is not None
    assert window.open_interest is not None
    assert window.move is not None
    return replace(
        window,
        market=rows[order],
        exposure=window.exposure[order],
        weights=window.weights[order],
        prints=replace(window.prints, market=rows[window.prints.market]),
        released=window.released[order],
        open_interest=window.open_interest[order],
        move=window.move[order],
    )


def learnt(calibration: Calibration, rows: I64, windows: list[Window]) -> None:
    for window in windows:
        calibration.observe(permuted(window, np.arange(K), rows))


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return recorded(3 * DAY // 2)


def outputs(calibration: Calibration, rows: I64) -> list[F64]:
    counts = calibration.counts(rows)
    captures = [calibration.capture(venue) for venue in "abc"]
    return [
        calibration.weights(rows),
        calibration.shape(rows),
        counts.printed,
        *calibration.printed_sizes(rows),
        np.array(
            [(c.overall, *c.released, c.reliability, calibration.phi(v)) for c, v in zip(captures, "abc", strict=True)]
        ),
    ]


def assert_same(first: list[F64], then: list[F64]) -> None:
    for one, other in zip(first, then, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_markets_changes_nothing(windows: list[Window], seed: int) -> None:
    rng = np.random.default_rng(seed)
    calibration, rows = registered()
    other, others = registered(rng.permutation(K).tolist())
    assert rows.tolist() != others.tolist()
    for window in windows[:200]:
        calibration.observe(permuted(window, np.arange(K), rows))
        other.observe(permuted(window, rng.permutation(K), others))
    assert (calibration.weights(rows) != BOTH).any()
    assert_same(outputs(calibration, rows), outputs(other, others))


def test_saved_and_restored_is_the_same_to_the_bit_and_goes_on_alike(windows: list[Window], tmp_path: Path) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:301])
    calibration.observe_bins("a", np.full(60, 2.0), np.zeros(60), np.linspace(0, 9, 60), 1.0)
    calibration.observe_positions(301 * WINDOW_NS, rows[3:4], rows[3:4], np.array([1]), np.array([2.0]), np.array([5]))
    calibration.observe_openings(rows[1:3], np.array([50.0, 7.0]), np.array([300.0, 20.0]))
    path = tmp_path / "weights.npz"
    calibration.save(path)
    # another process: registered in another order
    other, others = registered([4, 3, 2, 1, 0])
    other.restore(path)
    assert_same(outputs(calibration, rows), outputs(other, others))
    assert other.opened_sizes(others[1:3])[1].tolist() == [300.0, 20.0]
    learnt(calibration, rows, windows[301:])
    learnt(other, others, windows[301:])
    assert_same(outputs(calibration, rows), outputs(other, others))
    # or restored before any market is registered
    late = Calibration(TIERS)
    late.restore(path)
    assert late.keys() == []
    rows_late = np.array([late.new_market(f"{v}:{s}", v, BOTH, VENUES[v]) for v, s in MARKETS])
    learnt(late, rows_late, windows[301:])
    assert_same(outputs(calibration, rows), outputs(late, rows_late))


def test_markets_of_a_file_that_are_not_here_still_count_and_are_saved_again(
    windows: list[Window], tmp_path: Path
) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:200])
    calibration.save(tmp_path / "all.npz")
    other = Calibration(TIERS)
    own = np.array([other.new_market("a:XRP", "a", BOTH, True)])
    other.restore(tmp_path / "all.npz")
    np.testing.assert_array_equal(other.weights(own), calibration.weights(rows[2:3]))
    assert other.capture("a").overall == calibration.capture("a").overall
    other.save(tmp_path / "again.npz")
    back, same = registered()
    back.restore(tmp_path / "again.npz")
    assert_same(outputs(calibration, rows), outputs(back, same))


def test_another_prior_here_than_in_the_file_is_the_one_that_holds(windows: list[Window], tmp_path: Path) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:200])
    calibration.save(tmp_path / "all.npz")
    short = np.append(PRIOR[:-1] / PRIOR[:-1].sum(), 0.0)
    other = Calibration(TIERS)
    other.restore(tmp_path / "all.npz")
    row = np.array([other.new_market("a:BTC", "a", np.stack([short, short]), True)])
    assert other.weights(row)[0, :, -1].tolist() == [0.0, 0.0]
    assert other.weights(row).sum(2) == pytest.approx(1.0)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "version", "kind", "tiers", "missing", "nan", "shape"])
def test_a_file_that_cannot_be_used_is_an_error_and_nothing_is_lost(
    windows: list[Window], tmp_path: Path, damage: str
) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:60])
    path = tmp_path / "file.npz"
    calibration.save(path)
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    if damage in ("empty", "cut", "text"):
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"weights = 1\n"}[damage])
    else:
        if damage in ("version", "kind"):
            header[damage] = 99
            arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        elif damage == "tiers":
            arrays["leverages"] = arrays["leverages"] + 1
        elif damage == "missing":
            del arrays["venue.gram"]
        elif damage == "nan":
            arrays["market.printed"][0] = np.nan
        else:
            arrays["market.printed"] = arrays["market.printed"][:, :, :-1]
        np.savez(path, **arrays)
    before = outputs(calibration, rows)
    with pytest.raises(FileFormatError, match=r"file\.npz"):
        calibration.restore(path)
    assert_same(before, outputs(calibration, rows))
    calibration.observe(permuted(windows[60], np.arange(K), rows))


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    calibration, _ = registered()
    calibration.save(tmp_path / "file.npz")
    whole = (tmp_path / "file.npz").read_bytes()
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="folder"):
        calibration.save(tmp_path / "folder.npz")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file.npz", "folder.npz"]
    assert (tmp_path / "file.npz").read_bytes() == whole


def test_frozen_weights_stay_and_nothing_fades(windows: list[Window]) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:150])
    before = outputs(calibration, rows)
    calibration.freeze()
    learnt(calibration, rows, windows[150:300])
    calibration.observe_bins("a", np.ones(90), np.zeros(90), np.full(90, 50.0), 1.0)
    assert_same(before, outputs(calibration, rows))
    calibration.thaw()
    learnt(calibration, rows, windows[300:])
    assert (calibration.weights(rows) != before[0]).any()


def test_evidence_fades_to_the_prior(windows: list[Window]) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:288])
    learned = np.abs(calibration.weights(rows) - BOTH).max()
    nothing = np.zeros((K, 2, T))
    printed = calibration.counts(rows).printed.sum()
    later = windows[287].until_ns + 14 * DAY * WINDOW_NS
    calibration.observe(Window(later, rows, nothing, calibration.weights(rows)))
    assert calibration.counts(rows).printed.sum() == pytest.approx(printed / 2, rel=1e-6)
    calibration.observe(Window(later + 400 * DAY * WINDOW_NS, rows, nothing, calibration.weights(rows)))
    assert np.abs(calibration.weights(rows) - BOTH).max() < 0.01 * learned


def test_a_late_window_takes_nothing_back(windows: list[Window]) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:50])
    printed = calibration.counts(rows).printed.sum()
    calibration.observe(Window(0, rows, np.zeros((K, 2, T)), calibration.weights(rows)))
    assert calibration.counts(rows).printed.sum() == printed


def test_a_delisted_market_counts_for_its_venue_until_it_fades(windows: list[Window]) -> None:
    calibration, rows = registered()
    learnt(calibration, rows, windows[:288])
    calibration.delist("a:BTC")
    with pytest.raises(UnknownNameError, match="a:BTC"):
        calibration.row("a:BTC")
    fresh = calibration.new_market("a:NEW", "a", BOTH, True)
    assert np.abs(calibration.weights(np.array([fresh])) - BOTH).max() > 0.02
    assert calibration.new_market("a:BTC", "a", BOTH, True) == rows[0], "listed again: where it was"
    calibration.delist("a:BTC")
    left = np.append(rows[1:], fresh)
    quiet = Window(600 * DAY * WINDOW_NS, left, np.zeros((K, 2, T)), calibration.weights(left))
    calibration.observe(quiet)
    assert calibration.new_market("a:NEXT", "a", BOTH, True) == rows[0], "the row of what has faded is used again"
    assert calibration.weights(rows[:1]) == pytest.approx(BOTH[None], abs=1e-3)


def test_what_is_refused() -> None:
    calibration, rows = registered()
    weights, nothing = calibration.weights(rows), np.zeros((K, 2, T))
    good = Window(1, rows, nothing, weights)
    calibration.observe(good)
    print_of = Prints(rows[:1], np.array([0]), np.array([1.0]))
    for field, wrong in {
        "market": replace(good, market=rows + 100),
        "market = 5": replace(good, market=np.zeros(K, np.int64)),
        "exposure": replace(good, exposure=nothing[:, :, 1:]),
        "weights": replace(good, weights=weights * np.nan),
        "exposure = ": replace(good, exposure=nothing + 1, weights=nothing),
        "heard": replace(good, heard=np.ones(2, bool)),
        "released": replace(good, released=np.zeros(K)),
        "prints.side": replace(good, prints=replace(print_of, side=np.array([2]))),
        "prints.quantity": replace(good, prints=replace(print_of, quantity=np.array([-1.0]))),
        "prints.likelihood": replace(good, prints=replace(print_of, likelihood=np.zeros((1, T - 1)))),
        "prints.market": replace(good, prints=replace(print_of, market=np.array([99]))),
    }.items():
        with pytest.raises(InputError, match=field):
            calibration.observe(wrong)
    with pytest.raises(InputError, match="prior"):
        calibration.new_market("a:1", "a", BOTH * 2, True)
    with pytest.raises(InputError, match="publishes_all"):
        calibration.new_market("a:1", "a", BOTH, False)
    with pytest.raises(InputError, match="key"):
        calibration.new_market("a:BTC", "a", BOTH, True)
    with pytest.raises(InputError, match="tier"):
        calibration.observe_positions(2, rows, rows[:1], np.array([0]), np.array([1.0]), np.array([T]))
    with pytest.raises(UnknownNameError, match="venue"):
        calibration.capture("z")
    with pytest.raises(InputError, match="half_life_days"):
        CalibrationSettings(half_life_days=0.0)
    with pytest.raises(InputError, match="most_change"):
        CalibrationSettings(most_change=1.0)


def test_open_interest_that_is_not_known_is_left_out() -> None:
    calibration, rows = registered()
    weights = calibration.weights(rows)
    unknown = np.full(K, np.nan)
    exposure = weights * 3.0
    calibration.observe(Window(1, rows, exposure, weights, Prints(), None, unknown, unknown, unknown))
    assert np.isfinite(calibration.weights(rows)).all()
    assert calibration.capture("c").reliability == 0.0


def test_nothing_registered_is_nothing_learnt(tmp_path: Path) -> None:
    calibration, none = Calibration(TIERS), np.zeros(0, np.int64)
    nothing = np.zeros((0, 2, T))
    calibration.observe(Window(1, none, nothing, nothing, Prints(), None, np.zeros(0), np.zeros(0), np.zeros(0)))
    calibration.save(tmp_path / "empty.npz")
    calibration.restore(tmp_path / "empty.npz")
    assert calibration.weights(none).shape == (0, 2, T)
    row = calibration.new_market("a:BTC", "a", BOTH, True)
    assert calibration.weights(np.array([row])).tolist() == [BOTH.tolist()]


def test_tiers_of_known_positions() -> None:
    assert tiers_of_leverage(TIERS, np.array([0.4, 3.8, 3.9, 12.0, 12.3, 70.0, 71.0, 999.0])).tolist() == [
        0, 0, 1, 3, 4, 6, 7, 7,
    ]  # fmt: skip
    assert tiers_of_leverage(TIERS, np.array([999.0]), offered=5).tolist() == [4]
    ratio = np.stack([1 - 0.9 / TIERS, 1 + 0.9 / TIERS])
    for side in (0, 1):
        sides = np.full(T, side)
        entry = np.full(T, 200.0)
        assert tiers_of_prices(ratio, sides, entry, entry * ratio[side]).tolist() == list(range(T))
    with pytest.raises(InputError, match="liquidation"):
        tiers_of_prices(ratio, np.array([0]), np.array([100.0]), np.array([101.0]))
