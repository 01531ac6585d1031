"""Longs and shorts of a market are conserved each on their own: their open interests need not be equal."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.store import CohortStore
from tests.unit.margin_markets import market

NOW, CENTRE = 1_790_000_000, 1000 << PRICE_BITS
ALONE = np.zeros(1, np.int32)


@st.composite
def steps(draw: st.DrawFn) -> list[Updates]:
    """A life of one market: the price wanders up to a crash; each side is observed with its own number, or neither."""
    found, price = [], CENTRE
    for number in range(draw(st.integers(1, 6))):
        before, price = price, int(CENTRE * draw(st.floats(0.6, 1.5)))
        lots = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=4))
        over = draw(st.none() | st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)))
        interest = [NOT_OBSERVED] * 2 if over is None else [sum(lots) + more for more in over]
        entries = draw(st.lists(st.floats(0.9, 1.1), min_size=len(lots), max_size=len(lots)))
        found.append(
            Updates(
                market=ALONE,
                low=np.full(1, min(before, price), np.uint32),
                high=np.full(1, max(before, price), np.uint32),
                price=np.full(1, price, np.uint32),
                open_interest=np.array([interest], np.uint32),
                opened_at=np.full(1, NOW + 1200 * number, np.uint32),  # compactions in between
                first_open=np.array([0, len(lots)]),
                open_entry=(price * np.array(entries)).astype(np.uint32),
                open_lots=np.array(lots, np.uint32),
            )
        )
    return found


@settings(max_examples=25)
@given(life=steps())
def test_each_side_holds_its_open_interest_and_the_ledger_balances(backend: Backend, life: list[Updates]) -> None:
    store = CohortStore(backend, ModelConfig(), 1, 64, 256)
    store.add_market(0, market("binance", max_leverage=125), 100_000.0)
    store.centre(ALONE.astype(np.int64), CENTRE)
    ledger = store.ledger
    for step in life:
        store.apply(step)
        if step.open_interest[0, 0] != NOT_OBSERVED:
            assert ledger.live[0].tolist() == step.open_interest[0].tolist()
        np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)
        np.testing.assert_array_equal(ledger.opened[:, 0], ledger.opened[:, 1])
        store.refresh(NOW)
        assert store.resident.totals(ALONE, weighted=False).sum(-1)[0].tolist() == ledger.live[0].tolist()
        assert store.resident.cohorts(0).lots.sum(1, dtype=np.uint64).tolist() == ledger.live[0].tolist()
