"""Forecasts of crashes against what happened: the sums, the words, and one small crash."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from forcedmove_server.config import Config, EngineConfig
from forcedmove_server.engine.cascade.crash_study import CrashPlan, lines, run_crashes, summarise, to_json
from forcedmove_server.engine.cascade.crashes import CHAIN, LINEAR, NO_FEEDBACK, Crash, Predicted
from forcedmove_server.engine.cascade.noise import Spreads
from forcedmove_server.errors import InputError, UnknownNameError


def crash(seed: int, floor: float, total: float, levels: int = 1, side: int = 0) -> Crash:
    """A mark of 100, a shock to 97; the chain says 95 and ten dollars, the others less."""
    up = 200.0 if side else 0.0

    def price(value: float) -> float:
        return abs(up - value)

    return Crash(
        seed=seed,
        symbol="BTC",
        side=side,
        mark_usd=100.0,
        shock_usd=price(97.0),
        duration_s=840.0,
        floor_usd=price(floor),
        total_usd=total,
        levels=levels,
        predicted=(
            Predicted(CHAIN, price(95.0), 10.0, 2),
            Predicted(LINEAR, price(96.0), 8.0, 1),
            Predicted(NO_FEEDBACK, price(97.0), 8.0, 0),
        ),
        floor_band=(price(96.0), price(93.0)),
        total_band=(5.0, 20.0),
        spreads=Spreads(0.7, 0.5, 0.5),
    )


def test_errors_count_outwards_on_both_sides() -> None:
    for side in (0, 1):
        found = summarise([crash(seed, 94.5, 12.0, side=side) for seed in range(6)])
        chain, linear, none = found.forecasts
        assert [errors.floor_bp[2] for errors in (chain, linear, none)] == pytest.approx([50.0, 150.0, 250.0])
        assert chain.total_log[2] == pytest.approx(np.log(1.2))
        assert (chain.levels_mean.value, linear.levels_mean.value, none.levels_mean.value) == (1.0, 0.0, 1.0)
        assert (found.floor_held.value, found.total_held.value) == (1.0, 1.0)
        assert found.band_bp == pytest.approx(300.0)


def test_bands_say_on_which_side_they_missed() -> None:
    found = summarise([crash(1, 96.5, 1.0), crash(2, 92.0, 30.0), crash(3, 94.0, 10.0, levels=0), crash(4, 95.0, 10.0)])
    assert (found.nearer, found.further, found.floor_held.value) == (0.25, 0.25, 0.5)
    assert (found.total_held.value, found.with_clusters, found.crashes, found.seeds) == (0.5, 3, 4, 4)
    told = "\n".join(lines(found))
    assert "4 crashes of 4 markets" in told
    assert "holds 0.50 of floors (0.25 end nearer, 0.25 further)" in told


def test_symbols_of_one_seed_are_one_observation() -> None:
    rng = np.random.default_rng(3)
    floors = rng.uniform(93, 97, 40)
    alone = summarise([crash(seed, floor, 10.0) for seed, floor in enumerate(floors)])
    triple = summarise([crash(seed, floor, 10.0) for seed, floor in enumerate(floors) for _ in range(3)])
    assert triple.floor_held.value == alone.floor_held.value
    assert (triple.floor_held.low, triple.floor_held.high) == (alone.floor_held.low, alone.floor_held.high)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"regimes": ("calm",)}, InputError, "no scheduled crash"),
        ({"regimes": ("storm",)}, UnknownNameError, "storm"),
        ({"seeds": ()}, InputError, "seeds"),
        ({"seeds": (1, 1)}, InputError, "seeds"),
        ({"number": 0}, InputError, "crash"),
        ({"jobs": 0}, InputError, "jobs"),
        ({"duration_s": -1.0}, InputError, "duration_s"),
    ],
)
def test_plans_that_cannot_be_are_refused(changed: dict[str, object], error: type[Exception], message: str) -> None:
    plan = CrashPlan((1,), ("crash",))
    with pytest.raises(error, match=message):
        dataclasses.replace(plan, **changed)  # type: ignore[arg-type]


def test_a_simulated_squeeze_is_forecast_and_followed() -> None:
    config = Config(engine=EngineConfig(backend="cpu", threads=1))
    told: list[float] = []
    crashes = run_crashes(CrashPlan((3,), ("squeeze",), ("BTC",), number=1), config, told.append)
    (found,) = crashes
    assert told == [1.0]
    assert (found.seed, found.symbol, found.side) == (3, "BTC", 1)
    assert found.mark_usd < found.shock_usd < found.floor_usd, "forced buying takes a squeeze beyond its news"
    assert found.total_usd > 1e6
    assert found.duration_s == 840.0, "the mean of the regime's crashes"
    assert found.spreads.shock > 0
    chain, linear, none = found.predicted
    assert none.floor_usd == found.shock_usd
    assert chain.floor_usd > none.floor_usd
    assert linear.floor_usd > none.floor_usd
    assert found.floor_band[0] <= found.floor_band[1]
    written = json.loads(to_json(crashes, summarise(crashes)))
    assert written["crashes"][0]["floor_usd"] == found.floor_usd
    assert written["summary"]["floor_held"]["reason"].startswith("no interval from 1 blocks")
