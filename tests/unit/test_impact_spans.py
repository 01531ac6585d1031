"""The impact of flow on hand-made books and tape."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forcedmove_server.engine.cascade.impact import by_size, held_within, measure_spans
from forcedmove_server.engine.depth import ImpactLaw
from forcedmove_server.market.events import BOOK_DEPTH, TRADE, Records

LAW = ImpactLaw(sigma_day=0.04, volume_day_usd=1e8, y=1.0, withdrawal_fraction=0.043)
S = 10**9


def book(second: float, middle: float) -> Records:
    """Two levels a side: 10 000 USD at 2 bp, 30 000 USD at 10 bp."""
    rows = np.zeros(4, BOOK_DEPTH)
    rows["time_ns"] = round(second * S)
    rows["side"] = [0, 0, 1, 1]
    rows["price"] = middle * (1 + np.array([-2e-4, -1e-3, 2e-4, 1e-3]))
    rows["quantity"] = np.array([1e4, 3e4, 1e4, 3e4]) / rows["price"]
    return rows


def trade(second: float, usd: float, price: float = 100.0) -> Records:
    rows = np.zeros(1, TRADE)
    rows["time_ns"], rows["price"], rows["quantity"] = round(second * S), price, abs(usd) / price
    rows["aggressor"] = 1 if usd > 0 else -1
    return rows


def test_a_flow_walks_the_book_and_then_the_law() -> None:
    shown = book(0, 100.0)
    assert held_within(shown, 100.0, 1, 5_000, LAW) == pytest.approx(1e-4)
    assert held_within(shown, 100.0, 0, 25_000, LAW) == pytest.approx(6e-4)
    beyond = math.sqrt(1e-3**2 + 60_000 / 1e8 * 0.04**2)
    assert held_within(shown, 100.0, 1, 100_000, LAW) == pytest.approx(beyond)
    assert held_within(shown[:0], 100.0, 1, 1e6, LAW) == pytest.approx(0.04 * math.sqrt(0.01))


def test_spans_have_signed_flow_and_moves_in_its_direction() -> None:
    depth = np.concatenate([book(0, 100.0), book(2, 100.03), book(4, 100.01), book(6, 100.01), book(60, 50.0)])
    trades = np.concatenate([trade(1, 15_000), trade(1.5, -5_000), trade(3, -4_000), trade(30, 1e6)])
    found = measure_spans(trades, depth, 2.0, LAW)
    np.testing.assert_allclose(found.flow_usd, [10_000, -4_000])
    np.testing.assert_allclose(found.moved, [math.log(1.0003), math.log(100.03 / 100.01)], rtol=1e-9)
    np.testing.assert_allclose(found.by_book, [2e-4, 0.8e-4], rtol=1e-6)
    np.testing.assert_allclose(found.by_law, 0.04 * np.sqrt(np.array([1e4, 4e3]) / 1e8))
    rows = by_size([found], (0.0, 1.0, 3.0, 100.0))
    assert [row.spans for row in rows] == [1, 1]
    assert rows[1].predicted_bp == pytest.approx(2.0)
    assert rows[1].moved_bp == pytest.approx(3.0, rel=1e-3)
    assert rows[1].error_bp == pytest.approx(1.0, rel=1e-3)
