"""Six days of trades and open interest of seven coins, scored: what holds, how steady maps are, what is learnt.

Figures are printed (``-rP``) and stand in docs/MODEL.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forcedmove_server.config import Config, ReplaySourceConfig
from forcedmove_server.engine.backtest import Backtest
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.sources.make import make_source, time_ns

TAPE = Path(__file__).parents[3] / "shared" / "data" / "hl_2026-06"
FIT_UNTIL = datetime(2026, 6, 15, tzinfo=UTC)
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not TAPE.is_dir(), reason="the recorded markets lie only beside a development checkout"),
]


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    config = ReplaySourceConfig(name="recorded", kind="replay", path=str(TAPE))
    backtest = Backtest(make_source(config).source, Config(), "six days", time_ns(FIT_UNTIL))
    for _ in backtest:
        pass
    return backtest.result()


def test_open_interest_is_kept(result: BacktestResult) -> None:
    """To the lot at every observation (``test_recorded_pipeline``); between two, less what was crossed since."""
    invariants = result.summary.invariants
    print(invariants)
    assert invariants.checks > 7 * 3 * 288 * 0.9
    assert invariants.worst_interest_error is not None
    assert invariants.worst_interest_error < 0.01


def test_maps_are_steady_from_hour_to_hour(result: BacktestResult) -> None:
    steady = result.stability
    print(steady)
    assert steady is not None
    assert steady.rank.low is None or steady.rank.low > 0.95
    assert steady.rank.value is not None
    assert steady.rank.value > 0.98
    assert steady.moved_bp.value is not None
    assert steady.moved_bp.value < 30
    assert steady.change_over_flow.value is not None
    assert steady.change_over_flow.value < 0.6
    assert steady.jumps.value is not None
    assert steady.jumps.value < 0.05


def test_three_days_of_one_minute_open_interest_teach_nothing_and_are_not_believed(result: BacktestResult) -> None:
    """No feed of liquidations, no cascade, and moves that reach no leverage the venue offers: weights stay put."""
    (evidence,) = result.evidence
    print(evidence)
    assert (evidence.venue, evidence.printed, evidence.seen) == ("hyperliquid", 0.0, 0.0)
    assert evidence.windows > 3_000
    assert evidence.reliability < 0.3
    last = max(one.at_ns for one in result.weights)
    for one in result.weights:
        if one.at_ns == last:
            moved = sum(abs(a - b) for a, b in zip(one.posterior, one.prior, strict=True)) / 2
            assert moved < 0.1


def test_release_on_crossing_stands_beside_the_baselines(result: BacktestResult) -> None:
    """Three days of a quiet market tell no map from another; what is asserted is that nothing pretends otherwise."""
    for score in result.summary.maps:
        print(score.map, score.horizon_ns // 60_000_000_000, "min", score.released.rank, score.released.rank_gain)
    five = {score.map: score for score in result.summary.maps if score.horizon_ns == 300 * 10**9}
    ours = five["ours"].released
    assert ours.rank.n > 500
    assert ours.rank_gain is not None
    assert ours.rank_gain.value is not None
    assert abs(ours.rank_gain.value) < 0.15
    assert five["distance"].released.rank.value == 0.0
