"""Another coin of the same name, or a misread unit, must neither spoil a symbol's map nor end the server."""

from __future__ import annotations

import dataclasses

import pytest

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.plausibility import Screen
from forcedmove_server.collectors.records import Book, Mark, OpenInterest, OpenInterestValue, Trade
from forcedmove_server.collectors.venue import listing_of
from forcedmove_server.market.defects import Defects

S = 10**9
START = 1_790_000_000 * S
VENUES = ("binance", "bybit", "okx", "gate")
MARKETS = [
    dataclasses.replace(listing_of(venue, "X", "XYZ", "USDT"), market=number) for number, venue in enumerate(VENUES)
]


def mark(listing: Listing, price: float, at_s: float) -> tuple[Mark, int]:
    now_ns = START + round(at_s * S)
    return Mark(listing, now_ns, price), now_ns


def cleared(*prices: float) -> Screen:
    """A screen to which the first markets have shown these prices."""
    screen = Screen(Defects())
    for listing, price in zip(MARKETS, prices, strict=False):
        screen.look(*mark(listing, price, 0))
        screen.look(*mark(listing, price, 0.1))
    return screen


def test_what_came_first_is_handed_on_in_order_once_another_market_agrees() -> None:
    screen = Screen(Defects())
    first = OpenInterest(MARKETS[0], START, 5.0)
    assert screen.look(first, START) == ()
    assert screen.look(*mark(MARKETS[0], 10.0, 0)) == ()
    (other,) = screen.look(*mark(MARKETS[1], 10.1, 1))
    assert other[0].listing is MARKETS[1]
    released = screen.look(*mark(MARKETS[0], 10.05, 2))
    assert [event for event, _ in released] == [first, mark(MARKETS[0], 10.0, 0)[0], mark(MARKETS[0], 10.05, 2)[0]]
    assert screen.cleared == {0, 1}


def test_the_only_market_of_a_symbol_waits_ten_seconds() -> None:
    screen = Screen(Defects())
    assert screen.look(*mark(MARKETS[0], 10.0, 0)) == ()
    assert screen.look(*mark(MARKETS[0], 10.0, 9.9)) == ()
    assert len(screen.look(*mark(MARKETS[0], 10.0, 10.1))) == 3


def test_another_coin_of_the_same_name_is_left_out_and_counted() -> None:
    screen = cleared(10.0, 10.0)
    assert screen.look(*mark(MARKETS[2], 0.002, 1)) == ()
    assert 2 not in screen.cleared
    ((kind, count, sample),) = screen._defects.so_far()
    assert (kind, count) == ("okx.implausible", 1)
    assert "okx:X" in sample


def test_the_first_market_is_put_out_when_it_was_the_wrong_one() -> None:
    screen = Screen(Defects())
    for at in (0.0, 11.0):
        screen.look(*mark(MARKETS[0], 1_000.0, at))  # contracts read as coins, alone for ten seconds
    assert screen.cleared == {0}
    for at in (12.0, 13.0):
        for listing in MARKETS[1:3]:
            screen.look(*mark(listing, 10.0, at))
    assert screen.cleared == {0, 1, 2}
    assert not screen.keeps(*mark(MARKETS[0], 1_000.0, 30.0))
    assert screen.cleared == {1, 2}
    assert screen.look(*mark(MARKETS[0], 10.0, 31.0))  # repaired: it is let in again
    assert screen.cleared == {0, 1, 2}


def run(screen: Screen, prices: dict[int, float], begin_s: int, end_s: int, every_s: int = 1) -> dict[int, int]:
    """Show the markets' prices again and again; returns how many of each were let through."""
    passed = dict.fromkeys(prices, 0)
    for at in range(begin_s, end_s, every_s):
        for number, price in prices.items():
            event, now_ns = mark(MARKETS[number], price, at + number * 1e-3)
            if number in screen.cleared:
                passed[number] += screen.keeps(event, now_ns)
            else:
                passed[number] += len(screen.look(event, now_ns))
    return passed


def test_the_wrong_one_of_four_stays_out_for_an_hour_though_it_was_first() -> None:
    screen = Screen(Defects())
    passed = run(screen, {0: 0.02, 1: 0.5, 2: 0.5, 3: 0.51}, 0, 3600)
    assert passed[0] == 0
    assert min(passed[number] for number in (1, 2, 3)) >= 3599
    assert screen._defects.counts["binance.implausible"] >= 3598
    assert not [kind for kind in screen._defects.counts if kind.endswith(".disputed")]
    assert run(screen, {0: 0.5, 1: 0.5}, 3600, 3610)[0] == 10  # it agrees


def test_the_wrong_one_that_was_alone_for_long_is_put_out_for_good() -> None:
    screen = Screen(Defects())
    run(screen, {0: 0.02}, 0, 100)
    assert screen.cleared == {0}
    run(screen, {0: 0.02, 1: 0.5, 2: 0.5}, 100, 120)
    assert screen.cleared == {1, 2}
    assert run(screen, {0: 0.02, 1: 0.5, 2: 0.5}, 120, 3600)[0] == 0
    assert run(screen, {0: 0.02, 2: 0.5}, 3600, 7200)[0] == 0  # one of those that overruled it is gone
    assert run(screen, {0: 0.7, 2: 0.5}, 7200, 7210)[0] == 10


def test_one_that_was_overruled_is_let_in_when_nobody_else_is_left() -> None:
    screen = cleared(10.0, 10.0)
    assert run(screen, {0: 10.0, 1: 10.0, 2: 0.5}, 1, 20)[2] == 0
    assert run(screen, {2: 0.5}, 20, 79)[2] == 0
    assert run(screen, {2: 0.5}, 79, 100)[2] > 0


