"""The page of a backtest, for paper, desk and phone."""

from __future__ import annotations

from forcedmove_server.scorecard.report.document import Charts, definitions, document, section
from forcedmove_server.scorecard.report.figures import all_groups, headline_group
from forcedmove_server.scorecard.report.largest import largest_table
from forcedmove_server.scorecard.report.markup import Markup, join, table, tag
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.report.tables import (
    headline_table,
    intensity_table,
    market_table,
    other_tables,
    placement_tables,
    reach_table,
    released_table,
    rules_table,
    split_table,
)
from forcedmove_server.scorecard.report.wording import (
    NONE,
    Verdict,
    count,
    duration,
    estimate,
    moment,
    number,
    overall,
    part,
    percent,
    period,
    verdicts,
)


def page(result: BacktestResult) -> str:
    """Return the whole report as HTML. Needs matplotlib."""
    summary = result.summary
    answers = verdicts(summary)
    charts = Charts()
    body = (
        tag(
            "header",
            tag("h1", result.title),
            definitions(
                ("Source", result.source),
                ("Scored on", period(result.test)),
                ("Fitted on", "nothing: no weight was fitted" if result.fit is None else period(result.fit)),
                ("Part", part(summary.where)),
            ),
        ),
        _headline(result, answers, charts),
        section("Fit and test", *_split(result)),
        section("Charts", *(charts.group(group) for group in all_groups(result))),
        section(
            "Every map, every horizon",
            released_table(summary),
            placement_tables(summary),
            intensity_table(summary),
            reach_table(summary),
        ),
        section("By market and by event", market_table(result.rows, summary), largest_table(result.largest)),
        section("What must hold", other_tables(summary), *_learnt_and_steady(result)),
        section("What was left out, and why", *_left_out(result)),
        section("What it was measured with", *_conditions(result)),
    )
    return document(result.title, body)


def _headline(result: BacktestResult, answers: tuple[Verdict, ...], charts: Charts) -> Markup:
    group = headline_group(result)
    cards = (
        tag(
            "div",
            tag("h3", v.question),
            tag("p", v.figure, class_="figure"),
            tag("p", v.basis, class_="basis"),
            tag("p", v.sentence),
            class_=f"card {v.answer}",
        )
        for v in answers
    )
    return tag(
        "section",
        tag("p", overall(answers), class_="overall"),
        tag("div", join(cards, "\n"), class_="cards"),
        headline_table(result.summary),
        charts.panels(group),
        tag("p", group.caption, class_="note"),
    )


def _split(result: BacktestResult) -> list[Markup]:
    if result.fit is None:
        return [tag("p", f"Nothing was fitted. Every figure is of {period(result.test)}.")]
    told = (
        f"Weights were fitted on {period(result.fit)}, and every figure but those of the column “fit” is of "
        f"{period(result.test)}. The two do not overlap."
    )
    if result.fit_summary is None:
        return [tag("p", told), tag("p", "The fit period was not scored.", class_="none")]
    return [tag("p", told), split_table(result.summary, result.fit_summary)]


def _learnt_and_steady(result: BacktestResult) -> list[Markup]:
    """How steady maps were, and what the weights were learnt from."""
    parts, steady = [], result.stability
    if steady is not None:
        step = duration(steady.every_ns)
        rows: list[tuple[object, ...]] = [
            (f"rank correlation of a map with itself {step} later", estimate(steady.rank)),
            ("distance, Wasserstein-1, in basis points", estimate(steady.moved_bp, digits=1, signed=False)),
            ("change of a map in that time, over open interest", estimate(steady.change, signed=False)),
            ("change over all that was opened, closed and liquidated", estimate(steady.change_over_flow, signed=False)),
            ("maps that changed by more than that and 1 % of open interest", estimate(steady.jumps, signed=False)),
            ("largest change beyond that, over open interest", percent(steady.worst_unexplained, 4)),
            ("market, time", f"{steady.worst_market}, {moment(steady.worst_at_ns)} UTC"),
        ]
        parts.append(table("Stability", ("", "value"), rows))
    if result.evidence:
        head = ("venue", "windows of open interest", "worth", "reliability", "of crossed longs leave", "of shorts")
        rows = [
            (
                e.venue,
                number(e.windows, 0),
                number(e.released, 1),
                number(e.reliability, 3),
                *((NONE, NONE) if e.released_share is None else (number(share, 3) for share in e.released_share)),
                number(e.printed, 1),
                number(e.capture, 3),
                number(e.seen, 1),
            )
            for e in result.evidence
        ]
        parts.append(
            table(
                "What weights were learnt from, in effective counts",
                (*head, "liquidations", "over crossed", "visible positions"),
                rows,
            )
        )
    return parts


def _left_out(result: BacktestResult) -> list[Markup]:
    defects = [
        (f"{m.venue} {m.instrument}", reason, count(number)) for m in result.markets for reason, number in m.defects
    ]
    parts = [tag("ul", join(tag("li", note) for note in result.notes))] if result.notes else []
    unscored = [(item.reason, count(item.count)) for item in result.summary.unscored]
    if unscored:
        parts.append(table("Not scored: windows by market and horizon, or events", ("reason", "count"), unscored))
    if defects:
        parts.append(table("Defects of the source", ("market", "defect", "count"), defects, words=2))
    return parts or [tag("p", "Nothing was left out.", class_="none")]


def _conditions(result: BacktestResult) -> list[Markup]:
    kinds = list(dict.fromkeys(kind for market in result.markets for kind, _ in market.counts))
    markets = [
        (f"{m.venue} {m.instrument}", m.symbol, *(count(dict(m.counts).get(kind, 0)) for kind in kinds))
        for m in result.markets
    ]
    settings = [(tag("code", s.name), s.value, s.meaning) for s in result.settings]
    summary = result.summary
    if summary.begin_ns is None or summary.end_ns is None:
        span = "No grid time was reached."
    else:
        span = f"First and last grid time: {moment(summary.begin_ns)} and {moment(summary.end_ns)} UTC."
    return [
        table("Markets and events of the source", ("market", "symbol", *kinds), markets, words=2),
        table("Settings of the model", ("name", "value", "meaning"), settings, words=3),
        rules_table(summary.rules),
        tag("p", span, class_="note"),
    ]
