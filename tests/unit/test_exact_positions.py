"""Exact positions beside inferred ones: taken out of what is inferred, killed at their price, refused as a whole."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forcedmove_kernels.arrays import Window
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import CalibrationConfig, ExactConfig, ModelConfig
from forcedmove_server.engine.exact.positions import ExactPositions
from forcedmove_server.engine.exact.sharing import openings_of_the_rest
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import build_map, symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.views import render_view
from forcedmove_server.errors import InputError, LimitError, UnknownNameError
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, EventBatch
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey, PositionState
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import Where
from tests.unit.market_feed import ENGINE, START, S, minute, two_venue_registry

LONG, SHORT = 0, 1
LINEAR, INVERSE, HYPERLIQUID = "binance:BTCUSDT", "binance:BTCUSD_PERP", "hyperliquid:BTC"


class Book:
    """Exact positions over a pipeline of four markets, with one quiet linear market at a chosen price and interest."""

    def __init__(self, *, ready: bool = True, config: ExactConfig | None = None, **model: float) -> None:
        self.pipeline = Pipeline(two_venue_registry(), ENGINE, ModelConfig(**model), exact_markets=2)  # type: ignore[arg-type]
        self.seconds = 0.0
        self.exact = ExactPositions(self.pipeline, config or ExactConfig(), clock=lambda: self.seconds)
        self.sequence, self.now = 0, START
        if ready:
            self.feed(100_000.0, 100.0)

    def feed(self, price: float, interest: float | None = None, market: int = 0) -> None:
        self.now += S
        rows = [] if interest is None else [(self.now + 1, 0, interest, market, 0)]
        marks = np.array([(self.now, 0, price, market, 0)], MARK_PRICE)
        self.pipeline.take(
            EventBatch(until_ns=self.now + 2, mark_prices=marks, open_interest=np.array(rows, OPEN_INTEREST))
        )
        self.pipeline.sweep()
        self.exact.refresh()

    def tell(self, *positions: ExactPosition, producer: str = "me", **change: Any) -> Any:
        self.sequence += 1
        change = {"sequence": self.sequence, "replace": True} | change
        return self.exact.change(PositionChange(producer, positions=positions, **change))

    def live(self, market: int = 0) -> tuple[list[float], list[float]]:
        """Inferred and exact quantities of a market, by side."""
        lot = float(self.pipeline.inference.markets.lot[market])
        inferred, exact = self.pipeline.store.ledger.live[market], self.pipeline.exact.live([market])[0]
        return [round(lots * lot, 6) for lots in inferred.tolist()], [round(lots * lot, 6) for lots in exact.tolist()]

    def states(self, producer: str = "me") -> list[PositionState]:
        return [held.state for held in self.exact.held(producer).positions]


def position(side: int = LONG, quantity: float = 30.0, level: float | None = 90_000.0, **more: Any) -> ExactPosition:
    key = PositionKey(more.pop("account", ""), more.pop("market", LINEAR), side)
    return ExactPosition(key, quantity=quantity, liquidation_price_usd=level, **more)


def test_nothing_is_counted_twice() -> None:
    book = Book()
    ack = book.tell(position(LONG, 30), position(SHORT, 10, 110_000))
    assert (ack.applied, ack.live, ack.waiting) == (True, 2, 0)
    assert book.live() == ([70, 90], [30, 10])
    book.feed(100_000, 120)
    assert book.live() == ([90, 110], [30, 10])
    book.tell()
    assert book.live() == ([120, 120], [0, 0])
    assert not book.pipeline.exact.by_market


def test_a_position_dies_at_its_price_and_takes_its_quantity_along() -> None:
    book = Book()
    book.tell(position(LONG, 30, 90_000), position(LONG, 5, 89_950, account="x"), position(SHORT, 10, 110_000))
    book.feed(90_001)
    assert book.states() == [PositionState.LIVE] * 3
    before = book.live()[0][LONG]
    book.feed(90_000)
    assert book.states() == [PositionState.CROSSED, PositionState.LIVE, PositionState.LIVE]
    inferred, exact = book.live()
    assert exact == [5, 10]
    assert inferred[LONG] <= before, "nobody takes over what is gone"
    book.feed(95_000, 60)
    assert book.live() == ([55, 50], [5, 10])
    assert book.pipeline.exact.crossed_quantity[0] == 30


def test_a_position_does_not_close_because_open_interest_falls() -> None:
    book = Book()
    book.tell(position(LONG, 30), position(SHORT, 30, 110_000))
    book.feed(100_000, 40)
    assert book.live() == ([10, 10], [30, 30])


def test_more_than_the_open_interest_is_said_once_and_nothing_is_scaled(caplog: pytest.LogCaptureFixture) -> None:
    book = Book()
    with caplog.at_level(logging.WARNING):
        book.tell(position(LONG, 130))
        book.feed(100_000, 100)
        book.feed(100_000, 99)
    assert [record.message for record in caplog.records] == [
        f"{LINEAR}: exact positions exceed the open interest by 30 long, 0 short: nothing is left to infer there"
    ]
    assert book.live() == ([0, 99], [130, 0])
    assert book.pipeline.exact.excess([0]).tolist() == [[31_000, 0]]
    (texts,) = [[a for a in m.assumptions if a.name.startswith("exact")] for m in [one_map(book)]]
    assert [a.name for a in texts] == ["exact_positions", "exact_excess"]
    assert texts[1].value == pytest.approx(31)
    book.tell(position(LONG, 20))
    assert book.live() == ([79, 99], [20, 0])
    assert not book.pipeline.exact.excess([0]).any()


def one_map(book: Book, symbol: str = "BTC") -> Any:
    pipeline = book.pipeline
    pipeline.centre(symbol)
    pipeline.store.refresh(pipeline.now_s)
    return build_map(pipeline, symbol_states(pipeline, [symbol], pipeline.notional())[symbol], 1)


def rendered(book: Book, **spec: Any) -> Any:
    pipeline = book.pipeline
    pipeline.centre("BTC")
    pipeline.store.refresh(pipeline.now_s)
    return render_view(pipeline.store, pipeline.symbol_rows("BTC", pipeline.notional()), ViewSpec(**spec))


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


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (position(LONG, 1, 100_000), r"positions\[1\]\.liquidation_price_usd = 100000.*below the mark, 100000"),
        (position(SHORT, 1, 99_000), r"positions\[1\]\.liquidation_price_usd = 99000.*above the mark"),
        (position(LONG, -1), r"positions\[1\]\.quantity = -1"),
        (position(LONG, float("nan")), r"positions\[1\]\.quantity = nan"),
        (position(LONG, 1, 0.0), r"positions\[1\]\.liquidation_price_usd = 0\.0"),
        (position(LONG, 1, leverage=0.0), r"positions\[1\]\.leverage = 0\.0"),
        (position(LONG, 1, account="a\nb"), r"positions\[1\]\.key\.account"),
        (position(LONG, 1e9), r"positions\[1\]\.quantity = 1000000000.*not a plausible position"),
        (replace(position(), quantity=None), r"positions\[1\]\.size"),
        (position(LONG, 2, account="first"), r"positions\[1\] = .*told twice"),
    ],
)
def test_a_change_is_refused_as_a_whole(wrong: ExactPosition, field: str) -> None:
    book = Book()
    book.tell(position(LONG, 30))
    with pytest.raises(InputError, match=field):
        book.tell(position(LONG, 5, account="first"), wrong)
    assert book.live() == ([70, 100], [30, 0])
    assert [held.position.key.account for held in book.exact.held("me").positions] == [""]
    # leniently, the others are taken
    ack = book.tell(position(LONG, 5, account="first"), wrong, lenient=True)
    assert (ack.live, ack.left_out) == (1, 1)
    assert book.live() == ([95, 100], [5, 0])


def test_unknown_markets_are_refused_or_wait() -> None:
    book = Book()
    with pytest.raises(UnknownNameError, match="market 'binance:DOGEUSDT'"):
        book.tell(position(market="binance:DOGEUSDT"))
    ack = book.tell(position(market="binance:DOGEUSDT"), lenient=True)
    assert (ack.live, ack.waiting) == (0, 1)


def test_a_position_waits_for_its_market() -> None:
    book = Book(ready=False)
    ack = book.tell(position(LONG, 30), position(SHORT, 5, 90_000))
    assert (ack.live, ack.waiting) == (0, 2)
    book.feed(100_000)  # a price alone is not enough
    assert book.states() == [PositionState.WAITING] * 2
    book.feed(100_000, 100)
    assert book.states() == [PositionState.LIVE, PositionState.CROSSED]
    assert book.live() == ([70, 100], [30, 0])
    with pytest.raises(InputError, match="has been crossed"):
        book.tell(position(SHORT, 5, 90_000))
    waiting = Book(ready=False)
    waiting.tell(position(LONG, 30))
    waiting.tell()
    waiting.feed(100_000, 100)
    assert waiting.live() == ([100, 100], [0, 0])


def test_only_rising_sequences_of_a_producer_count() -> None:
    book = Book()
    assert book.tell(position(LONG, 30), sequence=5).applied
    for old in (5, 4):
        ack = book.tell(position(LONG, 90), sequence=old)
        assert (ack.applied, ack.sequence, ack.live) == (False, 5, 1)
    assert book.live() == ([70, 100], [30, 0])
    assert book.tell(position(LONG, 10), sequence=1, producer="other").applied
    assert book.live() == ([60, 100], [40, 0])
    with pytest.raises(InputError, match="sequence = 0"):
        book.tell(sequence=0, producer="third")


def test_single_positions_are_set_replaced_and_removed() -> None:
    book = Book()
    book.tell(position(LONG, 30), position(LONG, 5, account="x"))
    book.tell(position(LONG, 10), replace=False)
    assert book.live() == ([85, 100], [15, 0])
    gone = PositionKey("x", LINEAR, LONG)
    book.tell(removed=(gone, PositionKey("never", LINEAR, LONG)), replace=False)
    assert book.live() == ([90, 100], [10, 0])
    with pytest.raises(InputError, match=r"removed\[0\]"):
        book.tell(position(LONG, 1, account="x"), removed=(gone,), replace=False)


def test_what_nobody_renews_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    book = Book(config=ExactConfig(max_age_s=60))
    book.tell(position(LONG, 30))
    book.tell(position(LONG, 7), producer="dead")
    book.seconds = 45
    assert book.tell(replace=False).expires_in_s == 60  # heard of: nothing else changes
    book.seconds = 61
    with caplog.at_level(logging.WARNING):
        book.feed(100_000)
    assert [record.message for record in caplog.records] == [
        "exact positions of dead are gone: 1, not heard of for 60 s"
    ]
    assert book.live() == ([70, 100], [30, 0])
    assert book.exact.held("dead").sequence == 0


def test_limits_are_checked_before_anything_changes() -> None:
    book = Book(config=ExactConfig(max_positions=2, max_producers=1))
    many = [position(LONG, 1, account=str(k)) for k in range(3)]
    with pytest.raises(LimitError, match=r"would have 3 positions, exact\.max_positions is 2"):
        book.tell(*many)
    book.tell(*many[:2])
    with pytest.raises(LimitError, match="would have 3"):
        book.tell(many[2], replace=False)
    assert book.tell(many[2]).live == 1
    with pytest.raises(LimitError, match=r"exact\.max_producers"):
        book.tell(many[0], producer="other")
    assert book.tell(many[0], producer="account:0xa").live == 1, "the server's own are not counted"
    book = Book()
    for market in range(1, 4):
        book.feed(100_000 if market < 3 else 3_000.0, 1e6, market)
    book.tell(position(), position(market=INVERSE))
    with pytest.raises(LimitError, match=r"more than 2 markets: raise exact\.max_markets"):
        book.tell(position(market=HYPERLIQUID), replace=False)
    with pytest.raises(LimitError, match="at most 2047 exact positions"):
        book.tell(*(position(LONG, 0.001, account=str(k)) for k in range(2048)))
    assert book.tell(*(position(LONG, 0.001, account=str(k)) for k in range(2047))).live == 2047
    book.feed(100_000, 90)
    assert book.live() == ([87.953, 90], [2.047, 0])


def test_prices_stay_what_they_are_however_old_positions_get() -> None:
    book = Book()
    book.tell(*(position(LONG, 1, 80_000 + 0.07 * k, account=str(k)) for k in range(50)))
    before = book.pipeline.exact.by_market[0].trigger.tolist()
    for _ in range(20):
        book.now += 30 * 86_400 * S
        book.feed(100_000, 100)
    row = book.pipeline.exact.by_market[0]
    assert book.pipeline.store.resident.cohorts(row.index).entry.tolist() == row.trigger.tolist() == before


def test_a_market_that_outgrows_its_lots_keeps_its_positions() -> None:
    book = Book(ready=False)
    book.feed(1_000_00.0, 60_000)
    book.tell(position(LONG, 12_345.678))
    for interest in (600_000.0, 3_000_000.0, 5_000_000.0):
        book.feed(100_000, interest)
    assert book.pipeline.inference.markets.lot[0] == pytest.approx(0.01)
    assert book.live()[1] == [12_345.68, 0]
    assert book.live()[0] == [5_000_000 - 12_345.68, 5_000_000]
    ledger = book.pipeline.store.ledger
    np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)


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


def test_what_is_told_again_keeps_its_age_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book()
    book.tell(position(LONG, 30), position(SHORT, 10, 110_000))
    first = book.pipeline.exact.held(0)[0].opened_at_s
    for _ in range(3):
        book.feed(100_000, 100)
    replaced: list[int] = []
    store = book.pipeline.store
    monkeypatch.setattr(store, "replace_exact", lambda row, cohorts: replaced.append(row))
    assert book.tell(position(LONG, 30), position(SHORT, 10, 110_000)).live == 2
    assert not replaced
    monkeypatch.undo()
    book.tell(position(LONG, 31), position(SHORT, 10, 110_000))
    assert book.live() == ([69, 90], [31, 10])
    assert {held.opened_at_s for held in book.pipeline.exact.held(0)} == {first}
    book.tell(position(LONG, 31), replace=True)
    assert book.live() == ([69, 100], [31, 0])


@pytest.mark.parametrize(
    ("before", "interest", "rest_before", "rest", "expected"),
    [
        ((100, 100), (70, 100), 140, (110, 140), 40),  # exact ones stay as they are: all of the growth is of others
        ((100, 100), (70, 100), 100, (70, 100), 28),  # of turnover the others have their share
        ((100, 100), (70, 100), 130, (70, 130), 5),  # who is known opened it: the side that needs less decides
        ((100, 100), (100, 100), 100, (0, 100), 0),
        ((100, 100), (5, 100), 104, (9, 104), 7),
    ],
)
def test_openings_are_those_of_who_is_not_known(
    before: tuple[int, int], interest: tuple[int, int], rest_before: int, rest: tuple[int, int], expected: int
) -> None:
    lots = np.array([10, 25, 5], np.uint32)
    kept = openings_of_the_rest(lots, before[0], rest_before, np.array(interest), np.array(rest))
    assert kept.sum() == expected
    assert (kept <= lots).all()
    assert kept.dtype == np.uint32


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
