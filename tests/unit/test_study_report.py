"""A study's plan, its summary over seeds, and its report."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from forcedmove_server.commands.evaluate import seeds
from forcedmove_server.engine.evaluation import map_bits
from forcedmove_server.engine.study import StudyPlan
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.scorecard.report.result import Setting
from forcedmove_server.scorecard.report.study_page import study_page
from forcedmove_server.scorecard.report.study_picture import study_picture
from forcedmove_server.scorecard.report.study_wording import courses_of, gain_of, mean_of
from forcedmove_server.scorecard.study.result import (
    CALIBRATED,
    FEEDS,
    MAPS,
    MEASURES,
    PRIOR,
    BandScore,
    MapScore,
    StudyResult,
    StudyRun,
    WeightScore,
)
from forcedmove_server.scorecard.study.summary import OVERALL, SCOPES, summarise

#: what every map scores in its first hour of seed 0; every seed and hour adds to it
LEVELS = {name: 0.1 * k for k, name in enumerate(reversed(MAPS))}


def run(regime: str, seed: int, offset: float = 0.0, hours: int = 3) -> StudyRun:
    """A run whose figures are known: maps differ by their level, seeds by ``seed``, hours by a hundredth."""
    maps = tuple(
        MapScore(hour, "BTC", side, name, level, 100 - 10 * level, level, level, level)
        for hour in range(1, hours + 1)
        for side in ("long", "short")
        for name in MAPS
        for level in (LEVELS[name] + offset + 0.01 * seed + (5.0 if hour == 1 else 0.0),)
    )
    weights = tuple(
        WeightScore(hour, f"{feed}:BTC", feed, 0.2, 0.2 - 0.05 * hour, 0.3, 0.3 - 0.05 * hour, 0.1)
        for hour in range(hours + 1)
        for feed in FEEDS
    )
    bands = tuple(
        BandScore(hour, "BTC", scope, 100.0, 90.0 + seed % 3, 4.0, 6.0 - seed % 3, 1e6, 8e5)
        for hour in range(1, hours + 1)
        for scope in SCOPES
    )
    return StudyRun(regime, seed, maps, weights, bands)


def study(regimes: tuple[str, ...] = ("calm", "crash"), of_seeds: int = 6) -> StudyResult:
    runs = tuple(run(regime, seed, 0.2 * k) for k, regime in enumerate(regimes) for seed in range(of_seeds))
    return StudyResult("Made up", ("BTC",), 3.0, 1, 0.9, (Setting("regime calm", "x", "little happens"),), runs)


def test_means_are_over_hours_after_the_skipped_ones_and_over_seeds() -> None:
    summary = summarise(study())
    for regime, offset in (("calm", 0.0), ("crash", 0.2), (OVERALL, 0.1)):
        for name in MAPS:
            found = mean_of(summary, regime, name, "spearman")
            assert found.value == pytest.approx(LEVELS[name] + offset + 0.025)
            assert found.blocks == 6
            assert found.low is not None
            assert found.high is not None
            assert found.value is not None
            assert found.value - 0.025 < found.low < found.value < found.high < found.value + 0.025


def test_gains_are_paired_and_positive_where_a_map_is_better() -> None:
    summary = summarise(study())
    for measure in MEASURES:
        found = gain_of(summary, OVERALL, CALIBRATED, "naive", measure.field)
        scale = 10 if measure.field == "wasserstein_bp" else 1
        assert found.value == pytest.approx(0.2 * scale)
        # what seeds have in common cancels: no width is left
        assert found.low == pytest.approx(0.2 * scale)
        assert found.high == pytest.approx(0.2 * scale)
    assert gain_of(summary, "calm", CALIBRATED, PRIOR, "bits").value == pytest.approx(
        LEVELS[CALIBRATED] - LEVELS[PRIOR]
    )


def test_weights_have_a_course_from_the_beginning_on() -> None:
    summary = summarise(study())
    for feed, course in courses_of(summary, OVERALL, "calibrated").items():
        assert feed in FEEDS
        assert course.hours == (0, 1, 2, 3)
        assert [v.value for v in course.values] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert len(courses_of(summary, "calm", "live_true")) == len(FEEDS)


def test_coverage_is_a_ratio_of_sums() -> None:
    whole = next(c for c in summarise(study()).covered if (c.regime, c.scope) == (OVERALL, "symbol"))
    assert whole.share.value == pytest.approx(0.91)
    assert whole.share_of_usd.value == pytest.approx(0.8)
    assert whole.below.value == pytest.approx(0.04)
    assert whole.above.value == pytest.approx(0.05)


def test_one_regime_has_one_part_and_few_seeds_no_interval() -> None:
    summary = summarise(study(("calm",), of_seeds=2))
    assert {mean.regime for mean in summary.means} == {"calm"}
    assert {mean.value.low for mean in summary.means} == {None}
    assert all("5 needed" in (mean.value.reason or "") for mean in summary.means)


def test_json_has_every_score_under_the_names_of_its_columns() -> None:
    made = study()
    told = json.loads(made.to_json())
    assert set(told) == {
        "title", "symbols", "regimes", "seeds", "hours", "skip_hours", "level", "settings", "summary", "columns",
        "runs",
    }  # fmt: skip
    assert (told["regimes"], told["seeds"]) == (["calm", "crash"], list(range(6)))
    for kind, row in (("maps", MapScore), ("weights", WeightScore), ("bands", BandScore)):
        assert told["columns"][kind] == [field.name for field in fields(row)]
        for read, whole in zip(told["runs"], made.runs, strict=True):
            rows = [row(**dict(zip(told["columns"][kind], values, strict=True))) for values in read[kind]]
            assert tuple(rows) == tuple(
                replace(s, **{f.name: float(f"{getattr(s, f.name):.6g}") for f in fields(s) if f.type == "float"})
                for s in getattr(whole, kind)
            )
    assert {"means", "gains", "courses", "covered", "covered_courses"} == set(told["summary"])


def test_the_report_has_every_part_and_equal_studies_give_equal_bytes() -> None:
    made = study()
    page = study_page(made)
    assert page == study_page(made)
    for words in (
        "ours, calibrated online",
        "naive with maintenance",
        "distance only",
        "some published",
        "little happens",
    ):
        assert words in page
    assert page.count("<svg") == 2 * len(MEASURES) + 6 + 2
    assert "0 to 5" in page  # the seeds
    assert re.search(r"hold 91\.0\s% \[", page)
    picture = study_picture(made)
    assert picture.startswith(b"\x89PNG")
    assert picture == study_picture(made)
    # one seed, one regime: no interval, but a report
    assert "ours, true weights" in study_page(study(("calm",), of_seeds=1))
    assert study_picture(study(("calm",), of_seeds=1)).startswith(b"\x89PNG")


def test_a_study_without_runs_or_with_one_twice_is_refused() -> None:
    made = study()
    with pytest.raises(InputError, match="runs"):
        replace(made, runs=())
    with pytest.raises(InputError, match="runs"):
        replace(made, runs=(made.runs[0], made.runs[0]))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"regimes": ("calm", "calm")}, "regimes"),
        ({"hours": float("nan")}, "hours"),
        ({"hours": 0.5}, "hours"),
        ({"skip_hours": 24}, "skip-hours"),
        ({"skip_hours": -1}, "skip-hours"),
        ({"jobs": 0}, "jobs"),
        ({"symbols": ("BTC", "BTC")}, "symbols"),
    ],
)
def test_bad_plans_are_named(changed: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=field):
        StudyPlan(**{"seeds": (1,), "regimes": ("calm",), **changed})  # type: ignore[arg-type]


def test_a_plan_knows_regimes_and_symbols() -> None:
    with pytest.raises(UnknownNameError, match="squeeze"):
        StudyPlan((1,), ("storm",))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="BTC"):
        StudyPlan((1,), ("calm",), ("NOPE",))


def test_seeds_are_read_as_people_write_them() -> None:
    assert seeds("7") == (7,)
    assert seeds("101-104") == (101, 102, 103, 104)
    assert seeds("1,3,5-7") == (1, 3, 5, 6, 7)
    for bad in ("7-3", "1-100000"):
        with pytest.raises(argparse.ArgumentTypeError):
            seeds(bad)
    for bad in ("", "x", "1-", "-3"):
        with pytest.raises((ValueError, argparse.ArgumentTypeError)):
            seeds(bad)


def test_bits_are_won_where_positions_are_and_lost_where_they_are_not() -> None:
    mark, width, first, bins = 100.0, 0.1, 800, 400
    positions = np.zeros((2, bins))
    positions[0, 150], positions[1, 250] = 30, 20
    flat = np.ones((2, bins))
    assert map_bits(flat, positions, first, width, mark) == pytest.approx((0.0, 0.0))
    right, wrong = flat.copy(), flat.copy()
    right[0, 150] = right[1, 250] = 10
    wrong[0, 152] = wrong[1, 252] = 10
    assert min(map_bits(right, positions, first, width, mark)) > 1
    assert max(map_bits(wrong, positions, first, width, mark)) < 0
    assert map_bits(right, np.zeros((2, bins)), first, width, mark) == (0.0, 0.0)
