"""Events become batches in time order; nothing is lost but what is counted and announced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.collectors import intake as intake_module
from forcedmove_server.collectors.health import VenueHealth
from forcedmove_server.collectors.intake import BOOK_LEVELS, Intake
from forcedmove_server.collectors.records import Event
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel, EventBatch
from tests.live.samples import (
    BTC,
    ETH,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    book,
    interest,
    interest_value,
    liquidation,
    mark,
    trade,
)


@pytest.fixture
def health() -> VenueHealth:
    return VenueHealth("fake")


@pytest.fixture
def intake() -> Intake:
    return Intake(Defects(), NOW_NS - 3600 * SECOND_NS)


def filled(intake: Intake, health: VenueHealth, *events: Event, received_ns: int = NOW_NS) -> Intake:
    for event in events:
        intake.take(event, received_ns, health)
    return intake


def numbers(batch: EventBatch) -> list[float]:
    return [float(quantity) for quantity in batch.trades["quantity"]]


def test_every_kind_becomes_a_row_with_its_market_and_both_times(intake: Intake, health: VenueHealth) -> None:
    received = NOW_NS + 5
    filled(
        intake,
        health,
        trade(3, listing=ETH),
        mark(101.0),
        interest(7.0),
        liquidation(2),
        book({99.0: 1.0}, {100.0: 2.0}, snapshot=True),
        received_ns=received,
    )
    batch = intake.cut(received)
    assert batch.trades.tolist() == [(NOW_NS, received, 100.0, 3.0, 1, 1)]
    assert batch.mark_prices.tolist() == [(NOW_NS, received, 101.0, 0, 0)]
    assert batch.open_interest.tolist() == [(NOW_NS, received, 7.0, 0, 0)]
    assert batch.liquidations.tolist() == [(NOW_NS, received, 100.0, 2.0, 0, 0)]
    assert batch.depth.tolist() == [(NOW_NS, received, 99.0, 1.0, 0, 0), (NOW_NS, received, 100.0, 2.0, 0, 1)]
    assert not len(intake.cut(received + SECOND_NS))


def test_what_is_later_than_the_watermark_waits(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, trade(1, NOW_NS), trade(2, NOW_NS + 10))
    assert numbers(intake.cut(NOW_NS + 10)) == [1.0]
    assert numbers(intake.cut(NOW_NS + 11)) == [2.0]


def test_a_late_event_is_counted_and_comes_at_the_watermark(intake: Intake, health: VenueHealth) -> None:
    intake.cut(NOW_NS)
    filled(intake, health, trade(1, NOW_NS - MS_NS), mark(1.0, NOW_NS - MS_NS))
    batch = intake.cut(NOW_NS + 1)
    assert batch.trades["time_ns"].tolist() == batch.mark_prices["time_ns"].tolist() == [NOW_NS]
    assert dict(intake.defects.counts) == {"trades.late": 1}  # of states only the newest counts


def test_without_a_stamp_the_receipt_counts(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, mark(1.0, 0), trade(1, 0), received_ns=NOW_NS)
    batch = intake.cut(NOW_NS + 1)
    assert batch.mark_prices["time_ns"].tolist() == batch.trades["time_ns"].tolist() == [NOW_NS]
    assert not intake.defects.counts


@pytest.mark.parametrize("skew_s", [60, -60, 3 * 365 * 86_400])
def test_a_stamp_that_cannot_be_right_is_counted_and_replaced(intake: Intake, health: VenueHealth, skew_s: int) -> None:
    filled(intake, health, trade(1, NOW_NS + skew_s * SECOND_NS), received_ns=NOW_NS)
    assert intake.cut(NOW_NS + 1).trades["time_ns"].tolist() == [NOW_NS]
    assert dict(intake.defects.counts) == {"trades.clock_skew": 1}


def test_a_watermark_that_goes_back_is_not_followed(intake: Intake, health: VenueHealth) -> None:
    """The machine's clock may be set back; batches must stay in order."""
    assert intake.cut(NOW_NS).until_ns == NOW_NS
    assert intake.cut(NOW_NS - SECOND_NS).until_ns == NOW_NS


