"""Requests of streams on exact positions: settled once, in order, refused as a whole, remembered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from forcedmove_server.config import ExactConfig
from forcedmove_server.engine.exact import ingest
from forcedmove_server.errors import InputError, LimitError, NotReadyError, QuotaError, UnknownNameError
from forcedmove_server.margin.cohort_levels import cohort_levels
from forcedmove_server.margin.position import liquidation_of
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.ingest import (
    DeltaChange,
    IngestAck,
    IngestRequest,
    Outcome,
    PositionDelta,
    Refusal,
    RefusalKind,
    refusal_of,
)
from forcedmove_server.market.instruments import ContractType, Instrument
from forcedmove_server.market.positions import PositionChange, PositionState
from tests.unit.exact_book import HYPERLIQUID, LINEAR, LONG, SHORT, Book, position

LEVELS = {LONG: 95_000.0, SHORT: 105_000.0}


def delta(quantity: float, side: int = LONG, **more: Any) -> PositionDelta:
    values = {
        "market": LINEAR,
        "entry_price_usd": 99_000.0,
        "leverage": 20.0,
        "liquidation_price_usd": LEVELS[side],
        "time_ns": None,
    } | more
    return PositionDelta(side=side, quantity=quantity, **values)


class Stream:
    """Requests of one producer, numbered from one."""

    def __init__(self, book: Book, producer: str = "desk") -> None:
        self.book, self.producer, self.sequence = book, producer, 0

    def send(self, *deltas: PositionDelta, sequence: int | None = None, after: int = 0, body: Any = None) -> IngestAck:
        self.sequence = self.sequence + 1 if sequence is None else sequence
        told = DeltaChange(deltas) if body is None else body
        ack = self.book.exact.ingest(IngestRequest(self.producer, self.sequence, after, told))
        self.book.exact.fill()
        return ack

    def held(self) -> dict[tuple[int, float | None], tuple[float | None, PositionState]]:
        return {
            (one.position.key.side, one.position.entry_price_usd): (one.position.quantity, one.state)
            for one in self.book.exact.held(self.producer).positions
        }


def test_deltas_enter_the_map_as_positions_that_leave_less_to_infer() -> None:
    book = Book()
    stream = Stream(book)
    assert stream.send(delta(30), delta(5, SHORT)) == IngestAck(1, Outcome.APPLIED, 1)
    assert book.live() == ([70, 95], [30, 5])
    assert stream.send(delta(-10), delta(2, entry_price_usd=98_000.0)).outcome is Outcome.APPLIED
    assert book.live() == ([78, 95], [22, 5])
    (held,) = [one.position for one in book.pipeline.exact.held(0) if one.position.entry_price_usd == 98_000]
    assert (held.liquidation_price_usd, held.leverage, held.quantity) == (95_000, 20, 2)
    stream.send(delta(-20), delta(-2, entry_price_usd=98_000.0), delta(-5, SHORT))
    assert (book.live(), stream.held()) == (([100, 100], [0, 0]), {})


def test_more_than_is_held_is_refused_as_a_whole() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(30))
    ack = stream.send(delta(1, SHORT), delta(5), delta(-36))
    assert (ack.outcome, ack.last) == (Outcome.REFUSED, 2)
    assert ack.refusal == Refusal(
        RefusalKind.VALUE,
        "deltas[2].quantity",
        f"deltas[2].quantity = -36: is more than the 35 that are held of {LINEAR} long opened at 99000 with 20x",
    )
    assert book.live() == ([70, 100], [30, 0])
    # what is not the same cohort has nothing to give
    for other in (
        delta(-1, SHORT),
        delta(-1, leverage=25.0),
        delta(-1, entry_price_usd=99_000.5),
        delta(-1, market=HYPERLIQUID),
    ):
        assert stream.send(other).outcome is Outcome.REFUSED
    # in the order of the request
    assert stream.send(delta(-31), delta(1)).outcome is Outcome.REFUSED
    assert stream.send(delta(1), delta(-31)).outcome is Outcome.APPLIED
    assert stream.held() == {}


def test_a_sequence_counts_once_and_a_refusal_stays_one() -> None:
    book = Book()
    stream = Stream(book)
    assert stream.send(delta(30), sequence=5).outcome is Outcome.APPLIED
    refused = stream.send(delta(-31), sequence=7)
    assert stream.send(delta(1), sequence=9).outcome is Outcome.APPLIED
    for old in (5, 9, 1, 6):
        assert stream.send(delta(30), sequence=old) == IngestAck(old, Outcome.REPEATED, 9)
    # the answer to 7 was lost: whoever sends it again must not take it for applied, though it could be applied by now
    again = stream.send(delta(-31), sequence=7)
    assert again == IngestAck(7, Outcome.REFUSED, 9, refused.refusal)
    assert book.live() == ([69, 100], [31, 0])
    assert Stream(book, "other").send(delta(1)).outcome is Outcome.APPLIED


def test_one_row_of_sequences_for_streams_and_single_calls() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(30), sequence=5)
    assert not book.tell(position(LONG, 7), producer="desk", sequence=5).applied
    assert book.tell(position(LONG, 7), producer="desk", sequence=6, replace=False).applied
    assert book.live() == ([63, 100], [37, 0])
    assert stream.send(delta(1), sequence=6).outcome is Outcome.REPEATED
    change = PositionChange("desk", 7, (position(SHORT, 4, 104_000.0),), replace=True)
    assert stream.send(body=change, sequence=7).outcome is Outcome.APPLIED
    assert book.live() == ([100, 96], [0, 4])
    assert stream.send(delta(-1), sequence=8).outcome is Outcome.REFUSED, "replaced by the positions"


def test_a_request_waits_for_the_one_before_it() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(30), sequence=1)
    assert stream.send(delta(-31), sequence=3, after=2) == IngestAck(3, Outcome.POSTPONED, 1)
    assert stream.send(delta(5), sequence=2, after=1).outcome is Outcome.APPLIED
    assert stream.send(delta(-31), sequence=3, after=2).outcome is Outcome.APPLIED
    assert stream.held()[LONG, 99_000.0] == (4, PositionState.LIVE)


def test_what_was_refused_before_it_came_here_is_settled_in_its_place() -> None:
    book = Book()
    stream = Stream(book)
    why = Refusal(RefusalKind.VALUE, "deltas[0].quantity", "deltas[0].quantity = nan: ...")
    assert stream.send(body=why) == IngestAck(1, Outcome.REFUSED, 1, why)
    assert stream.send(delta(2), after=1).outcome is Outcome.APPLIED
    assert stream.send(delta(2), sequence=1) == IngestAck(1, Outcome.REFUSED, 2, why)
    assert book.exact.last_sequence("desk") == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (delta(1, liquidation_price_usd=100_001.0), "deltas[1].liquidation_price_usd"),
        (delta(1e12), "deltas[1].quantity"),
        (delta(1, market="binance:DOGEUSDT"), "market"),
    ],
)
def test_what_the_market_does_not_allow_is_refused_naming_the_delta(wrong: PositionDelta, field: str) -> None:
    book = Book()
    stream = Stream(book)
    ack = stream.send(delta(1, SHORT), wrong)
    assert ack.refusal is not None
    assert ack.refusal.field == field
    assert book.live() == ([100, 100], [0, 0])
    assert stream.send(delta(1)).outcome is Outcome.APPLIED


def test_a_crossed_cohort_can_be_closed_still_and_begins_anew() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(30))
    book.feed(94_000)
    assert stream.held() == {(LONG, 99_000.0): (30, PositionState.CROSSED)}
    before = book.live()
    # whoever tells of the same liquidation is not told off, and changes nothing
    assert stream.send(delta(-10)).outcome is Outcome.APPLIED
    assert stream.held() == {(LONG, 99_000.0): (20, PositionState.CROSSED)}
    assert stream.send(delta(-21)).outcome is Outcome.REFUSED
    assert stream.send(delta(4)).outcome is Outcome.REFUSED, "the mark is still beyond"
    assert book.live() == before
    book.feed(100_000, 70)
    assert stream.send(delta(4)).outcome is Outcome.APPLIED
    assert stream.held() == {(LONG, 99_000.0): (4, PositionState.LIVE)}
    assert book.live() == ([66, 70], [4, 0])
    assert stream.send(delta(-5)).outcome is Outcome.REFUSED, "what was crossed is gone"
    book.feed(94_000)
    assert stream.send(delta(-4)).outcome is Outcome.APPLIED
    assert stream.held() == {}


def test_a_cohort_waits_for_its_market() -> None:
    book = Book(ready=False)
    stream = Stream(book)
    stream.send(delta(30), delta(5, SHORT))
    stream.send(delta(-10), delta(-5, SHORT))
    assert stream.held() == {(LONG, 99_000.0): (20, PositionState.WAITING)}
    book.feed(100_000, 100)
    assert book.live() == ([80, 100], [20, 0])


def test_sums_are_decimal() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(0.1), delta(0.2))
    assert stream.send(delta(-0.3)).outcome is Outcome.APPLIED
    assert stream.held() == {}
    for _ in range(10):
        stream.send(delta(0.1))
    assert stream.held()[LONG, 99_000.0][0] == 1.0
    assert stream.send(delta(1e18), delta(1e-18), delta(-1e18), delta(-1e-18)).outcome is Outcome.APPLIED


def test_a_cohort_is_as_old_as_its_first_delta() -> None:
    book = Book()
    stream = Stream(book)
    stream.send(delta(1, time_ns=book.now - 5 * 10**9))
    first = book.pipeline.exact.held(0)[0].opened_at_s
    stream.send(delta(1, time_ns=book.now))
    (held,) = book.pipeline.exact.held(0)
    assert held.opened_at_s == first == book.now // 10**9 - 5


def test_a_silent_producer_loses_its_cohorts_and_no_request_counts_twice() -> None:
    book = Book(config=ExactConfig(max_age_s=60))
    stream = Stream(book)
    stream.send(delta(30))
    book.seconds = 45
    assert stream.send(sequence=0) == IngestAck(0, Outcome.REPEATED, 1), "it is there"
    stream.sequence = 1
    book.seconds = 100
    assert stream.send(delta(-31)).outcome is Outcome.REFUSED
    book.seconds = 159
    book.feed(100_000)
    assert book.live() == ([70, 100], [30, 0]), "a refused request was heard of too"
    book.seconds = 161
    book.feed(100_000)
    assert book.live() == ([100, 100], [0, 0])
    assert stream.send(delta(30), sequence=1).outcome is Outcome.REPEATED
    assert stream.send(delta(-31), sequence=2).outcome is Outcome.REFUSED
    assert stream.send(delta(-30), sequence=3).outcome is Outcome.REFUSED, "nothing is held any more"
    assert stream.send(sequence=0).last == 3
    stream.sequence = 3
    assert stream.send(delta(30)).outcome is Outcome.APPLIED


def test_limits_of_positions_hold_for_cohorts() -> None:
    book = Book(config=ExactConfig(max_positions=2, max_producers=1))
    stream = Stream(book)
    many = [delta(1, entry_price_usd=99_000.0 + k) for k in range(3)]
    ack = stream.send(*many)
    assert ack.refusal is not None
    assert (ack.refusal.kind, book.live()) == (RefusalKind.LIMIT, ([100, 100], [0, 0]))
    assert stream.send(*many[:2]).outcome is Outcome.APPLIED
    assert stream.send(delta(-1), many[2]).outcome is Outcome.APPLIED
    other = Stream(book, "other")
    assert other.send(delta(1)).outcome is Outcome.REFUSED
    assert other.send(delta(1), sequence=1).outcome is Outcome.REFUSED


def test_so_many_refusals_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "REMEMBERED", 2)
    monkeypatch.setattr(ingest, "_OF_ALL", 3)
    kept = ingest.Refusals()
    why = Refusal(RefusalKind.VALUE, "f", "m")
    for producer, sequence in (("a", 1), ("b", 1), ("a", 2), ("a", 3), ("c", 1)):
        kept.add(producer, sequence, why)
    found = [bool(kept.find(*key)) for key in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1))]
    assert found == [False, True, True, False, True]
    for number in range(1_000):
        kept.add("a", 10 + number, why)
    assert kept.find("c", 1)
    assert kept.find("a", 1_009)
    kept.add("d", 1, why)
    assert [bool(kept.find(*key)) for key in (("c", 1), ("a", 1_009), ("d", 1))] == [False, True, True]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("f", 1, "no"), RefusalKind.VALUE),
        (UnknownNameError("market", "x", []), RefusalKind.NAME),
        (LimitError("too much"), RefusalKind.LIMIT),
    ],
)
def test_errors_that_do_not_pass_are_refusals(error: Any, kind: RefusalKind) -> None:
    found = refusal_of(error)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize("error", [NotReadyError("later"), QuotaError("later")])
def test_errors_that_pass_are_none(error: Any) -> None:
    assert refusal_of(error) is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *((delta(value), "quantity") for value in (math.nan, math.inf, -math.inf, 0.0, 1e19, -1e-19)),
        *((delta(1, entry_price_usd=value), "entry_price_usd") for value in (math.nan, math.inf, 0.0, -1.0)),
        *((delta(1, leverage=value), "leverage") for value in (math.nan, math.inf, 0.0, -1.0)),
        (delta(1, time_ns=-1), "time_ns"),
    ],
)
def test_numbers_that_no_delta_can_have(wrong: PositionDelta, field: str) -> None:
    with pytest.raises(InputError, match=rf"d\.{field} = "):
        wrong.check("d")


@pytest.mark.parametrize(
    ("venue", "native", "contract"),
    [
        ("binance", "BTCUSDT", ContractType.LINEAR),
        ("binance", "BTCUSD_PERP", ContractType.INVERSE),
        ("bybit", "BTCUSDT", ContractType.LINEAR),
        ("okx", "BTC-USDT-SWAP", ContractType.LINEAR),
        ("hyperliquid", "BTC", ContractType.LINEAR),
        ("deribit", "BTC-PERPETUAL", ContractType.INVERSE),
        ("nowhere", "BTCUSDT", ContractType.LINEAR),
    ],
)
def test_levels_are_those_of_single_positions_of_typical_size(venue: str, native: str, contract: ContractType) -> None:
    instrument = Instrument(venue, native, "BTC", "USD", contract_type=contract, max_leverage=50)
    rule = rule_for(instrument)
    rng = np.random.default_rng(5)
    sides, entries = rng.integers(0, 2, 40).tolist(), rng.uniform(100, 1e5, 40).tolist()
    leverages = rng.uniform(1.0, min(rule.leverage_limit, 50.0), 40).tolist()
    found = cohort_levels(rule, sides, entries, leverages, 20_000.0, ["d"] * 40)
    for side, entry, leverage, level in zip(sides, entries, leverages, found, strict=True):
        typical = 20_000.0 if contract is ContractType.INVERSE else 20_000.0 / entry
        quantity = min(typical, float(rule.largest_quantity(leverage, entry)) * (1 - 1e-9))
        single = liquidation_of(rule, side=side, entry=entry, quantity=quantity, leverage=leverage)
        assert level == pytest.approx(single.liquidation_price, rel=1e-12)
    with pytest.raises(InputError, match=r"e\.leverage = 1000\.0: must be from 1 to"):
        cohort_levels(rule, [0, 0], [1e5, 1e5], [2.0, 1_000.0], 20_000.0, ["d", "e"])


def test_a_long_without_leverage_is_never_liquidated() -> None:
    rule = rule_for(Instrument("deribit", "BTC_USDC-PERPETUAL", "BTC", "USDC", max_leverage=50))
    assert cohort_levels(rule, [0], [1e5], [1.0], 20_000.0, ["d"]) == [None]


def test_room_counts_what_the_rows_do_not_show_yet() -> None:
    book = Book(config=ExactConfig(max_positions=10_000))
    many = [delta(0.001, entry_price_usd=90_000.0 + k) for k in range(2_047)]

    def tell(number: int, *deltas: PositionDelta) -> Outcome:
        return book.exact.ingest(IngestRequest("desk", number, 0, DeltaChange(deltas))).outcome

    # all in one tick: what left makes room, and what came takes it
    assert tell(1, *many) is Outcome.APPLIED
    assert tell(2, delta(1)) is Outcome.REFUSED
    assert tell(3, delta(-0.001, entry_price_usd=90_000.0), delta(1)) is Outcome.APPLIED
    assert tell(4, delta(1, SHORT)) is Outcome.REFUSED
    row = book.pipeline.exact.by_market[0]
    assert (row.side_lots, row.held) == ([2_046 + 1_000, 0], [])
    book.exact.fill()
    assert (row.side_lots, len(row.held)) == ([2_046 + 1_000, 0], 2_047)
    assert book.live() == ([96.954, 100], [3.046, 0])
