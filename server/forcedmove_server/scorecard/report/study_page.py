"""The page of a study."""

from __future__ import annotations

from functools import partial

from forcedmove_server.scorecard.report.document import Charts, definitions, document, section
from forcedmove_server.scorecard.report.figures import Group
from forcedmove_server.scorecard.report.markup import Markup, table, tag
from forcedmove_server.scorecard.report.study_charts import (
    draw_coverage,
    draw_coverage_course,
    draw_gains,
    draw_means,
    draw_weights,
)
from forcedmove_server.scorecard.report.study_wording import (
    FEED_NAMES,
    NOMINAL,
    SCOPE_NAMES,
    bounds,
    courses_of,
    coverage_line,
    gain_of,
    mean_of,
    numbers,
    regime_name,
    regimes_of,
    share_bounds,
    study_map,
    whole,
)
from forcedmove_server.scorecard.report.wording import percent
from forcedmove_server.scorecard.study.result import BASELINES, CALIBRATED, FEEDS, MAPS, MEASURES, PRIOR, StudyResult
from forcedmove_server.scorecard.study.summary import StudySummary, summarise

_WEIGHTS = (
    "Distance between the leverage weights in use and the true ones, the mean over sides and markets of venues with "
    "one kind of feed; shaded: 95 % interval over seeds; dashed: the default prior, never changed. Left against the "
    "shares of opened notional, which is what is calibrated (what a crossing releases is divided by what was touched); "
    "right what the map has live by tier against what truly is, market makers in the lowest tier: high leverage dies "
    "sooner, so the two laws differ."
)


def study_page(study: StudyResult) -> str:
    """Return the whole report as HTML. Needs matplotlib."""
    summary, charts = summarise(study), Charts()
    body = (
        tag(
            "header",
            tag("h1", study.title),
            definitions(
                ("Seeds", numbers(study.seeds)),
                ("Regimes", ", ".join(study.regimes)),
                ("Symbols", ", ".join(study.symbols)),
                ("Hours", f"{study.hours:g}, of which the first {study.skip_hours} are in no mean"),
                ("Intervals", "95 % bootstraps over seeds"),
            ),
        ),
        section("Inferred against true maps", *_means(summary, charts)),
        section("Gain over baselines, paired by seed", *_gains(summary, charts)),
        section("Weights towards the true ones", *_weights(summary, charts)),
        section("Do credible bands hold the truth?", *_coverage(study, summary, charts)),
        section("What it was measured with", _settings(study)),
    )
    return document(study.title, body)


def _means(summary: StudySummary, charts: Charts) -> list[Markup]:
    head = ("regime", "map", *(measure.name for measure in MEASURES))
    rows = [
        (
            regime_name(regime) if k == 0 else "",
            study_map(name),
            *(bounds(mean_of(summary, regime, name, m.field), m.digits) for m in MEASURES),
        )
        for regime in regimes_of(summary)
        for k, name in enumerate(MAPS)
    ]
    group = Group(
        "By regime",
        "Maps of every hour, symbol and side, in the bins within 20 % of the mark. Chance gives 0.1 for both figures "
        "of the top decile. Bits are over the same map made flat inside each band of distance: negative where peaks "
        "stand in the wrong place.",
        tuple((f"{m.name} by regime and map", partial(draw_means, summary=summary, measure=m)) for m in MEASURES),
    )
    return [charts.group(group), table("Means", head, rows, words=2)]


def _gains(summary: StudySummary, charts: Charts) -> list[Markup]:
    head = ("regime", "map", "over", *(measure.name for measure in MEASURES))
    pairs = [(own, over) for own in (PRIOR, CALIBRATED) for over in BASELINES] + [(CALIBRATED, PRIOR)]
    rows = [
        (
            regime_name(regime) if k == 0 else "",
            study_map(own),
            study_map(over),
            *(bounds(gain_of(summary, regime, own, over, m.field), m.digits, signed=True) for m in MEASURES),
        )
        for regime in regimes_of(summary)
        for k, (own, over) in enumerate(pairs)
    ]
    group = Group(
        "Of the calibrated map",
        "Above zero the calibrated map is better, whatever the measure.",
        tuple((f"Gain in {m.name}", partial(draw_gains, summary=summary, measure=m)) for m in MEASURES),
    )
    return [charts.group(group), table("Gains; positive is better", head, rows, words=3)]


def _weights(summary: StudySummary, charts: Charts) -> list[Markup]:
    parts = regimes_of(summary)
    panels = [
        (f"Weights over time, {regime_name(regime)}", partial(draw_weights, summary=summary, regime=regime, live=live))
        for regime in parts
        for live in (False, True)
    ]
    rows = []
    for regime in parts:
        for k, feed in enumerate(FEEDS):
            found = {name: courses_of(summary, regime, name).get(feed) for name in _COLUMNS}
            if found["calibrated"] is None:
                continue
            cells = (bounds(c.values[0 if name == "prior" else -1]) if c else "" for name, c in found.items())
            rows.append((regime_name(regime) if k == 0 else "", FEED_NAMES[feed], *cells))
    head = (
        "regime", "liquidations", "opened: prior", "opened: calibrated, end", "live: prior, end",
        "live: calibrated, end", "live: true weights, end",
    )  # fmt: skip
    return [
        charts.group(Group("Total-variation distance by hour", _WEIGHTS, tuple(panels))),
        table("Total-variation distance", head, rows, words=2),
    ]


_COLUMNS = ("prior", "calibrated", "live_prior", "live_calibrated", "live_true")


def _coverage(study: StudyResult, summary: StudySummary, charts: Charts) -> list[Markup]:
    low, high = NOMINAL
    group = Group(
        "Coverage",
        f"Share of the bins within 20 % of the mark whose true notional lies inside the {percent(study.level, 0)} band "
        f"of the calibrated map, as it is served; bins where band and truth are both zero are left out. Shaded: "
        f"{percent(low, 0)} to {percent(high, 0)}. “Sizes known”: the same bands with the true size of positions in "
        "place of that of printed liquidations, which are small ones while nothing but high leverage dies.",
        (
            ("Coverage by regime", partial(draw_coverage, summary=summary)),
            (f"Coverage by hour, {regime_name(whole(summary))}", partial(draw_coverage_course, summary=summary)),
        ),
    )
    rows = [
        (
            regime_name(one.regime) if one.scope == "market" else "",
            SCOPE_NAMES[one.scope],
            *(share_bounds(value) for value in (one.share, one.share_of_usd, one.below, one.above)),
        )
        for one in summary.covered
    ]
    head = ("regime", "band of", "bins inside", "true USD inside", "bins below", "bins above")
    return [
        tag("p", f"{coverage_line(summary, study.level)}."),
        charts.group(group),
        table("Coverage", head, rows, words=2),
    ]


def _settings(study: StudyResult) -> Markup:
    rows = [(tag("code", s.name), s.value, s.meaning) for s in study.settings]
    return table("Regimes, and settings of the model", ("name", "value", "meaning"), rows, words=3)
