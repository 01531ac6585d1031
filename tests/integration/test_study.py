"""A small study of the simulated market from end to end: what it measures is true of the market that it ran."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forcedmove_server.config import Config
from forcedmove_server.engine.evaluation import Evaluation
from forcedmove_server.engine.study import StudyPlan, run_study
from forcedmove_server.scorecard.study.result import BASELINES, CALIBRATED, MAPS, PRIOR, TRUE, StudyResult
from forcedmove_server.scorecard.study.summary import SCOPES
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig

PLAN = StudyPlan(seeds=(5, 6), regimes=("crash",), symbols=("BTC",), hours=2.2, skip_hours=0)


@pytest.fixture(scope="module")
def study() -> StudyResult:
    told: list[float] = []
    result = run_study(PLAN, Config(), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    return result


def test_every_map_is_scored_every_hour(study: StudyResult) -> None:
    for run in study.runs:
        scored = {(score.hour, score.side, score.map) for score in run.maps}
        assert scored == {(hour, side, name) for hour in (1, 2) for side in ("long", "short") for name in MAPS}
        assert len(run.maps) == len(scored)
        assert {score.hour for score in run.weights} == {0, 1, 2}
        assert {(band.hour, band.scope) for band in run.bands} == {(hour, scope) for hour in (1, 2) for scope in SCOPES}


def test_knowing_leverage_helps_and_baselines_are_worse(study: StudyResult) -> None:
    def mean(name: str) -> float:
        return float(np.mean([s.wasserstein_bp for run in study.runs for s in run.maps if s.map == name]))

    assert mean(TRUE) < mean(PRIOR)
    assert max(mean(PRIOR), mean(CALIBRATED)) < min(mean(name) for name in BASELINES)


def test_distances_are_those_of_the_weights(study: StudyResult) -> None:
    scores = study.runs[0].weights
    feeds = {score.market: score.feed for score in scores}
    assert feeds["bybit:BTCUSDT"] == "full"
    assert feeds["hyperliquid:BTC"] == "none"
    assert feeds["binance:BTCUSD_PERP"] == "sampled"
    for score in scores:
        assert 0 < score.prior < 0.3
        assert score.live_true < score.live_prior + 0.1
        if score.hour == 0:
            assert (score.calibrated, score.live_calibrated) == (score.prior, score.live_prior)
    # a market whose liquidations nobody publishes learns nothing from them, one that publishes all does
    last = {score.market: score for score in scores if score.hour == 2}
    assert last["bybit:BTCUSDT"].calibrated != last["bybit:BTCUSDT"].prior


def test_bands_are_counted_on_bins_that_say_something(study: StudyResult) -> None:
    for band in study.runs[0].bands:
        assert band.bins > 100
        assert band.inside + band.below + band.above == band.bins
        assert 0 <= band.usd_inside <= band.usd


def test_bands_hold_the_truth_where_sizes_are_known(study: StudyResult) -> None:
    """Liquidations are printed in sizes smaller than those of what is not liquidated: such bands are too narrow."""

    def share(scope: str) -> float:
        bands = [band for run in study.runs for band in run.bands if band.scope == scope and band.hour == 2]
        return sum(band.inside for band in bands) / sum(band.bins for band in bands)

    for scope in ("market", "symbol"):
        assert 0.82 < share(f"{scope}_sized") < 0.97
    assert share("symbol") < share("symbol_sized")


def test_processes_give_the_same_as_one(study: StudyResult) -> None:
    assert run_study(dataclasses.replace(PLAN, jobs=2), Config()).runs == study.runs


def test_weights_that_are_right_have_no_distance() -> None:
    """With the traders' own weights as prior, the map that does not learn has the distance of rounding alone."""
    source = SimulatedSource(
        SimulationConfig(seed=9, symbols=("BTC",), venues=("bybit",), warmup_hours=1, duration_hours=1)
    )
    evaluation = Evaluation(source, Config())
    evaluation._pipelines[PRIOR]._leverage_shares = evaluation._pipelines[TRUE]._leverage_shares
    for _ in evaluation:
        pass
    found = evaluation.result()
    assert max(score.prior for score in found.weights) < 1e-3
    by_map = {(s.map, s.side): s.spearman for s in found.maps}
    assert by_map[PRIOR, "long"] == by_map[TRUE, "long"]
