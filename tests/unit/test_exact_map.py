"""Exact positions in the map: their bin, tier and venue, what is scored and what is learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from forcedmove_kernels.arrays import Window
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import CalibrationConfig
from forcedmove_server.engine.export import full_map
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.market.positions import ExactPosition, PositionKey
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import Where
from tests.unit.exact_book import HYPERLIQUID, INVERSE, LINEAR, LONG, SHORT, Book, one_map, position, rendered
from tests.unit.market_feed import S, minute


def test_it_is_drawn_in_its_bin_tier_and_venue() -> None:
    book = Book()
    for market, price, interest in ((1, 100_010.0, 200.0), (2, 99_990.0, 1e7)):
        book.feed(price, interest, market)
    every = {"keep": ("venue", "side", "leverage", "price")}
    before = rendered(book, **every)
    book.tell(
        position(SHORT, 7, 112_030, market=HYPERLIQUID, leverage=8.5),
        position(LONG, 2e6, 91_010, market=INVERSE, leverage=25),
    )
    view = rendered(book, **every)
    bin_of = {level: int(level / 50) - view.first_bin + 1 for level in (112_030, 91_010)}
    more = view.values.astype(np.float64) - before.values
    venue, tier = view.venues.index("hyperliquid"), view.leverages.index(8.0)
    assert more[venue, SHORT, tier, bin_of[112_030]] == pytest.approx(7 * 112_025, rel=0.01)
    venue, tier = view.venues.index("binance"), view.leverages.index(25.0)
    assert more[venue, LONG, tier, bin_of[91_010]] == pytest.approx(2e6, rel=0.01)
    only = rendered(book, keep=("side", "price"), venues=("hyperliquid",), leverage_min=7, leverage_max=9)
    assert only.values[SHORT, bin_of[112_030]] >= 7 * 112_000
    built = one_map(book)
    status = {market.market: market for market in built.markets}
    assert len(built.markets) == 3
    assert status[HYPERLIQUID].live_short == pytest.approx(200)
    assert status[INVERSE].live_long == pytest.approx(1e7)
    (about, _) = [a for a in built.assumptions if a.name == "exact_positions"]
    assert about.text.startswith(f"{HYPERLIQUID}: 1 positions with known liquidation prices, 0 long and 7 short")
    assert about.value == pytest.approx(7 / 400)


def test_the_tier_follows_leverage_or_the_entry_price_or_is_the_lowest() -> None:
    book = Book()
    ratio = book.pipeline.store.margins[0].ratio
    entry = 101_000.0
    book.tell(
        position(account="stated", leverage=19),
        position(account="entry", level=entry * float(ratio[LONG, 5]), entry_price_usd=entry),
        position(account="gain", level=98_000, entry_price_usd=97_000),
        position(account="nothing"),
        position(account="more than is offered", leverage=500, level=99_900),
    )
    tiers = [held.tier_leverage for held in book.exact.held("me").positions]
    assert tiers == [20.0, LEVERAGES[5], LEVERAGES[0], LEVERAGES[0], 125.0]


def test_one_that_is_never_liquidated_is_known_all_the_same() -> None:
    book = Book()
    book.tell(position(LONG, 30, None), position(SHORT, 20, None))
    for price in (60_000.0, 100_000.0, 180_000.0):
        book.feed(price)
    assert book.live()[1] == [30, 20]
    view = rendered(book)
    assert view.values[LONG, 0] >= 30 * view.first_bin * 50 * 0.9
    assert view.values[SHORT, -1] > 0


def test_notional_is_turned_into_quantity_at_the_mark() -> None:
    book = Book()
    book.feed(100_000.0, 1e7, market=2)
    linear = ExactPosition(PositionKey("", LINEAR, LONG), notional_usd=250_000, liquidation_price_usd=90_000)
    inverse = ExactPosition(PositionKey("", INVERSE, LONG), notional_usd=250_000, liquidation_price_usd=90_000)
    book.tell(linear, inverse)
    assert book.live(0)[1] == [2.5, 0]
    assert book.live(2)[1] == [250_000, 0]


def test_its_age_weighs_it() -> None:
    book = Book(freshness_half_life_hours=24)
    day_ago = book.now - 86_400 * S
    book.tell(position(LONG, 30, 90_020, opened_at_ns=day_ago), position(LONG, 30, 80_020, account="new", leverage=125))
    every = {"leverage_min": 0.0, "leverage_max": 0.0}
    live, fresh = (rendered(book, weighting=weighting, **every) for weighting in ("live", "fresh"))
    share = [
        float(fresh.values[LONG, cell] / live.values[LONG, cell])
        for cell in (int(level / 50) - live.first_bin + 1 for level in (90_020, 80_020))
    ]
    assert share == pytest.approx([0.5, 1.0], abs=0.01)


def test_an_exported_map_holds_what_is_left_beside_what_is_known() -> None:
    book = Book()
    before = pc.sum(full_map(book.pipeline)["notional_usd"]).as_py()
    book.tell(position(LONG, 30, 90_010), position(SHORT, 10, 110_010))
    rows = full_map(book.pipeline)
    inferred = rows.slice(0, len(rows) - 2)
    assert pc.sum(inferred["notional_usd"]).as_py() == pytest.approx(before * 0.8, rel=0.05)
    known = rows.slice(len(rows) - 2)
    assert known["side"].to_pylist() == ["long", "short"]
    assert known["notional_usd"].to_pylist() == pytest.approx([30 * 90_025, 10 * 110_025])


def frozen_untold() -> list[Any]:
    """The same minutes as below, of which nothing is known."""
    pipeline = Book().pipeline
    frozen: list[Any] = []
    card = Scorecard(maps=MAPS, baseline=NAIVE)
    card.freeze = lambda maps, positions=None: frozen.extend(maps)  # type: ignore[method-assign, assignment]
    forecasts = Forecasts(pipeline, card, Learner(pipeline, CalibrationConfig()))
    forecasts.take(minute(10))
    pipeline.sweep()
    for number in range(11, 26):
        forecasts.take(minute(number, move=1e-5))
    return frozen


def test_the_map_that_is_scored_has_them_and_the_grid_that_is_learnt_from_does_not() -> None:
    book = Book()
    pipeline = book.pipeline
    learner = Learner(pipeline, CalibrationConfig())
    card = Scorecard(maps=MAPS, baseline=NAIVE)
    frozen: list[Any] = []
    card.freeze = lambda maps, positions=None: frozen.extend(maps)  # type: ignore[method-assign, assignment]
    forecasts = Forecasts(pipeline, card, learner)
    forecasts.take(minute(10))
    pipeline.sweep()
    mark = float(pipeline.inference.markets.price[0]) * 50 / (1 << PRICE_BITS)
    level = round(mark * 0.97)
    book.tell(position(LONG, 3_000, level, leverage=30), representative=True)
    for number in range(11, 26):
        forecasts.take(minute(number, move=1e-5))
    ours = [one for one in frozen if one.name == "ours" and one.market == 0][-1]
    bin_of_it = int(level / 50) - ours.first_bin
    assert ours.levels[LONG, bin_of_it] >= 3_000
    told, untold = (
        [one for one in maps if one.name == "ours" and one.market == 0][-1] for maps in (frozen, frozen_untold())
    )
    assert told.levels[SHORT].sum() == pytest.approx(untold.levels[SHORT].sum())
    share = 1 - 3_000 / untold.open_interest
    assert told.levels[LONG].sum() - 3_000 == pytest.approx(untold.levels[LONG].sum() * share, rel=0.001)
    held = learner._held[0]
    assert held.cells[LONG].sum(0)[int(level / 50) - held.first_bin] < 1_000
    kept = card.summary(Where()).invariants
    assert kept.checks > 0
    assert kept.worst_interest_error < 0.01  # without the known ones it would be 0.15


def test_visible_positions_teach_and_a_clients_own_do_not() -> None:
    book = Book()
    learner = Learner(book.pipeline, CalibrationConfig())
    book.pipeline.observers.append(learner.observe)
    taught: list[tuple[Any, ...]] = []
    learner.calibration.observe_positions = lambda *told: taught.append(told)  # type: ignore[method-assign]
    window = Window(np.zeros(1, np.uint32), 4_000)
    grid = book.pipeline.store.resident.leverage_grid(np.array([0], np.int32), weighted=False, window=window)[0]
    learner.freeze(0, 0, grid[:, :, 1:-1])
    book.tell(position(LONG, 30, leverage=20), position(SHORT, 10, 110_000, leverage=5), representative=True)
    book.tell(position(LONG, 8, leverage=50), producer="own")
    learner.resolve(book.now)
    (at_ns, of, market, side, quantity, tier) = taught.pop()
    assert at_ns == book.now
    assert of.tolist() == [0]
    assert sorted(zip(market.tolist(), side.tolist(), quantity.tolist(), tier.tolist(), strict=True)) == [
        (0, 0, 30_000.0, 6),
        (0, 1, 10_000.0, 2),
    ]
    book.tell(representative=True)
    learner.resolve(book.now + 3_600 * S)
    assert taught.pop()[1:3][0].tolist() == [0], "told that nothing is visible any more"
    learner.resolve(book.now + 7_200 * S)
    assert not taught


def test_what_known_positions_left_is_not_taken_for_evidence() -> None:
    book = Book()
    learner = Learner(book.pipeline, CalibrationConfig())
    book.pipeline.observers.append(learner.observe)
    book.tell(position(LONG, 30, 99_000))
    window = Window(np.zeros(1, np.uint32), 4_000)
    grid = book.pipeline.store.resident.leverage_grid(np.array([0], np.int32), weighted=False, window=window)[0]
    learner.freeze(0, 0, grid[:, :, 1:-1])
    book.feed(98_900, 62)  # 38 left, of which 30 are known
    assert learner._window(book.now, [0]).released.tolist() == pytest.approx([8])  # type: ignore[union-attr]
