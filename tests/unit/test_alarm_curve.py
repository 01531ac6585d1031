"""Alarms against cascades: what a threshold raises, what that warns of, and one small market."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from forcedmove_server.config import Config, EngineConfig
from forcedmove_server.engine.cascade.alarm_curve import curve, lines, raised, to_json
from forcedmove_server.engine.cascade.alarm_study import SCORES, STANDS_S, AlarmPlan, Watched, run_alarms
from forcedmove_server.engine.clusters.cascades import CascadeRule, SideMoves
from forcedmove_server.errors import InputError

MINUTE_NS = 60 * 10**9
DAY = 1440
RULE = CascadeRule(300 * 10**9, 0.005, 4.0, 0.003)


def watched(seed: int, side: int, score: list[float], began: list[int]) -> Watched:
    """One day; every score is ``score``, cascades begin half a minute after some minutes."""
    found = Watched(seed, "BTC", side, SideMoves(side, RULE))
    found.minutes = [k * MINUTE_NS for k in range(DAY)]
    found.scores = [(value,) * len(SCORES) for value in score]
    found.began = [k * MINUTE_NS + MINUTE_NS // 2 for k in began]
    return found


def test_an_alarm_stands_for_an_hour_and_then_another_may_come() -> None:
    minutes = np.arange(DAY) * MINUTE_NS
    score = np.zeros(DAY)
    score[[10, 20, 69, 70, 300]] = 1.0
    assert (raised(minutes, score, 0.5) // MINUTE_NS).tolist() == [10, 70, 300]
    assert not len(raised(minutes, score, 2.0))
    assert len(raised(minutes, score, 0.0)) == 24


def test_hits_false_alarms_and_lead_times_are_counted() -> None:
    score = [0.0] * DAY
    for at in (100, 200, 300, 1430):
        score[at] = 1.0
    sides = [
        watched(seed, side, score if side == 0 else [0.0] * DAY, [109, 250, 500]) for seed in (1, 2) for side in (0, 1)
    ]
    sides[1].began = sides[3].began = []
    point = curve(sides)[0]
    assert point.score == SCORES[0]
    assert point.warned.value == pytest.approx(2 / 3), "the third came when nothing stood"
    assert point.lead_s == pytest.approx((9.5 + 50.5) * 30)
    days = (DAY - 1) / DAY
    assert point.alarms_per_day == pytest.approx(4 / days)
    assert point.false_per_day == pytest.approx(1 / days), "the last alarm is not decided when the day ends"
    assert point.standing == pytest.approx((3 * 60 + 9) / (DAY - 1) / 2)


def test_an_alarm_at_the_very_moment_leads_by_nothing() -> None:
    score = [0.0] * DAY
    score[100] = 1.0
    side = watched(1, 0, score, [])
    side.began = [100 * MINUTE_NS]
    found = curve([side])[0]
    assert (found.warned.value, found.lead_s) == (0.0, None)
    side.began = [100 * MINUTE_NS + STANDS_S * 10**9]
    assert curve([side])[0].warned.value == 1.0


def test_a_score_that_knows_beats_one_that_does_not() -> None:
    rng = np.random.default_rng(4)
    sides = []
    for seed in range(8):
        began = [int(k) for k in np.sort(rng.choice(np.arange(100, DAY), 6, replace=False))]
        own = watched(seed, 0, [0.0] * DAY, began)
        noise, good = rng.random(DAY), rng.random(DAY)
        for at in began:
            good[at - 30 : at + 1] += 1.0
        own.scores = [(float(a), *([float(b)] * (len(SCORES) - 1))) for a, b in zip(good, noise, strict=True)]
        sides.append(own)
    points = curve(sides)
    known, blind = (
        min((p for p in points if p.score == name), key=lambda p: abs(p.alarms_per_day - 12)) for name in SCORES[:2]
    )
    assert known.warned.value is not None
    assert known.warned.low is not None
    assert blind.warned.value is not None
    assert known.warned.low > known.standing
    assert known.warned.value > blind.warned.value
    assert blind.warned.value == pytest.approx(blind.standing, abs=0.25), (
        "at random by the share of time that it stands"
    )
    for name in SCORES:
        own_points = [p for p in points if p.score == name]
        assert [p.alarms_per_day for p in own_points] == sorted(p.alarms_per_day for p in own_points)
    told = "\n".join(lines(sides, points))
    assert "48 cascades of 8 markets" in told
    assert len(json.loads(to_json(points))) == len(points)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"seeds": ()}, "seeds"), ({"regimes": ("crash", "crash")}, "regimes"), ({"hours": 2.0}, "hours")],
)
def test_plans_that_cannot_be_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(AlarmPlan((1,), ("crash",)), **changed)  # type: ignore[arg-type]


def test_a_simulated_market_is_watched_through_its_crash() -> None:
    config = Config(engine=EngineConfig(backend="cpu", threads=1))
    told: list[float] = []
    found = run_alarms(AlarmPlan((3,), ("crash",), ("BTC",), hours=2.7), config, told.append)
    assert told == [1.0]
    assert [(own.symbol, own.side) for own in found] == [("BTC", 0), ("BTC", 1)]
    longs = found[0]
    assert 95 <= len(longs.minutes) <= 103, "the first hour is not scored"
    assert len(longs.scores) == len(longs.minutes)
    assert longs.began, "the regime's crash two hours in is a cascade"
    assert all(longs.minutes[0] <= began for began in longs.began)
    scores = np.array(longs.scores)
    assert (scores[:, 1] <= 1).all()
    assert (scores[:, 0] >= 0).all()
    assert scores[:, 0].max() > 0
