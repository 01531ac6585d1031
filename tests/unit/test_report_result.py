"""A backtest's result: what it refuses, its JSON, and the words that its figures are told in."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.report import wording
from forcedmove_server.scorecard.report.result import BacktestResult, RealisedExample, WeightSnapshot
from forcedmove_server.scorecard.resampling import Estimate
from tests.unit.report_sample import DAY, FIT, HOUR, RULES, TEST, bare, estimate, examples, result, summary, weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": (FIT[0], TEST[0] + 1)}, "overlaps the fit period"),
        ({"fit": (TEST[1] - DAY, TEST[1] + DAY), "fit_summary": None}, "overlaps the fit period"),
        ({"fit": (FIT[1], FIT[0]), "fit_summary": None}, "must end after it begins"),
        ({"fit": None}, "has no fit period"),
        ({"test": (TEST[0] + DAY, TEST[1])}, "test summary.*has windows outside"),
        ({"test": (TEST[0], TEST[1] - DAY)}, "test summary.*has windows outside"),
        ({"fit": (FIT[0] + DAY, FIT[1])}, "fit summary.*has windows outside"),
        ({"fit_summary": summary()}, "fit summary.*has windows outside"),
    ],
)
def test_the_split_is_enforced(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(result(), **change)


def test_periods_may_touch_and_the_fit_may_come_later() -> None:
    later = (TEST[1], TEST[1] + DAY)
    assert replace(result(), fit=later, fit_summary=None).fit == later
    assert result().fit == FIT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"posterior": (0.5, 0.4)}, "sum to one"),
        ({"posterior": (1.5, -0.5)}, "sum to one"),
        ({"posterior": (float("nan"), 1.0)}, "sum to one"),
        ({"truth": (1.0,)}, "one share per tier"),
        ({"leverages": (5.0, 5.0)}, "must ascend"),
    ],
)
def test_weights_that_are_no_shares_are_refused(change: dict[str, Any], message: str) -> None:
    snapshot = WeightSnapshot(0, "binance", 0, (2.0, 5.0), (0.5, 0.5), (0.4, 0.6))
    with pytest.raises(InputError, match=message):
        replace(snapshot, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges_usd": (1.0, 1.0, 2.0)}, "must ascend"),
        ({"predicted": (1.0,)}, "one value per bin"),
        ({"naive": (1.0, -1.0)}, "not negative"),
        ({"realised": (1.0, float("inf"))}, "finite"),
    ],
)
def test_examples_that_cannot_be_drawn_are_refused(change: dict[str, Any], message: str) -> None:
    one = RealisedExample("okx", "BTC", 0, 0, HOUR, (1.0, 2.0, 3.0), (1.0, 0.0), None, (0.0, 2.0), "BTC", "positions")
    with pytest.raises(InputError, match=message):
        replace(one, **change)


def test_json_has_all_of_it() -> None:
    whole = result()
    read = json.loads(whole.to_json())
    assert list(read) == [field.name for field in fields(BacktestResult)]
    # asdict keeps tuples, JSON does not; apart from that nothing is rounded, renamed or left out
    assert read == json.loads(json.dumps(asdict(whole)))
    assert read["summary"]["headline"]["released"]["low"] == whole.summary.headline.released.low
    assert read["weights"][7]["posterior"] == list(weights()[7].posterior)
    assert read["realised"][0]["realised"] == list(examples()[0].realised)


def test_numbers_that_json_lacks_are_strings_and_names_survive() -> None:
    odd = replace(
        bare(),
        title='"</script>\ud800\x00é',
        summary=replace(
            bare().summary,
            invariants=replace(
                bare().summary.invariants, worst_interest_error=float("inf"), worst_flow_error=float("nan")
            ),
        ),
    )
    text = odd.to_json()
    text.encode("ascii")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["title"] == odd.title
    assert read["summary"]["invariants"]["worst_interest_error"] == "Infinity"
    assert read["summary"]["invariants"]["worst_flow_error"] == "NaN"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Estimate(None, n=12, reason="12 moves, 50 needed"), "not enough data (12 of 50)"),
        (Estimate(None, n=0, reason="0 moves, 50 needed"), "not enough data (0 of 50)"),
        (
            Estimate(None, n=77, blocks=9, reason="released open interest is a function of the controls"),
            "no value: rel",
        ),
        (Estimate(0.25, None, None, 60, 3, "no interval from 3 blocks, 5 needed"), "+0.250 (no interval from 3 blocks"),
        (Estimate(0.0, 0.0, 0.0, 60, 9, "0 by construction: crossed mass is ..."), "0.000 by construction"),
        (Estimate(-0.25, -0.5, 0.00001, 60, 9), "−0.250 [−0.500, 0.000]"),
    ],
)
def test_estimates_in_words(found: Estimate, told: str) -> None:
    assert wording.estimate(found, RULES.least_moves).startswith(told)


def test_nothing_observed_is_said_without_a_number_that_is_needed() -> None:
    assert wording.estimate(Estimate(None)) == "not enough data (nothing observed)"
    assert wording.estimate(Estimate(None, reason="no feed yet")) == "not enough data (no feed yet)"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.number(-0.0004, 3, signed=True), "0.000"),
        (wording.number(float("inf")), "∞"),
        (wording.number(None), "–"),
        (wording.percent(0.1234), "12.3\u00a0%"),
        (wording.percent(3.1e-9, 4), "3.10e−07\u00a0%"),
        (wording.percent(0.0), "0.0\u00a0%"),
        (wording.percent(float("inf")), "∞"),
        (wording.money(18_433_210.5), "$18.43M"),
        (wording.money(999_999.0), "$1.00M"),
        (wording.money(12.345), "$12.35"),
        (wording.price(0.00001234, 0.00000001), "0.00001234"),
        (wording.price(97_500.0, 50.0), "97,500"),
        (wording.duration(300 * 10**9), "5 min"),
        (wording.duration(DAY), "24 h"),
        (wording.duration(14 * DAY), "14 d"),
        (wording.duration(7), "7 ns"),
        (wording.moment(20_500 * DAY + 61 * 10**9), "2026-02-16 00:01"),
        (wording.period((0, DAY // 2)), "1970-01-01 00:00 to 1970-01-01 12:00 UTC, 0.5 days"),
        (wording.plural(1, "move"), "1 move"),
        (wording.plural(3754, "move"), "3\u202f754 moves"),
    ],
)
def test_figures_in_words(shown: str, expected: str) -> None:
    assert shown == expected


def headline(released: Estimate, gain: Estimate | None, bits: Estimate) -> tuple[wording.Verdict, ...]:
    full = summary()
    return wording.verdicts(replace(full, headline=replace(full.headline, released=released, gain=gain, bits=bits)))


def test_verdicts_follow_the_interval_and_not_the_value() -> None:
    above, below, across = estimate(0.2), estimate(-0.2), estimate(0.04)
    alone = Estimate(0.3, None, None, 60, 3, "no interval from 3 blocks, 5 needed")
    few = Estimate(None, n=12, reason="12 moves, 50 needed")
    for found, answer, words in (
        (above, "yes", "lies above zero"),
        (below, "no", "lies below zero"),
        (across, "open", "includes zero"),
        (alone, "unknown", "it may be chance: no interval from 3 blocks"),
        (few, "unknown", "No answer yet"),
    ):
        for verdict in headline(found, found, found):
            assert verdict.answer == answer
            assert words in verdict.sentence
    assert headline(few, few, above)[0].figure == "not enough data (12 of 50)"
    assert headline(above, above, below)[2].sentence.startswith("No, the contrary.")


def test_what_speaks_against_the_map_comes_first() -> None:
    above, below, across = estimate(0.2), estimate(-0.2), estimate(0.04)
    told = wording.overall(headline(above, across, below))
    assert told == "Of 3 questions: 1 against the map, 1 for the map, 1 not distinguishable from the null."


def test_without_a_baseline_nobody_asks_for_a_gain() -> None:
    full = summary()
    alone = replace(full, headline=replace(full.headline, gain=None, baseline=None))
    assert len(wording.verdicts(alone)) == 2