@given(
    st.lists(st.tuples(st.integers(-2_000, 2_000), st.integers(0, 300)), min_size=1, max_size=60),
    st.integers(0, 500),
)
def test_batches_are_in_order_and_lose_nothing(arrivals: list[tuple[int, int]], hold_ms: int) -> None:
    """Whatever stamps and delays, and however the stream is cut."""
    intake, health = Intake(Defects(), 0), VenueHealth("fake")
    now, found, until = NOW_NS, list[float](), 0
    for number, (offset_ms, step_ms) in enumerate(arrivals):
        now += step_ms * MS_NS
        intake.take(trade(number, now + offset_ms * MS_NS), now, health)
        batch = intake.cut(now - hold_ms * MS_NS)
        assert batch.until_ns >= until
        times = batch.trades["time_ns"]
        assert ((times >= until) & (times < batch.until_ns)).all()
        assert (np.diff(times) >= 0).all()
        until = batch.until_ns
        found += numbers(batch)
    found += numbers(intake.cut(now + 60 * SECOND_NS))
    assert sorted(found) == [float(n) for n in range(len(arrivals))]


def test_repeated_events_are_left_out_and_counted(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, trade(1), trade(1), liquidation(1), liquidation(1), trade(1, listing=ETH))
    batch = intake.cut(NOW_NS + 1)
    assert (len(batch.trades), len(batch.liquidations)) == (2, 1)
    assert [health.channels[channel].repeated for channel in (Channel.TRADES, Channel.LIQUIDATIONS)] == [1, 1]


def test_what_a_venue_replays_on_a_subscription_is_no_repetition(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, trade(1), trade(1, replayed=True))
    assert health.channels[Channel.TRADES].repeated == 0
    assert numbers(intake.cut(NOW_NS + 1)) == [1.0]


def test_missing_numbers_become_a_gap_between_their_neighbours(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, trade(1, NOW_NS - SECOND_NS, sequence=1), received_ns=NOW_NS - SECOND_NS)
    filled(intake, health, trade(4, NOW_NS, sequence=4))
    intake.missing([BTC, ETH], NOW_NS + 100 * MS_NS, health)
    assert not len(intake.cut(NOW_NS + 100 * MS_NS).gaps), "it may still come"
    intake.missing([BTC, ETH], NOW_NS + 600 * MS_NS, health)
    batch = intake.cut(NOW_NS + 600 * MS_NS)
    assert batch.gaps["begin_ns"].tolist() == [NOW_NS - SECOND_NS]
    assert batch.gaps["channel"].tolist() == [Channel.TRADES]
    assert NOW_NS <= batch.gaps["time_ns"][0] < batch.until_ns
    assert intake.defects.counts["fake.trades.missing"] == 2
    assert health.channels[Channel.TRADES].gaps == 1


def test_gaps_are_announced_at_once_whatever_their_times(intake: Intake, health: VenueHealth) -> None:
    intake.cut(NOW_NS)
    intake.gap(BTC, Channel.MARK_PRICES, NOW_NS - 9 * SECOND_NS, NOW_NS - 8 * SECOND_NS, health)
    gaps = intake.cut(NOW_NS + 1).gaps
    assert gaps[["time_ns", "begin_ns", "market", "channel"]].tolist() == [
        (NOW_NS, NOW_NS - 9 * SECOND_NS, 0, Channel.MARK_PRICES)
    ]


