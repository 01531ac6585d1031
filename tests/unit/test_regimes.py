"""Regimes of the simulated market: each does what its profile says."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from forcedmove_client.cli import demo, main
from forcedmove_client.cli.failures import CommandError
from forcedmove_server.commands import serve
from forcedmove_server.config import SimulateSourceConfig, SimulationRegime
from forcedmove_server.errors import UnknownNameError
from forcedmove_server.sources.make import simulation_config
from forcedmove_server.sources.simulate import SimulationConfig
from forcedmove_server.sources.simulate.regime_profiles import MIXED, REGIMES, RegimeProfile
from forcedmove_server.sources.simulate.regimes import Regimes, Weather
from forcedmove_server.sources.simulate.world import World

HOUR = 3_600


def config(regime: SimulationRegime, seed: int = 3) -> SimulationConfig:
    return SimulationConfig(seed=seed, regime=regime, symbols=("BTC",), live_positions=8_000)


def weather(regime: SimulationRegime, hours: int, seed: int = 3) -> Weather:
    return Regimes(config(regime, seed), np.random.default_rng(seed)).span(hours * HOUR)


@dataclass(frozen=True)
class Played:
    """A stretch of a market: marks over the first one, and forced lots by side."""

    mark: np.ndarray
    forced: np.ndarray


def play(regime: SimulationRegime, hours: float, seed: int = 3) -> Played:
    world = World(config(regime, seed))
    marks, forced = [], np.zeros((int(hours * HOUR), 2))
    for k in range(len(forced)):
        step = world.step()
        marks.append(float(step.mark[0]))
        np.add.at(forced[k], step.forced["side"], step.forced["lots"] * (step.forced["market"] == 0))
    return Played(np.array(marks) / marks[0], forced)


def held_by_makers(world: World) -> float:
    """Share of open interest that market makers are long, over the linear markets, whose lots are of one size."""
    longs, shorts = world._positions.lots.reshape(-1, 2)[~world.inverse].sum(0).tolist()
    return float(shorts - longs) / max(longs, shorts)


def test_every_regime_has_a_profile_and_is_told_to_the_client() -> None:
    assert tuple(REGIMES) == get_args(SimulationRegime)
    parser_help = demo.REGIME_HELP
    assert all(name in parser_help for name in REGIMES)


def test_mixed_changes_nothing_of_the_market_before_there_were_regimes() -> None:
    assert RegimeProfile(MIXED.meaning) == MIXED
    assert SimulationConfig().regime == "mixed"
    drift = weather("mixed", 48).drift
    assert len(np.unique(drift)) > 3  # trends of both directions and calms


def test_an_unknown_regime_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="calm"):
        SimulationConfig(regime="storm")  # type: ignore[arg-type]


def test_a_configured_source_has_its_regime() -> None:
    assert simulation_config(SimulateSourceConfig(regime="squeeze")).regime == "squeeze"


@pytest.mark.parametrize("regime", ["calm", "trend", "low-liquidity"])
def test_steady_weather_is_as_its_profile_says(regime: SimulationRegime) -> None:
    profile, found = REGIMES[regime], weather(regime, 24)
    assert np.unique(found.volatility).tolist() == [profile.volatility]
    assert np.unique(found.activity).tolist() == [profile.activity]
    assert abs(found.drift.sum()) == pytest.approx(profile.drift_per_day)


def test_the_seed_draws_the_direction_of_a_trend() -> None:
    directions = {float(np.sign(weather("trend", 1, seed).drift.sum())) for seed in range(8)}
    assert directions == {-1.0, 1.0}


@pytest.mark.parametrize("regime", ["crash", "squeeze"])
def test_crashes_come_on_schedule_and_in_their_direction(regime: SimulationRegime) -> None:
    found, crashes = weather(regime, 24), REGIMES[regime].crashes
    assert crashes is not None
    begins = np.flatnonzero(np.diff((found.activity == 4.0).astype(int), prepend=0) == 1)
    expected = np.arange(crashes.first_hour, 24, crashes.every_hours) * HOUR
    assert begins.tolist() == expected.astype(int).tolist()
    for begin in begins:
        news = found.drift[begin : begin + HOUR // 3][found.activity[begin : begin + HOUR // 3] == 4.0].sum()
        assert crashes.log_move[0] <= news + 1e-12
        assert news - 1e-12 <= crashes.log_move[1]


def test_scheduled_crashes_come_on_top_of_the_regimes() -> None:
    both = SimulationConfig(regime="crash", scheduled_crash_hours=(0.5, 4.0))
    found = Regimes(both, np.random.default_rng(1)).span(6 * HOUR)
    begins = np.flatnonzero(np.diff((found.activity == 4.0).astype(int), prepend=0) == 1)
    assert begins.tolist() == [HOUR // 2, 2 * HOUR, 4 * HOUR]


def test_only_mixed_weather_crashes_by_chance() -> None:
    often = SimulationConfig(regime="calm", crashes_per_day=24.0)
    assert np.unique(Regimes(often, np.random.default_rng(1)).span(24 * HOUR).activity).tolist() == [0.7]


def test_a_crash_falls_and_takes_longs_along() -> None:
    found = play("crash", 2.5)
    begin = 2 * HOUR
    fall = np.log(found.mark[begin:].min() / found.mark[begin])
    assert -0.15 < fall < -0.03
    assert found.forced[begin:, 0].sum() > 4 * found.forced[begin:, 1].sum()


def test_a_squeeze_rises_and_takes_shorts_along() -> None:
    found = play("squeeze", 3.5)
    begin = 3 * HOUR
    rise = np.log(found.mark[begin:].max() / found.mark[begin])
    assert 0.03 < rise < 0.15
    assert found.forced[begin:, 1].sum() > 4 * found.forced[begin:, 0].sum()


@pytest.mark.parametrize(("regime", "share"), [("squeeze", 0.2), ("crash", -0.1), ("mixed", 0.0)])
def test_market_makers_hold_the_other_side_of_a_crowd(regime: SimulationRegime, share: float) -> None:
    worlds = [World(config(regime, seed)) for seed in range(8)]
    assert np.mean([held_by_makers(world) for world in worlds]) == pytest.approx(share, abs=0.05)
    for _ in range(HOUR):
        worlds[0].step()
    assert abs(held_by_makers(worlds[0]) - share) < 0.15  # funding keeps it there


def test_calm_moves_less_than_a_trend_and_thin_books_are_thin() -> None:
    moved = {name: np.diff(np.log(play(name, 0.5).mark[::60])).std() for name in ("calm", "trend")}  # type: ignore[arg-type]
    assert moved["calm"] < 0.8 * moved["trend"]
    thin, full = World(config("low-liquidity")), World(config("mixed"))
    assert thin.depth_usd == pytest.approx(0.2 * full.depth_usd)


def test_a_demo_passes_the_regime_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def launched(arguments: list[str], doing: str, timeout_s: float) -> None:
        asked.extend(arguments)
        raise CommandError("not started")

    monkeypatch.setattr(demo, "launched_server", launched)
    assert main(["demo", "--regime", "squeeze", "--seed", "3"]) != 0
    assert "not started" in capsys.readouterr().err
    assert asked[asked.index("--regime") + 1] == "squeeze"


def test_a_server_and_a_recording_take_the_regime(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    source = serve._config(parser.parse_args(["--source", "simulate", "--regime", "crash"])).sources[0]
    assert isinstance(source, SimulateSourceConfig)
    assert source.regime == "crash"
    for name in ("calm", "trend"):
        folder = str(tmp_path / name)
        assert main(["record", "--hours", "0.05", "--symbols", "BTC", "--regime", name, "--output", folder]) == 0
    calm, trend = (tmp_path / name for name in ("calm", "trend"))
    files = sorted(path.relative_to(calm) for path in calm.rglob("*.parquet"))
    assert files
    assert any((calm / file).read_bytes() != (trend / file).read_bytes() for file in files)
