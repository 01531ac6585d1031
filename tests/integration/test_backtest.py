"""Maps are frozen, scored and learnt from over a whole run, and the second part of it is held apart from the first."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.config import CalibrationConfig, Config, EngineConfig, ModelConfig
from forcedmove_server.engine.backtest import Backtest
from forcedmove_server.engine.forecasts import MAPS, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline, configured_pipeline
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.liquidation_feeds import liquidations_complete
from forcedmove_server.scorecard.frozen import FrozenMap
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.sources.make import bounded_simulation
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

CONFIG = Config(engine=EngineConfig(backend="cpu", threads=1, max_markets=8))
HOUR_NS = 3600 * 10**9
STEP_NS = 300 * 10**9


class KeptScorecard(Scorecard):
    """Remembers the maps that it was given."""

    def __init__(self) -> None:
        super().__init__(maps=MAPS)
        self.kept: list[FrozenMap] = []

    def freeze(self, maps, positions=None):  # type: ignore[no-untyped-def]
        self.kept += (maps := list(maps))
        super().freeze(maps, positions)


def backtested(seed: int = 3, hours: float = 3.0, fit_hours: float | None = 2.0) -> BacktestResult:
    source = bounded_simulation(seed, ("BTC",), hours)
    until = None if fit_hours is None else source.config.epoch_ns + round(fit_hours * HOUR_NS)
    backtest = Backtest(source, CONFIG, "test", until)
    for _ in backtest:
        pass
    return backtest.result()


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    return backtested()


def test_every_market_is_frozen_every_five_minutes_with_all_maps_on_one_axis() -> None:
    pipeline, scorecard = configured_pipeline(InstrumentRegistry(), CONFIG), KeptScorecard()
    forecasts = Forecasts(pipeline, scorecard)
    source = bounded_simulation(3, ("BTC",), 1.0)
    for batch in source.batches(pipeline.registry):
        forecasts.take(batch)
    times = sorted({one.at_ns for one in scorecard.kept})
    assert len(times) >= 10
    assert set(np.diff(times)) == {STEP_NS}
    for at_ns in times[1:]:
        by_market: dict[int, list[FrozenMap]] = {}
        for one in scorecard.kept:
            if one.at_ns == at_ns:
                by_market.setdefault(one.market, []).append(one)
        assert set(by_market) == set(range(len(pipeline.registry)))
        for maps in by_market.values():
            assert [one.name for one in maps] == list(MAPS)
            assert len({(one.first_bin, one.levels.shape, one.mark_usd) for one in maps}) == 1
            ours, naive = maps[0].levels.sum(1), maps[1].levels.sum(1)
            assert np.all(ours <= maps[0].open_interest * (1 + 1e-9)), "never more than there is"
            assert np.all(ours > 0.15 * maps[0].open_interest)
            assert np.all(naive < maps[1].open_interest)
    assert scorecard.summary().invariants.worst_interest_error == 0.0


def test_nothing_of_the_fit_period_is_in_the_score(result: BacktestResult) -> None:
    assert result.fit is not None
    assert result.fit_summary is not None
    assert result.fit[1] == result.fit[0] // STEP_NS * STEP_NS + 2 * HOUR_NS
    assert result.test[0] > result.fit[1]
    assert result.summary.begin_ns == result.test[0]
    assert result.fit_summary.end_ns == result.fit[1]
    assert {score.map for score in result.summary.maps} == {*MAPS, "distance"}
    assert result.summary.invariants.worst_interest_error == 0.0
    assert {one.truth is not None for one in result.weights} == {True}
    learnt = [np.abs(np.subtract(one.posterior, one.prior)).sum() for one in result.weights]
    assert max(learnt) > 0.01


def test_the_same_run_gives_the_same_bytes(result: BacktestResult) -> None:
    assert backtested().to_json() == result.to_json()


def test_without_a_fit_period_the_weights_stay_what_they_are() -> None:
    plain = backtested(hours=1.0, fit_hours=None)
    assert (plain.fit, plain.fit_summary, plain.weights) == (None, None, ())
    assert any("nothing was fitted" in note for note in plain.notes)


def test_a_fit_period_that_leaves_nothing_to_test_on_is_refused() -> None:
    with pytest.raises(InputError, match=r"fit-until = '\d{4}-\d\d-\d\d \d\d:\d\d UTC': leaves no time to test on"):
        backtested(hours=1.0, fit_hours=2.0)


def test_weights_are_learnt_kept_and_change_no_quantity(tmp_path: Path) -> None:
    config = CalibrationConfig(state=str(tmp_path / "weights" / "state.npz"), every_s=600)
    pipeline = configured_pipeline(InstrumentRegistry(), CONFIG)
    learner = Learner(pipeline, config)
    forecasts = Forecasts(pipeline, Scorecard(maps=MAPS), learner)
    for batch in bounded_simulation(3, ("BTC",), 2.0).batches(pipeline.registry):
        forecasts.take(batch)
    markets = np.arange(len(pipeline.registry))
    learnt = pipeline.store.weights(markets)
    np.testing.assert_allclose(learnt.sum(-1), 1.0, atol=1e-6)
    live = pipeline.store.ledger.live[markets]
    assert np.array_equal(live, np.repeat(pipeline.inference.markets.open_interest[markets, None], 2, 1))
    learner.save()
    again = Learner(configured_pipeline(InstrumentRegistry(), CONFIG), dataclasses.replace(config, frozen=True))
    assert again.calibration.frozen
    rows = [
        again.calibration.new_market(one.key, one.venue, prior, liquidations_complete(one.venue))
        for one, prior in zip(pipeline.registry, learner.priors(markets), strict=True)
    ]
    kept = learner.calibration.weights(np.array([learner.calibration.row(one.key) for one in pipeline.registry]))
    np.testing.assert_array_equal(again.calibration.weights(np.array(rows)), kept)


def test_weights_of_before_are_in_effect_ten_minutes_after_a_restart(tmp_path: Path) -> None:
    config = CalibrationConfig(state=str(tmp_path / "state.npz"), every_s=600)
    first = configured_pipeline(InstrumentRegistry(), CONFIG)
    learner = Learner(first, config)
    forecasts = Forecasts(first, Scorecard(maps=MAPS), learner)
    for batch in bounded_simulation(3, ("BTC",), 2.0).batches(first.registry):
        forecasts.take(batch)
    learner.save()
    second = configured_pipeline(InstrumentRegistry(), CONFIG)
    again = Learner(second, dataclasses.replace(config, frozen=True, every_s=86_400))
    forecasts = Forecasts(second, Scorecard(maps=MAPS), again)
    for batch in bounded_simulation(4, ("BTC",), 0.2).batches(second.registry):
        forecasts.take(batch)
    rows = np.array([again.calibration.row(one.key) for one in second.registry])
    markets = np.arange(len(second.registry))
    np.testing.assert_allclose(second.store.weights(markets), again.calibration.weights(rows), atol=1e-4)
    assert np.abs(second.store.weights(markets) - again.priors(markets)).max() > 0.01


def test_the_command_prints_the_maps_side_by_side_and_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--seed", "3", "--hours", "1", "--fit-hours", "0.5", "--symbols", "BTC", "--report", str(report)]
    assert main(["backtest", *arguments]) == 0
    out = capsys.readouterr().out
    assert "fitted on 0.5 h, tested on the 0.3 h after it" in out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("5 min")] == [*MAPS, "distance"]
    assert json.loads(report.read_text())["title"] == "simulated market, seed 3"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fit-hours", "9", "--hours", "2"], "fit-hours = 9.0: must lie between 0 and 2"),
        (["--report", "report.doc"], "must end in one of .html"),
        (["--positions", "nothing.csv"], "nothing.csv"),
        (["--input", "nowhere", "--fit-hours", "1"], ""),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_hole_of_days_is_jumped_over() -> None:
    """What comes before it is scored, and so is what comes after; nothing is frozen in between."""
    pipeline = Pipeline(two_venue_registry(), ENGINE, ModelConfig())
    scorecard = Scorecard()
    forecasts = Forecasts(pipeline, scorecard)
    for number in range(12):
        forecasts.take(minute(number))
    before = scorecard.next_ns
    assert before is not None
    days = 3 * 24 * 60 + 1
    late = [minute(days + number) for number in range(12)]
    merged = EventBatch(
        until_ns=late[-1].until_ns,
        **{kind: np.concatenate([part.by_kind()[kind] for part in late]) for kind in late[0].by_kind()},
    )
    forecasts.take(merged)
    assert scorecard.next_ns is not None
    assert scorecard.next_ns >= before + 3 * 24 * HOUR_NS
    assert scorecard.summary().unscored, "the windows that the hole cuts are told"


def test_what_was_scored_before_a_restart_is_not_scored_again(tmp_path: Path) -> None:
    """Event time begins anew: the simulated market does that with every start."""
    first = Forecasts(Pipeline(two_venue_registry(), ENGINE, ModelConfig()), Scorecard())
    for number in range(40):
        first.take(minute(number))
    first.scorecard.save(tmp_path / "score.npz")
    again = Scorecard()
    again.restore(tmp_path / "score.npz")
    checks = again.summary().invariants.checks
    second = Forecasts(Pipeline(two_venue_registry(), ENGINE, ModelConfig()), again)
    for number in range(30):
        second.take(minute(number))
    assert again.summary().invariants.checks == checks
    for number in range(30, 50):
        second.take(minute(number))
    assert again.summary().invariants.checks > checks
