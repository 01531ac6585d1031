"""Who tells exact positions: refused as a whole, waiting, counted by sequence, gone with age."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from forcedmove_server.config import ExactConfig
from forcedmove_server.engine.exact import positions
from forcedmove_server.errors import InputError, LimitError, UnknownNameError
from forcedmove_server.market.positions import ExactPosition, PositionKey, PositionState
from tests.unit.exact_book import HYPERLIQUID, INVERSE, LINEAR, LONG, SHORT, Book, position


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
        (position(LONG, 1e305), r"quantity = 1e\+305.*not a plausible position"),  # USD of it are beyond float64
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
    gone = book.exact.held("dead")
    assert (gone.sequence, gone.expires_in_s, gone.positions) == (2, 0.0, ())


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


@pytest.mark.parametrize("ended", ["expired", "cleared and expired", "cleared without a place"])
def test_an_older_message_of_who_is_gone_is_not_taken_for_news(ended: str) -> None:
    book = Book(config=ExactConfig(max_age_s=60))
    if ended != "cleared without a place":
        assert book.tell(position(LONG, 30), producer="late", sequence=50).applied
    if ended != "expired":
        assert book.tell(producer="late", sequence=60).applied
    book.seconds = 61
    book.feed(100_000)
    last = 50 if ended == "expired" else 60
    for old in (1, last):
        ack = book.tell(position(LONG, 30), producer="late", sequence=old)
        assert (ack.applied, ack.sequence, ack.live, ack.expires_in_s) == (False, last, 0, 0)
    assert book.live() == ([100, 100], [0, 0])
    assert book.tell(position(LONG, 30), producer="late", sequence=last + 1).applied
    assert book.live() == ([70, 100], [30, 0])
    assert not book.tell(producer="late", sequence=last).applied


def test_so_many_are_remembered_and_the_longest_gone_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "_REMEMBERED", 3)
    book = Book()
    for name in ("a", "b", "c", "a", "d"):
        book.tell(producer=name)
    assert [bool(book.exact.held(name).sequence) for name in "abcd"] == [True, False, True, True]
    book.tell(producer="config:file")
    assert not book.exact.held("config:file").sequence, "the server's own need none"
