"""Depth and impact on recorded books and tape: what the model says of a flow against what the middle then did."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from forcedmove_server.config import ReplaySourceConfig
from forcedmove_server.engine.activity import Activity
from forcedmove_server.engine.cascade.impact import Spans, by_size, measure_spans
from forcedmove_server.engine.cascade.withdrawal import WithdrawalWatch
from forcedmove_server.engine.depth import BookTable, ImpactLaw
from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.make import make_source

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "hl_2026-06"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded markets lie only beside a development checkout"),
]
DEFAULT = 0.043


class Evening(NamedTuple):
    """Three and a half hours of seven coins, all with books."""

    registry: InstrumentRegistry
    activity: Activity
    watch: WithdrawalWatch
    books: BookTable
    trades: Records
    depth: Records
    until_ns: int


@pytest.fixture(scope="module")
def evening() -> Evening:
    config = ReplaySourceConfig(
        name="recorded",
        kind="replay",
        path=str(RECORDED),
        start=datetime(2026, 6, 11, 20, tzinfo=UTC),
        end=datetime(2026, 6, 12, tzinfo=UTC),
    )
    registry = InstrumentRegistry()
    activity, watch, books = Activity(registry), WithdrawalWatch(), BookTable(registry)
    trades, depth, until_ns = [], [], 0
    for batch in make_source(config).source.batches(registry):
        activity.take(batch)
        watch.take(batch.depth)
        books.take(batch.depth)
        trades.append(batch.trades)
        depth.append(batch.depth)
        until_ns = batch.until_ns
    return Evening(registry, activity, watch, books, np.concatenate(trades), np.concatenate(depth), until_ns)


def spans_of(evening: Evening, span_s: float) -> dict[str, Spans]:
    found = {}
    for market, instrument in enumerate(evening.registry):
        sigma = evening.activity.daily_volatility(instrument.symbol)
        volume = evening.activity.daily_volume_usd(instrument.symbol)
        assert sigma is not None
        assert volume is not None
        rows = (records[records["market"] == market] for records in (evening.trades, evening.depth))
        found[instrument.symbol] = measure_spans(*rows, span_s, ImpactLaw(sigma, volume, 1.0, DEFAULT))
    return found


def test_bursts_move_the_middle_about_as_far_as_book_and_law_say(evening: Evening) -> None:
    """Bursts of ten seconds; larger ones move it less than the book alone would let them: it refills meanwhile.

    The tape is an under-count in bursts, which works the other way.
    """
    spans = spans_of(evening, 10.0)
    assert set(spans) == {"BTC", "ETH", "SOL", "AVAX", "DOGE", "ARB", "WIF"}
    rows = by_size(list(spans.values()), (0.5, 2.0, 5.0, 12.0))
    assert [row.spans > 20 for row in rows] == [True] * 3
    for row in rows:
        assert 0.2 < row.moved_bp / row.predicted_bp < 3.0, row
        assert row.error_bp < 2.0 * row.predicted_bp + 1.0, row
        assert row.law_bp > row.moved_bp, "without the book the law says more than comes of it"
    moved = [row.moved_bp for row in rows]
    assert moved == sorted(moved), "what is said to move it further does"


def test_the_square_root_law_has_its_scale_where_flow_lasts_a_minute(evening: Evening) -> None:
    """Y of the two coins whose tape is densest, through the origin: about one, surely not a tenth or ten."""
    for symbol, spans in spans_of(evening, 60.0).items():
        if symbol in ("BTC", "ETH"):
            assert len(spans.moved) > 150
            y = float(spans.moved @ spans.by_law / (spans.by_law @ spans.by_law))
            assert 0.3 < y < 1.2, (symbol, y)
            assert np.corrcoef(spans.moved, spans.by_law)[0, 1] > 0.15


def test_ordinary_hours_leave_the_withdrawal_of_depth_open(evening: Evening) -> None:
    """Moves of five minutes stay below one per cent: the fit says so with its error, and the default holds."""
    fitted = evening.watch.fit(range(len(evening.registry)), DEFAULT)
    assert fitted.markets == 7
    assert fitted.samples > 100
    assert fitted.largest_move < 0.01
    assert fitted.measured is not None
    assert fitted.error is not None
    assert abs(fitted.measured) < 4 * fitted.error
    assert DEFAULT <= fitted.fraction < 0.5


def test_books_of_twenty_levels_reach_a_few_basis_points_and_grow_stale(evening: Evening) -> None:
    reaches = {"BTC": 2e-3, "ETH": 4e-3, "SOL": 2e-3}
    for market, instrument in enumerate(evening.registry):
        rows = evening.depth[evening.depth["market"] == market]
        middle = float(rows["price"][-40:].mean())
        (fresh,) = evening.books.reaches([market], middle, int(rows["time_ns"][-1]) + 10**9)
        assert not fresh.stale
        assert fresh.age_s < 5
        assert 0 < fresh.bid_reach < reaches.get(instrument.symbol, 0.02)
        assert fresh.bid_usd > 0
        (stale,) = evening.books.reaches([market], middle, int(rows["time_ns"][-1]) + 700 * 10**9)
        assert stale.stale