@pytest.mark.parametrize("first_s", [0, 60])
def test_of_two_markets_that_contradict_each_other_both_are_let_through_and_reported(first_s: int) -> None:
    screen = Screen(Defects())
    run(screen, {0: 10.0}, 0, first_s)
    passed = run(screen, {0: 10.0, 1: 0.1}, first_s, first_s + 3600)
    assert min(passed.values()) == 3600
    assert screen.cleared == {0, 1}
    for venue in ("binance", "bybit"):
        assert 350 <= screen._defects.counts[f"{venue}.disputed"] <= 362
    assert set(screen._defects.counts) == {"binance.disputed", "bybit.disputed"}
    assert screen.take_dropped("binance") == {}


def test_a_contradiction_waits_ten_seconds_for_a_third_and_is_no_more_once_it_came() -> None:
    screen = Screen(Defects())
    assert run(screen, {0: 10.0, 1: 0.1}, 0, 10) == {0: 0, 1: 0}
    assert run(screen, {0: 10.0, 1: 0.1, 2: 0.1}, 10, 11)[2] == 1
    run(screen, {0: 10.0, 1: 0.1, 2: 0.1}, 11, 30)
    assert screen.cleared == {1, 2}
    before = screen._defects.counts.copy()
    assert run(screen, {0: 10.0, 1: 0.1, 2: 0.1}, 30, 3600)[0] == 0
    assert screen._defects.counts - before == {"binance.implausible": 3570}


def test_two_against_two_puts_nobody_out() -> None:
    screen = Screen(Defects())
    passed = run(screen, {0: 10.0, 1: 0.1, 2: 10.0, 3: 0.1}, 0, 600)
    assert min(passed.values()) >= 599


def test_two_that_are_wrong_together_are_outnumbered() -> None:
    markets = [*MARKETS, dataclasses.replace(listing_of("htx", "X", "XYZ", "USDT"), market=4)]
    screen = Screen(Defects())
    for at in range(60):
        for listing, price in zip(markets, (0.1, 0.1, 10.0, 10.0, 10.0), strict=True):
            event, now_ns = mark(listing, price, at)
            if listing.market in screen.cleared:
                screen.keeps(event, now_ns)
            else:
                screen.look(event, now_ns)
    assert screen.cleared == {2, 3, 4}


def test_what_does_not_fit_on_the_axis_of_the_first_price_is_left_out() -> None:
    """The engine takes the width of a symbol's bins from its first price; in one batch, it could not refuse another."""
    screen = Screen(Defects())
    passed = run(screen, {0: 0.002, 1: 10_000.0}, 0, 600)
    assert passed == {0: 600, 1: 0}
    assert screen._defects.counts["bybit.implausible"] >= 580


def test_the_price_of_a_market_that_is_gone_says_nothing() -> None:
    screen = cleared(100.0, 100.0)
    for at in (100.0, 111.0):  # another coin takes the name, long after
        screen.look(*mark(MARKETS[2], 250.0, at))
    assert 2 in screen.cleared


def test_what_is_left_out_is_a_gap_of_its_market() -> None:
    screen = cleared(10.0, 10.0)
    for at in (1.0, 2.0):
        screen.look(*mark(MARKETS[2], 0.002, at))
    assert screen.take_dropped("okx") == {MARKETS[2]: (START + S, START + 2 * S)}
    assert screen.take_dropped("okx") == {}
    assert screen.take_dropped("binance") == {}


def test_one_other_market_alone_puts_nobody_out() -> None:
    screen = cleared(10.0, 10.0)
    assert screen.keeps(*mark(MARKETS[0], 30.0, 20))


def test_bitcoin_for_a_hundred_dollars_is_refused_before_the_engine_would_end() -> None:
    listing = dataclasses.replace(listing_of("binance", "BTCUSDT", "BTC", "USDT"), market=7)
    screen = Screen(Defects())
    for at in (0.0, 11.0, 22.0):
        assert screen.look(Trade(listing, START, 100.0, 1.0, 1), START + round(at * S)) == ()
    assert not screen.cleared


def test_an_open_interest_beyond_everything_is_left_out() -> None:
    screen = cleared(10.0, 10.0)
    assert screen.keeps(OpenInterest(MARKETS[0], START, 1e9), START)
    assert not screen.keeps(OpenInterest(MARKETS[0], START, 1e11), START)
    assert not screen.keeps(OpenInterestValue(MARKETS[0], START, 1e12), START)
    inverse = dataclasses.replace(listing_of("bybit", "XYZUSD", "XYZ", "USD", inverse=True), market=0)
    assert screen.keeps(OpenInterest(inverse, START, 1e11), START)
    assert screen._defects.counts["binance.implausible"] == 2
    assert screen.take_dropped("binance")


def test_a_market_that_never_shows_a_price_does_not_fill_the_memory() -> None:
    screen = Screen(Defects())
    for number in range(20_000):
        screen.look(OpenInterest(MARKETS[0], START, float(number)), START)
    assert len(screen._held[0]) <= 5_000
    assert screen._defects.counts["binance.held_too_long"] >= 10_000


def test_of_a_book_only_the_newest_snapshot_is_held() -> None:
    screen = Screen(Defects())
    for number in range(100):
        screen.look(Book(MARKETS[0], START, ((float(number + 1), 1.0),), (), True), START)
    ((held, _),) = screen._held[0]
    assert isinstance(held, Book)
    assert held.bids == ((100.0, 1.0),)