def test_too_many_rows_are_dropped_counted_and_announced(
    intake: Intake, health: VenueHealth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_MOST_ROWS", 3)
    lag = 50 * MS_NS
    for number in range(6):
        when = NOW_NS + number * MS_NS
        intake.take(trade(number, when), when + lag, health)
    intake.take(trade(9, NOW_NS, ETH), NOW_NS + lag, health)
    batch = intake.cut(NOW_NS + SECOND_NS)
    assert numbers(batch) == [0.0, 1.0, 2.0]
    assert health.channels[Channel.TRADES].drops == 4
    assert intake.defects.counts["trades.dropped"] == 4
    gaps = {int(row["market"]): (int(row["begin_ns"]), int(row["time_ns"])) for row in batch.gaps}
    begin, end = gaps[0]
    assert begin <= NOW_NS + 3 * MS_NS, "the gap must cover when the dropped trades happened"
    assert end >= NOW_NS + 5 * MS_NS
    assert gaps[1][0] <= NOW_NS
    assert not len(intake.cut(NOW_NS + 2 * SECOND_NS).gaps), "it is announced once"
    intake.take(trade(10, NOW_NS + 2 * SECOND_NS), NOW_NS + 2 * SECOND_NS, health)
    assert numbers(intake.cut(NOW_NS + 3 * SECOND_NS)) == [10.0], "there is room again"


def test_open_interest_in_dollars_waits_for_a_mark(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, interest_value(900.0), interest_value(1_000.0))
    assert not len(intake.cut(NOW_NS + 1).open_interest)
    filled(intake, health, mark(50.0, listing=ETH))
    assert not len(intake.cut(NOW_NS + 1).open_interest), "the mark of another market says nothing"
    filled(intake, health, mark(50.0))
    assert intake.cut(NOW_NS + SECOND_NS).open_interest["quantity"].tolist() == [20.0]
    filled(intake, health, mark(100.0, NOW_NS + 1), interest_value(1_000.0, NOW_NS + 2))
    assert intake.cut(NOW_NS + 2 * SECOND_NS).open_interest["quantity"].tolist() == [10.0]


def test_a_book_is_handed_on_once_a_second(intake: Intake, health: VenueHealth) -> None:
    for number in range(25):
        when = NOW_NS + number * 100 * MS_NS
        bids = {90.0 + number: 1.0}
        intake.take(book(bids, {200.0: 1.0}, number == 0, number, number - 1, when), when, health)
    batch = intake.cut(NOW_NS + 10 * SECOND_NS)
    best = [float(rows["price"].max()) for rows in _bids(batch)]
    assert best == [90.0, 100.0, 110.0]


def test_the_last_state_before_a_quiet_spell_is_handed_on(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, book({100.0: 1.0}, {101.0: 1.0}, snapshot=True))
    filled(intake, health, book({99.0: 1.0}, {101.0: 1.0}, snapshot=True), received_ns=NOW_NS + 1)
    intake.tell_books(NOW_NS + 2)
    assert len(_bids(intake.cut(NOW_NS + SECOND_NS))) == 1
    intake.tell_books(NOW_NS + 2 * SECOND_NS)
    (later,) = _bids(intake.cut(NOW_NS + 3 * SECOND_NS))
    assert later["price"].tolist() == [99.0]
    intake.tell_books(NOW_NS + 9 * SECOND_NS)
    assert not len(intake.cut(NOW_NS + 9 * SECOND_NS).depth)  # and only once


def test_no_more_than_the_best_levels_are_handed_on(intake: Intake, health: VenueHealth) -> None:
    filled(intake, health, book({float(p): 1.0 for p in range(1, 60)}, {}, snapshot=True))
    prices = intake.cut(NOW_NS + 1).depth["price"]
    assert (len(prices), prices.min()) == (BOOK_LEVELS, 60.0 - BOOK_LEVELS)


def test_a_forgotten_book_begins_with_its_next_snapshot(intake: Intake, health: VenueHealth) -> None:
    snapshot = book({1.0: 1.0}, {2.0: 1.0}, snapshot=True, sequence=1)
    assert intake.take(snapshot, NOW_NS, health)
    intake.gap(BTC, Channel.DEPTH, NOW_NS, NOW_NS, health)
    assert intake.take(book({1.0: 2.0}, {}, sequence=2, previous=1), NOW_NS, health), "a gap may end with a snapshot"
    intake.forget_book(BTC)
    assert not intake.take(book({1.0: 3.0}, {}, sequence=3, previous=2), NOW_NS, health)
    assert intake.take(snapshot, NOW_NS, health)


def test_a_book_out_of_step_says_so(intake: Intake, health: VenueHealth) -> None:
    intake.take(book({1.0: 1.0}, {}, snapshot=True, sequence=1), NOW_NS, health)
    assert not intake.take(book({1.0: 3.0}, {}, sequence=5, previous=4), NOW_NS, health)


def _bids(batch: EventBatch) -> list[np.ndarray]:
    bids = batch.depth[batch.depth["side"] == 0]
    return [bids[bids["time_ns"] == when] for when in np.unique(bids["time_ns"])]


def test_what_a_venue_tells_again_keeps_its_time_however_old_and_is_counted_as_late(
    intake: Intake, health: VenueHealth
) -> None:
    intake.cut(NOW_NS)
    minute_old = NOW_NS - 60 * SECOND_NS
    filled(intake, health, trade(1, minute_old, replayed=True), received_ns=NOW_NS + SECOND_NS)
    batch = intake.cut(NOW_NS + 2 * SECOND_NS)
    assert batch.trades["time_ns"].tolist() == [NOW_NS], "as early as the watermark allows"
    assert (intake.defects.counts["trades.late"], intake.defects.counts["trades.clock_skew"]) == (1, 0)


def test_states_of_feeds_come_in_order_and_never_before_the_watermark(intake: Intake) -> None:
    intake.cut(NOW_NS)
    intake.tell_state(0, Channel.TRADES, True, NOW_NS - SECOND_NS)
    intake.tell_state(0, Channel.TRADES, False, NOW_NS + 1)
    batch = intake.cut(NOW_NS + 2)
    assert batch.feed_states.tolist() == [(NOW_NS, 0, 0, 1, 0), (NOW_NS + 1, 0, 0, 0, 0)]
