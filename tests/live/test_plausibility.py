"""Another coin of the same name, or a misread unit, must neither spoil a symbol's map nor end the server."""

from __future__ import annotations

import dataclasses

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
        screen.look(*mark(MARKETS[0], 10_000.0, at))  # contracts read as coins, alone for ten seconds
    assert screen.cleared == {0}
    for at in (12.0, 13.0):
        for listing in MARKETS[1:3]:
            screen.look(*mark(listing, 10.0, at))
    assert screen.cleared == {0, 1, 2}
    assert not screen.keeps(*mark(MARKETS[0], 10_000.0, 30.0))
    assert screen.cleared == {1, 2}
    assert screen.look(*mark(MARKETS[0], 10.0, 31.0))  # repaired: it is let in again
    assert screen.cleared == {0, 1, 2}


def test_of_two_markets_that_disagree_the_first_is_believed_after_ten_seconds() -> None:
    screen = Screen(Defects())
    for at in (0.0, 5.0):
        assert screen.look(*mark(MARKETS[0], 10.0, at)) == ()
        assert screen.look(*mark(MARKETS[1], 0.1, at)) == ()
    assert len(screen.look(*mark(MARKETS[0], 10.0, 11.0))) == 3
    assert screen.look(*mark(MARKETS[1], 0.1, 11.0)) == ()
    assert screen.cleared == {0}


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
