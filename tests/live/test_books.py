"""A kept book is the venue's book, or it says that it is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.collectors.books import BookKeeper
from tests.live.samples import book

SNAPSHOT = book({100.0: 1.0, 99.0: 2.0}, {101.0: 3.0, 102.0: 0.0}, snapshot=True, sequence=10)


def kept() -> BookKeeper:
    keeper = BookKeeper()
    assert keeper.take(SNAPSHOT)
    return keeper


def test_a_snapshot_is_the_book_without_its_empty_levels() -> None:
    assert kept().top(5) == (((100.0, 1.0), (99.0, 2.0)), ((101.0, 3.0),))


def test_changes_replace_add_and_take_away() -> None:
    keeper = kept()
    assert keeper.take(book({100.0: 0.0, 98.0: 4.0}, {101.0: 5.0}, sequence=11, previous=10))
    assert keeper.top(5) == (((99.0, 2.0), (98.0, 4.0)), ((101.0, 5.0),))


def test_the_best_levels_come_first_and_no_more_than_asked_for() -> None:
    keeper = BookKeeper()
    keeper.take(book({float(p): 1.0 for p in range(1, 50)}, {float(p): 1.0 for p in range(51, 99)}, snapshot=True))
    bids, asks = keeper.top(3)
    assert [price for price, _ in bids] == [49.0, 48.0, 47.0]
    assert [price for price, _ in asks] == [51.0, 52.0, 53.0]


def test_a_missing_message_ends_the_book_until_the_next_snapshot() -> None:
    keeper = kept()
    assert not keeper.take(book({1.0: 1.0}, {}, sequence=13, previous=12))
    assert not keeper.complete
    assert not keeper.take(book({1.0: 1.0}, {}, sequence=14, previous=13))
    assert keeper.take(SNAPSHOT)
    assert keeper.complete


def test_a_change_before_any_snapshot_is_no_book() -> None:
    assert not BookKeeper().take(book({1.0: 1.0}, {}, sequence=2, previous=1))


def test_changes_that_the_snapshot_has_already_change_nothing() -> None:
    keeper = kept()
    assert keeper.take(book({100.0: 9.0}, {}, sequence=10, previous=9))
    assert keeper.take(book({100.0: 9.0}, {}, sequence=9, previous=8))
    assert keeper.top(1)[0] == ((100.0, 1.0),)


def test_the_first_change_may_overlap_the_snapshot() -> None:
    keeper = kept()
    assert keeper.take(book({100.0: 9.0}, {}, sequence=12, previous=8))
    assert keeper.top(1)[0] == ((100.0, 9.0),)


def test_a_book_without_numbers_takes_what_comes() -> None:
    keeper = BookKeeper()
    assert keeper.take(book({100.0: 1.0}, {}, snapshot=True))
    assert keeper.take(book({100.0: 2.0}, {}))
    assert keeper.top(1)[0] == ((100.0, 2.0),)


_SIDES = st.dictionaries(st.integers(1, 20).map(float), st.sampled_from([0.0, 1.0, 2.0]), max_size=8)


@given(st.lists(st.tuples(_SIDES, _SIDES), max_size=20))
def test_it_is_what_a_dictionary_would_be(changes: list[tuple[dict[float, float], dict[float, float]]]) -> None:
    keeper, bids, asks = BookKeeper(), dict[float, float](), dict[float, float]()
    assert keeper.take(book({}, {}, snapshot=True, sequence=0))
    for number, (bid_changes, ask_changes) in enumerate(changes, 1):
        assert keeper.take(book(bid_changes, ask_changes, sequence=number, previous=number - 1))
        bids |= bid_changes
        asks |= ask_changes
    expected_bids = sorted(((p, q) for p, q in bids.items() if q), reverse=True)
    expected_asks = sorted((p, q) for p, q in asks.items() if q)
    assert keeper.top(100) == (tuple(expected_bids), tuple(expected_asks))


def test_numbers_that_began_anew_end_the_book_instead_of_freezing_it() -> None:
    keeper = kept()
    assert keeper.take(book({1.0: 1.0}, {}, sequence=3, previous=2))  # one from before the snapshot is nothing
    took = [keeper.take(book({float(n): 1.0}, {}, sequence=n, previous=n - 1)) for n in (1, 2) * 150]
    assert took[0]
    assert not took[-1]
    assert keeper.take(SNAPSHOT)
