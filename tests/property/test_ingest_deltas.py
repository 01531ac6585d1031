"""Whatever deltas are told in whatever portions, the map is that of exact positions with the summed quantities."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_server.engine.frames import SIDES
from forcedmove_server.market.ingest import DeltaChange, IngestRequest, Outcome, PositionDelta
from forcedmove_server.market.positions import ExactPosition, PositionKey
from tests.unit.exact_book import LINEAR, Book, rendered

#: side, entry, leverage, level; two cohorts of a side may share a level
COHORTS = (
    (0, 99_000.0, 20.0, 95_000.0),
    (0, 99_000.0, 25.0, 96_000.0),
    (0, 98_000.0, 20.0, 95_000.0),
    (1, 101_000.0, 10.0, 109_000.0),
    (1, 101_000.0, 100.0, None),
)
INTEREST = 100.0

steps = st.lists(
    st.lists(st.tuples(st.integers(0, len(COHORTS) - 1), st.integers(-4_000, 6_000)), max_size=6),
    max_size=12,
)


@settings(max_examples=60)
@given(requests=steps, price=st.sampled_from([100_000.0, 99_500.0, 102_000.0]))
def test_deltas_are_positions_with_summed_quantities(requests: list[list[tuple[int, int]]], price: float) -> None:
    book, plain = Book(), Book()
    ledger: dict[int, Decimal] = defaultdict(Decimal)
    for number, request in enumerate(requests, 1):
        rows = [(which, Decimal(thousandths) / 1_000) for which, thousandths in request if thousandths]
        deltas = tuple(
            PositionDelta(LINEAR, side, float(quantity), entry, leverage, level)
            for (side, entry, leverage, level), quantity in ((COHORTS[which], q) for which, q in rows)
        )
        ack = book.exact.ingest(IngestRequest("desk", number, number - 1, DeltaChange(deltas)))
        after = ledger.copy()
        allowed = True
        for which, quantity in rows:
            after[which] += quantity
            allowed &= after[which] >= 0
        assert ack.outcome is (Outcome.APPLIED if allowed else Outcome.REFUSED)
        assert ack.last == number
        ledger = after if allowed else ledger
        held = {one.position.key.cohort: one.position for one in book.exact.held("desk").positions}
        for (_, entry, leverage, _), total in ((COHORTS[which], total) for which, total in ledger.items() if total):
            assert held.pop((entry, leverage)).quantity == float(total)
        assert not held
    told = [
        ExactPosition(
            PositionKey(str(which), LINEAR, COHORTS[which][0]),
            quantity=float(total),
            liquidation_price_usd=COHORTS[which][3],
            leverage=COHORTS[which][2],
            entry_price_usd=COHORTS[which][1],
        )
        for which, total in ledger.items()
        if total
    ]
    plain.tell(*told)
    for one in (book, plain):
        one.feed(price, INTEREST)
    assert book.live() == plain.live()
    known = [sum(float(ledger[k]) for k, row in enumerate(COHORTS) if row[0] == side) for side in (0, 1)]
    inferred, exact = book.live()
    for side in range(len(SIDES)):
        assert exact[side] == round(known[side], 3)
        assert inferred[side] + exact[side] == max(INTEREST, exact[side]), "conserved against open interest"
    ours, theirs = rendered(book), rendered(plain)
    assert (ours.values == theirs.values).all()
