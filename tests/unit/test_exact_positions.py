"""Exact positions beside inferred ones: taken out of what is inferred, and killed at their price."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from forcedmove_server.config import CalibrationConfig
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.market.positions import PositionState
from tests.unit.exact_book import LINEAR, LONG, SHORT, Book, one_map, position, rendered
from tests.unit.market_feed import S


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


def test_a_whole_side_that_was_known_comes_back_as_it_was() -> None:
    book, never = Book(), Book()
    for price, interest in ((101_000, 120.0), (99_000, 110.0), (100_000, 130.0)):
        for one in (book, never):
            one.feed(price, interest)
    for _ in range(3):
        book.tell(position(LONG, 130), position(SHORT, 129, 120_000))
        assert book.live() == ([0, 1], [130, 129])
        for one in (book, never):
            one.feed(100_500, 131)
            one.feed(100_000, 130)
        book.tell()
        assert book.live() == ([130, 130], [0, 0])
    for column in ("opened", "closed", "liquidated", "overkill", "live"):
        told, untold = (getattr(one.pipeline.store.ledger, column)[0] for one in (book, never))
        np.testing.assert_array_equal(told, untold, column)
    told, untold = (one.pipeline.store.resident.cohorts(0) for one in (book, never))
    for before, after in zip(untold, told, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(rendered(book).values, rendered(never).values)


def test_what_was_crossed_leaves_its_place_empty_until_open_interest_is_seen_without_it() -> None:
    book = Book()
    book.tell(position(LONG, 30, 99_990))
    book.feed(99_980)
    assert book.states() == [PositionState.CROSSED]
    left = book.live()[0][LONG]
    assert left <= 70
    book.tell()  # its producer lets go of it before the market's next observation
    assert book.live() == ([left, 100], [0, 0])
    assert book.pipeline.exact.by_market
    assert not [a for a in one_map(book).assumptions if a.name.startswith("exact")]
    book.feed(99_980, 70)
    assert book.live() == ([70, 70], [0, 0])
    assert not book.pipeline.exact.by_market


def test_what_is_left_has_the_weights_the_spread_and_the_window_of_its_market() -> None:
    book, never = Book(level_width=0.5), Book(level_width=0.5)
    book.tell(position(LONG, 50, None), position(SHORT, 50, None))
    shares = np.zeros((2, len(LEVERAGES)))
    shares[:, [0, 3]] = 0.5
    every = {"keep": ("side", "leverage", "price")}
    for one in (book, never):
        one.pipeline.store.set_weights(0, shares)
        one.feed(90_000, 100)
    for price in (90_000, 60_000):  # the window moves along
        for one in (book, never):
            one.feed(price, 100)
        half, whole = rendered(book, **every), rendered(never, **every)
        assert half.first_bin == whole.first_bin
        inner = slice(1, -1)  # what is never liquidated lies outside
        shown, expected = half.values[:, :, inner], whole.values[:, :, inner] / 2
        assert expected[:, 3].sum() > 1e5
        lot_usd = price * float(book.pipeline.inference.markets.lot[0])
        assert np.abs(shown.sum((1, 2)) - expected.sum((1, 2))).max() < 0.005 * expected.sum()
        assert np.abs(shown - expected).max() < 200 * lot_usd
    certainty = Learner(book.pipeline, CalibrationConfig()).certainty
    rows = book.pipeline.symbol_rows("BTC", book.pipeline.notional()).rows.astype(np.int64)
    assert rows[0] != 0
    left, exact = (certainty(row) for row in np.split(rows, 2))
    np.testing.assert_array_equal(left.weights[0], book.pipeline.store.weights(np.zeros(1, np.int64))[0])
    assert (left.typical[0] > 0, exact.typical[0]) == (True, 0.0)


def test_a_change_between_observations_is_no_matter_of_order() -> None:
    once, often = Book(), Book()
    for one in (once, often):
        one.feed(97_000)
        one.feed(100_000)
    for size in (5.0, 60.0, 0.0, 80.0):
        often.tell(*([position(LONG, size)] if size else []))
    for one in (once, often):
        one.tell(position(LONG, 40), position(SHORT, 10, 110_000))
    assert once.live() == often.live()
    swept = float(once.pipeline.store.ledger.live[0, LONG]) / 1_000
    assert swept < 100
    assert once.live()[0][LONG] == pytest.approx(swept * 0.6, abs=0.001)
